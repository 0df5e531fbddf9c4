"""What the mix reads from histories: decayed counts of own items, of baskets, and of the last events' items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from recsys.mix.features import BASKETS_HALF_LIFE, BOUGHT_HALF_LIVES, OWN_COLUMNS, OWN_HALF_LIVES

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False, repr=False)
class OwnItems:
    """Every device's own items, dislikes left out, ascending: one entry a pair of device and item.

    key: (m,) int64, device · n_items + item. values: (m, len(OWN_COLUMNS)) float32, in the order of SIGNALS["own"].
    """

    key: npt.NDArray[np.int64]
    values: Floats


def events_without_dislikes(log: Interactions) -> Interactions:
    """Keep all events that speak for an item."""
    disliked = log.kind == EventKind.DISLIKE
    return log.where(~disliked) if disliked.any() else log


def later_events(log: Interactions) -> npt.NDArray[np.float64]:
    """Count how many events of its device came after each event, (n_events,) float64."""
    return (np.repeat(log.offsets[1:], log.counts) - 1 - np.arange(log.n_events)).astype(np.float64)


def later_baskets(log: Interactions) -> npt.NDArray[np.float64]:
    """Count how many moments of purchase of its device came after each event, (n_events,) float64.

    log: purchases only.
    """
    user = log.user_idx
    last_of_basket = np.ones(log.n_events, dtype=np.bool_)
    last_of_basket[:-1] = (user[1:] != user[:-1]) | (log.time[1:] != log.time[:-1])
    ended = np.cumsum(last_of_basket)
    of_device = np.concatenate(([0], ended))[log.offsets[1:]]
    # an event's own basket ends at itself or later: baskets that ended before it, and its own, are not later
    before: npt.NDArray[np.int64] = ended - last_of_basket
    return (np.repeat(of_device, log.counts) - before - 1).astype(np.float64)


def own_items(events: Interactions, now: int | npt.NDArray[np.int64]) -> OwnItems:
    """Count own items as of `now` (µs, one moment or one a device): presence and log(1 + decayed count).

    events: without dislikes. Counts of all events decay by later events, of purchases by days and by own baskets.
    """
    key, entry = np.unique(events.user_idx.astype(np.int64) * events.n_items + events.item_idx, return_inverse=True)
    columns = [np.ones(len(key))]
    age = later_events(events)
    columns += [_decayed(entry, age / half_life, len(key)) for half_life in OWN_HALF_LIVES]
    bought = events.kind == EventKind.PURCHASE
    purchases, entry = events.where(bought), entry[bought]
    moment = np.repeat(now, purchases.counts) if isinstance(now, np.ndarray) else now
    days = np.maximum(moment - purchases.time, 0) / MICROS_PER_DAY
    columns += [_decayed(entry, days / half_life, len(key)) for half_life in BOUGHT_HALF_LIVES]
    columns.append(_decayed(entry, later_baskets(purchases) / BASKETS_HALF_LIFE, len(key)))
    values = np.stack(columns, axis=1)
    values[:, 1:] = np.log1p(values[:, 1:])
    assert values.shape[1] == len(OWN_COLUMNS)
    return OwnItems(key, values.astype(np.float32))


def recent_items(events: Interactions, half_life: float, last: int) -> sparse.csr_array[np.float32, tuple[int, int]]:
    """Weight of each item in the last events of each device, (n_users, n_items): Σ 2^(−later events / half_life).

    events: without dislikes; last: how many events of a device count.
    """
    age = later_events(events)
    counted = age < last
    weight = np.exp2(-age[counted] / half_life).astype(np.float32)
    entries = (weight, (events.user_idx[counted], events.item_idx[counted]))
    return sparse.coo_array(entries, shape=(events.n_users, events.n_items)).tocsr()


def _decayed(entry: npt.NDArray[np.int64], halvings: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    return np.bincount(entry, np.exp2(-halvings), n).astype(np.float64)
