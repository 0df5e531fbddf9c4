"""A device's list by the mix: its own pool, ranked by public weights. Pool, features and scores never leave it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions, interactions
from recsys.mix.features import FEATURES, SIGNALS
from recsys.mix.mixed_arm import Mixed, dense_scores
from recsys.mix.pools import Pools, halves, pool_of_history
from recsys.mix.priors import ListName
from recsys.model.profile import make_profile

History = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""item_idx, kind and time of the events in use, oldest first."""


@dataclass(frozen=True, eq=False, repr=False)
class MixedList:
    """The mix of one device. weights: (F,) float32; scores: (n_items,) float32, the pool's items first."""

    pool: Pools
    weights: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def shares(self, listed: npt.NDArray[np.int32]) -> list[dict[str, float]]:
        """Compute what each signal adds to the score of each listed item: weight · feature, summed within the signal.

        They add up to the score. An item that is in no pool has none.
        """
        place = np.searchsorted(self.pool.item_idx, listed)
        shares: list[dict[str, float]] = []
        for item, at in zip(listed.tolist(), place.tolist(), strict=True):
            if at == len(self.pool.item_idx) or self.pool.item_idx[at] != item:
                shares.append({})
                continue
            parts = dict(zip(FEATURES, (self.pool.features[at] * self.weights).tolist(), strict=True))
            shares.append({name: sum(parts[feature] for feature in features) for name, features in SIGNALS.items()})
        return shares


def mixed_list(
    by: Mixed, history: History, now: int, name: ListName, allowed: npt.NDArray[np.bool_] | None = None
) -> MixedList:
    """Rank all items for one history at `now` (µs) by the mix.

    name: whose weights. allowed: (n_items,) bool, what may be in it.
    """
    signals, table = by.signals, by.signals.table
    vector = make_profile(table, *history, now, halves(signals.config), "").vector
    pool = pool_of_history(signals, events_of(history, table.n_items), now, vector, allowed)
    weights = by.weights(name)
    return MixedList(pool, weights, dense_scores(pool, pool.features @ weights, table.trend)[0])


def events_of(history: History, n_items: int) -> Interactions:
    """Make one history the events of user 0."""
    item_idx, kind, time = history
    return interactions(np.zeros(len(item_idx)), item_idx, time, n_users=1, n_items=n_items, kind=kind)
