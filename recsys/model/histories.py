"""Histories merged by item, and padded batches of them: what the batched profile solver and the simulation read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from recsys.model.profile import ProfileConfig, decay_weights

if TYPE_CHECKING:
    import torch

EVENTS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Histories:
    """Every device's history merged by item.

    offsets: (n_devices + 1,) int64; item_idx: (n,) int32 ascending within a device; weight: (n,) float32 > 0, summed
    over the item's events; target: (n,) float32 in [−1, 1], their weighted mean.
    """

    offsets: npt.NDArray[np.int64]
    item_idx: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    n_items: int

    def __repr__(self) -> str:
        return f"Histories(n_devices={self.n_devices}, n_items={self.n_items}, entries={len(self.item_idx)})"

    @property
    def n_devices(self) -> int:
        """Number of devices, those with an empty history included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(n_devices,) distinct items of each device."""
        return np.diff(self.offsets)


def log_weights(log: Interactions, config: ProfileConfig, now: int | npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Weight of every event of a log as of `now` (µs; one number or one a user), (n_events,) float32."""
    if config.half_life_unit == "events":
        age = (np.repeat(log.offsets[1:], log.counts) - 1 - np.arange(log.n_events)).astype(np.float64)
    else:
        moment = np.repeat(now, log.counts) if isinstance(now, np.ndarray) else now
        age = np.maximum(moment - log.time, 0) / MICROS_PER_DAY
    return decay_weights(log.kind, age, config)


def merge_histories(log: Interactions, config: ProfileConfig, now: int | npt.NDArray[np.int64]) -> Histories:
    """Weigh every event as of `now` (µs; one number or one a user) and merge the events of an item.

    Works on some users at a time, so that its scratch memory stays near EVENTS_AT_ONCE × 50 bytes.
    """
    bounds = np.searchsorted(log.offsets, np.arange(EVENTS_AT_ONCE, log.n_events + 1, EVENTS_AT_ONCE))
    edges = np.unique(np.concatenate(([0], bounds, [log.n_users])))
    parts = []
    for first, last in pairwise(edges.tolist()):
        moments = now[first:last] if isinstance(now, np.ndarray) else now
        parts.append(_merge(_slice(log, first, last), config, moments))
    counts = np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)])
    return Histories(
        offsets=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        item_idx=np.concatenate([np.empty(0, np.int32), *(part.item_idx for part in parts)]),
        weight=np.concatenate([np.empty(0, np.float32), *(part.weight for part in parts)]),
        target=np.concatenate([np.empty(0, np.float32), *(part.target for part in parts)]),
        n_items=log.n_items,
    )


def _slice(log: Interactions, first: int, last: int) -> Interactions:
    """Slice users first … last − 1 as views, without marks of cancellations."""
    rows = slice(int(log.offsets[first]), int(log.offsets[last]))
    return replace(
        log,
        offsets=log.offsets[first : last + 1] - rows.start,
        item_idx=log.item_idx[rows],
        kind=log.kind[rows],
        time=log.time[rows],
        quantity=log.quantity[rows],
        undone_row=log.undone_row[:0],
        undone_time=log.undone_time[:0],
    )


def _merge(log: Interactions, config: ProfileConfig, now: int | npt.NDArray[np.int64]) -> Histories:
    weight = log_weights(log, config, now).astype(np.float64)
    key = log.user_idx.astype(np.int64) * log.n_items + log.item_idx
    counted = np.flatnonzero(weight > 0)
    order = counted[np.argsort(key[counted], kind="stable")]
    sorted_key = key[order]
    first = np.flatnonzero(np.diff(sorted_key, prepend=-1))
    signed = np.where(log.kind == EventKind.DISLIKE, -weight, weight)
    total = np.add.reduceat(weight[order], first) if len(order) else np.empty(0)
    target = np.add.reduceat(signed[order], first) / total if len(order) else np.empty(0)
    users = sorted_key[first] // log.n_items
    return Histories(
        offsets=np.concatenate(([0], np.cumsum(np.bincount(users, minlength=log.n_users)))).astype(np.int64),
        item_idx=(sorted_key[first] % log.n_items).astype(np.int32),
        weight=total.astype(np.float32),
        target=target.astype(np.float32),
        n_items=log.n_items,
    )


@dataclass(frozen=True, repr=False)
class PaddedBatch:
    """A batch of devices of similar length: all (batch, length); weight 0 where a history has ended.

    device: (batch,) indices into the histories; item_idx is 0 where padded.
    """

    device: npt.NDArray[np.int64]
    item_idx: torch.Tensor
    weight: torch.Tensor
    target: torch.Tensor


def batches(
    histories: Histories, devices: npt.NDArray[np.int64], dtype: torch.dtype, cells: int = 16_384
) -> Iterator[PaddedBatch]:
    """Yield devices with a history, in batches of about `cells` padded entries, shortest histories first."""
    import torch  # here: a device merges its own history, and never pads many

    lengths = histories.counts[devices]
    order = devices[np.argsort(lengths, kind="stable")]
    order = order[histories.counts[order] > 0]
    start = 0
    while start < len(order):
        take = max(1, min(cells // int(histories.counts[order[start]]), len(order) - start))
        take = max(1, min(take, cells // int(histories.counts[order[start + take - 1]])))
        device = order[start : start + take]
        start += take
        length = histories.counts[device]
        column = np.arange(int(length.max()))
        inside = column < length[:, None]
        source = np.where(inside, histories.offsets[device][:, None] + column, 0)
        yield PaddedBatch(
            device,
            torch.from_numpy(np.where(inside, histories.item_idx[source], 0)),
            torch.from_numpy(np.where(inside, histories.weight[source], np.float32(0))).to(dtype),
            torch.from_numpy(np.where(inside, histories.target[source], np.float32(0))).to(dtype),
        )
