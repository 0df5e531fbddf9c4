"""The mix as a recommender that can be evaluated: every user's pool, ranked by the weights of each list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.mix.features import OWN_COLUMNS
from recsys.mix.model import MixModel
from recsys.mix.pools import Pools, Signals, form_pools
from recsys.mix.priors import LISTS, ListName
from recsys.model.scoring import score_without_profile

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Mixed:
    """Items of the pool first, the others behind them by trend; without a history the list is that of everybody.

    own: whether the signals of the own history count.
    """

    name: str
    signals: Signals
    model: MixModel
    own: bool = True

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]) -> Floats:
        """Score for the list of all items, (len(users), n_items) float32."""
        return self.scores_by_list(histories, users, now)["all"]

    def scores_by_list(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> dict[ListName, Floats]:
        """Score each list, (len(users), n_items) float32; of "new" only the order of items outside counts."""
        log = histories.users(users)
        by_list = {name: np.empty((len(users), log.n_items), dtype=np.float32) for name in LISTS}
        for rows, pools in form_pools(self.signals, log, now):
            for name in LISTS:
                weights = self.weights(name)
                by_list[name][rows] = dense_scores(pools, pools.features @ weights, self.signals.table.trend)
        for name in LISTS:
            by_list[name][log.counts == 0] = score_without_profile(self.signals.table)
        return by_list

    def weights(self, name: ListName) -> Floats:
        """Copy a list's weights, (F,) float32; 0 for the signals of the own history where they do not count."""
        weights = self.model.weights[name].astype(np.float32)
        if not self.own:
            weights[list(OWN_COLUMNS)] = 0.0
        return weights


def dense_scores(pools: Pools, height: Floats, trend: Floats) -> Floats:
    """Score all items, given those of the pools' entries (m,): the others come behind, by trend in [0, 1]."""
    lowest = np.zeros(len(pools), dtype=np.float32)
    np.minimum.at(lowest, pools.device, height)
    scores: Floats = (trend - np.float32(2.0)) + lowest[:, None]
    scores[pools.device, pools.item_idx] = height
    return scores
