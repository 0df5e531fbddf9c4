"""Examples of the mix: the pools of devices at a moment, and what of them each device took next.

Tables are made before the moment, so no pair that is an example was ever counted in one. What a device takes next is
its first basket after the moment, and at least its first NEXT_ITEMS distinct items: what it takes months later says
little about what to list now (on groceries a target window of ten weeks instead loses .015 of NDCG@10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from recsys.mix.pools import Pools, Signals, all_pools

NEXT_ITEMS = 10
MAX_EXAMPLES = 3_000
"""Devices whose examples a simulation reads: weights stand still from about 300 on, and each holds about 20 kB."""


@dataclass(frozen=True, eq=False, repr=False)
class Examples:
    """Examples of n devices, in pools that hold nothing a device took later than next.

    positive: (m,) bool, over the pools' entries. offsets, items: every device's next items, ascending, in the pool or
    not.
    """

    pools: Pools
    positive: npt.NDArray[np.bool_]
    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]

    def new(self) -> Examples:
        """Leave out the items of each device's own history, in pools and targets alike."""
        is_own = self.pools.own
        device = self.pools.device
        n_items = int(max(self.items.max(initial=0), self.pools.item_idx.max(initial=0))) + 1
        mine = (device[is_own] * n_items + self.pools.item_idx[is_own]).astype(np.int64)
        target = np.repeat(np.arange(len(self.pools)), np.diff(self.offsets)) * n_items + self.items
        fresh = ~np.isin(target, mine)
        before = np.concatenate(([0], np.cumsum(fresh)))
        return Examples(self.pools.where(~is_own), self.positive[~is_own], before[self.offsets], self.items[fresh])

    def devices(self, chosen: npt.NDArray[np.bool_]) -> Examples:
        """Select some devices, chosen (n,) bool."""
        entry = np.repeat(chosen, np.diff(self.pools.offsets))
        target = np.repeat(chosen, np.diff(self.offsets))
        sizes = np.diff(self.pools.offsets)[chosen]
        counts = np.diff(self.offsets)[chosen]
        pools = Pools(_ends(sizes), self.pools.item_idx[entry], self.pools.features[entry])
        return Examples(pools, self.positive[entry], _ends(counts), self.items[target])


def make_examples(
    signals: Signals, histories: Interactions, later: Interactions, now: int, users: npt.NDArray[np.int64]
) -> Examples:
    """Make examples of some users with a history and later events, on the same axes; signals: as of `now` (µs)."""
    pools = all_pools(signals, histories.users(users), now)
    events = later.users(users)
    events = events.where(events.kind != EventKind.DISLIKE)
    key, first = np.unique(events.user_idx.astype(np.int64) * later.n_items + events.item_idx, return_index=True)
    is_next = taken_next(events, first)
    entry = pools.device * later.n_items + pools.item_idx
    place = np.searchsorted(key, entry)
    taken = np.append(key, -1)[place] == entry
    positive = taken & np.append(is_next, False)[place]
    keep = positive | ~taken
    targets = key[is_next]
    offsets = np.searchsorted(targets // later.n_items, np.arange(len(users) + 1)).astype(np.int64)
    return Examples(pools.where(keep), positive[keep], offsets, (targets % later.n_items).astype(np.int32))


def taken_next(events: Interactions, first: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark first occurrences of items, rows of events, that are of the first basket or the first NEXT_ITEMS."""
    order = np.argsort(first)
    user = events.user_idx[first[order]]
    number = np.empty(len(first), dtype=np.int64)
    number[order] = np.arange(len(first)) - np.searchsorted(user, user)
    begins = (
        events.time[np.minimum(events.offsets[:-1], max(events.n_events - 1, 0))] if events.n_events else events.time
    )
    same_basket = events.time[first] == begins[events.user_idx[first]]
    chosen: npt.NDArray[np.bool_] = same_basket | (number < NEXT_ITEMS)
    return chosen


def _ends(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
