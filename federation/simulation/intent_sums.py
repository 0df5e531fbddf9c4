"""Updates of the current intent of thousands of devices at once; agrees with federation.learning.intent_update."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.interactions import EventKind, Interactions
from federation.learning.item_step import RoundSums
from federation.learning.taste_update import METRICS, Clips
from recsys.model.intent import intent_queries, signed_weights
from recsys.model.intent_config import IntentConfig
from recsys.model.profile_config import ProfileConfig

Floats = npt.NDArray[np.float64]
MOMENTS_AT_ONCE = 2_048
"""Moments whose queries are held at a time: 3 MB at three pools of 64, and ten times that for their targets."""


def sum_intent_updates(
    taste: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    log: Interactions,
    devices: npt.NDArray[np.int64],
    profile: ProfileConfig,
    config: IntentConfig,
    clips: Clips,
    *,
    blocks: int = 1,
    device_block: npt.NDArray[np.int32] | None = None,
) -> RoundSums:
    """Sum of the devices' updates, each part of each device clipped; device d's history is user d of the log.

    blocks, device_block: as in federation.simulation.taste_sums.sum_updates. Metrics are zero.
    """
    n_items, width = output.shape
    block_size = -(-n_items // blocks)
    block_of = np.zeros(len(devices), dtype=np.int32) if device_block is None else device_block
    active = log.counts[devices] > 0
    devices, block_of = devices[active], block_of[active]
    reports = np.bincount(block_of, minlength=blocks).astype(np.float64)
    rows, counts = np.zeros((n_items, width)), np.zeros(n_items)
    second, first = np.zeros((width, width)), np.zeros(width)
    for part in _chunks(log.counts[devices], config.moments):
        histories, block = log.users(devices[part]), block_of[part]
        now = intent_queries(histories, taste, profile).astype(np.float64)
        first += (now * _scale(np.linalg.norm(now, axis=1), clips.first)[:, None]).sum(0)
        targets = moments_of(histories, profile, config)
        Q = _queries(histories, taste, targets.event, profile)
        second += _second(Q, targets, histories.n_users, clips.second)
        mine = (
            targets.target_item // block_size == block[targets.user[targets.target_moment]]
            if blocks > 1
            else slice(None)
        )
        moment, item, weight = targets.target_moment[mine], targets.target_item[mine], targets.target_weight[mine]
        residual = weight * (np.einsum("ij,ij->i", Q[moment], output[item].astype(np.float64)) - 1.0)
        key, place = np.unique(targets.user[moment].astype(np.int64) * n_items + item, return_inverse=True)
        user = key // n_items
        own_rows = sparse.csr_array((residual, (place, moment)), shape=(len(key), len(Q))) @ Q
        own_counts = np.bincount(place, weight, minlength=len(key))
        row_norm = np.sqrt(np.bincount(user, np.einsum("ij,ij->i", own_rows, own_rows), minlength=histories.n_users))
        count_norm = np.sqrt(np.bincount(user, own_counts**2, minlength=histories.n_users))
        to_items = sparse.csr_array(
            (_scale(row_norm, clips.rows)[user], (key % n_items, np.arange(len(key)))), shape=(n_items, len(key))
        )
        rows += to_items @ own_rows
        counts += np.bincount(key % n_items, own_counts * _scale(count_norm, clips.counts)[user], minlength=n_items)
    return RoundSums(
        rows=rows,
        counts=counts,
        second=second[np.triu_indices(width)],
        first=first,
        reports=np.repeat(reports, block_size)[:n_items],
        one=float(reports.sum()),
        metrics=np.zeros(len(METRICS)),
    )


@dataclass(frozen=True, eq=False, repr=False)
class TargetMoments:
    """The moments of some devices at which something came next.

    event: (m,) the last event before each; user, kappa: (m,). target_*: one entry an item that came next: its moment,
    item_idx and weight, κ included.
    """

    event: npt.NDArray[np.int64]
    user: npt.NDArray[np.int32]
    kappa: Floats
    target_moment: npt.NDArray[np.int64]
    target_item: npt.NDArray[np.int32]
    target_weight: Floats


def moments_of(log: Interactions, profile: ProfileConfig, config: IntentConfig) -> TargetMoments:
    """Find the last moments of each user of a log, and what came next."""
    user = log.user_idx
    left = np.repeat(log.offsets[1:], log.counts) - 1 - np.arange(log.n_events)
    event = np.flatnonzero((left >= 1) & (left <= config.moments))
    weight = np.asarray(profile.kind_weights)[log.kind]
    counted = (log.kind != EventKind.DISLIKE) & (weight > 0)
    earlier = _earlier(user.astype(np.int64) * log.n_items + log.item_idx, counted)
    moment, target, later = [], [], []
    for k in range(min(config.horizon, int(left.max(initial=0)))):
        inside = np.flatnonzero(left[event] > k)
        at = event[inside] + 1 + k
        fresh = counted[at] & (earlier[at] <= event[inside])
        moment.append(inside[fresh])
        target.append(at[fresh])
        later.append(np.full(np.count_nonzero(fresh), k))
    moments = np.concatenate([np.empty(0, np.int64), *moment])
    targets = np.concatenate([np.empty(0, np.int64), *target])
    n_targets = np.bincount(moments, minlength=len(event))
    kappa = np.where(n_targets > 0, 1.0 / np.sqrt(np.maximum(n_targets, 1)), 0.0)
    weights = kappa[moments] * weight[targets] * config.decay ** np.concatenate([np.empty(0), *later])
    return TargetMoments(event, user[event], kappa, moments, log.item_idx[targets], weights)


def _earlier(key: npt.NDArray[np.int64], counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Find for each event the last one before it that counted and has its key, −1 where there is none."""
    rows = np.flatnonzero(counted)
    order = rows[np.argsort(key[rows], kind="stable")]
    earlier = np.full(len(key), -1)
    same = key[order[1:]] == key[order[:-1]]
    earlier[order[1:][same]] = order[:-1][same]
    return earlier


def _queries(
    log: Interactions, taste: npt.NDArray[np.float32], event: npt.NDArray[np.int64], profile: ProfileConfig
) -> Floats:
    """Compute the query after each of some events, (len(event), pools·dim).

    Every event passes its pools on to the next.
    """
    dim, pools = taste.shape[1], np.asarray(profile.intent_pools)
    place = np.full(log.n_events, -1)
    place[event] = np.arange(len(event))
    queries = np.zeros((len(event), len(pools), dim))
    weights = profile.intent_scale * signed_weights(log.kind, profile)
    users = np.argsort(-log.counts, kind="stable")
    state = np.zeros((log.n_users, len(pools), dim))
    for position in range(int(log.counts.max(initial=0)) - 1):
        users = users[: np.count_nonzero(log.counts[users] > position + 1)]
        at = log.offsets[users] + position
        state = state[: len(users)] * pools[:, None] + (weights[at, None] * taste[log.item_idx[at]])[:, None, :]
        inside = place[at] >= 0
        queries[place[at][inside]] = state[inside]
    return queries.reshape(len(event), len(pools) * dim)


def _second(Q: Floats, targets: TargetMoments, n_users: int, clip: float) -> Floats:
    """Sum κ·q·qᵀ over all moments, each user's own sum clipped in the norm of its upper triangle."""
    weighed = Q * np.sqrt(targets.kappa)[:, None]
    if np.isinf(clip):
        return np.asarray(weighed.T @ weighed)
    scale = np.empty(n_users)
    bounds = np.searchsorted(targets.user, np.arange(n_users + 1))
    for user in range(n_users):
        user_rows = weighed[bounds[user] : bounds[user + 1]]
        gram, diagonal = user_rows @ user_rows.T, (user_rows**2).sum(0)
        scale[user] = np.sqrt(((gram**2).sum() + (diagonal**2).sum()) / 2)
    return np.asarray((weighed * _scale(scale, clip)[targets.user][:, None]).T @ weighed)


def _scale(norms: Floats, bound: float) -> Floats:
    return np.minimum(bound / np.maximum(norms, 1e-300), 1.0) if np.isfinite(bound) else np.ones_like(norms)


def _chunks(counts: npt.NDArray[np.int64], moments: int) -> Iterator[slice]:
    """Slice devices with about MOMENTS_AT_ONCE moments together."""
    ends = np.cumsum(np.clip(counts - 1, 0, moments))
    start = 0
    while start < len(counts):
        base = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, base + MOMENTS_AT_ONCE, side="right")), start + 1)
        yield slice(start, stop)
        start = stop
