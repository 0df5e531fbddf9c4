"""What an arm would have listed to a log's shoppers: its settings as a recommender, many lists at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.lists.diversity import diversify, pool_size
from recsys.replay.prefixes import Index, histories_before
from recsys.replay.replay_arms import TimedRecommender
from recsys.search.ranking import rank

Lists = npt.NDArray[np.int32]

LENGTH = 20
"""Places of a list: what fits a shop's page, and what the project's figures are cut at."""

CELLS_AT_ONCE = 4_000_000
"""Scores held at a time: 16 MB."""


@dataclass(frozen=True, eq=False)
class ArmLists:
    """An arm that answers. rows: (n_items, dim) item embeddings, for diversity 0..1 and for what lists are like."""

    recommender: TimedRecommender
    rows: npt.NDArray[np.float32]
    diversity: float = 0.0
    k: int = LENGTH

    def at(
        self,
        log: Interactions,
        users: Index,
        ends: Index,
        moments: Index,
        on_progress: Callable[[int], None] | None = None,
    ) -> Lists:
        """List for some histories, (n, k) int32, −1 behind a list's end.

        Shopper users[q] has a history up to row ends[q], that row excluded, as it was known at moments[q] (µs).
        on_progress: is called with how many lists were made since its last call.
        """
        lists = np.full((len(users), min(self.k, log.n_items)), -1, dtype=np.int32)
        step = max(CELLS_AT_ONCE // max(log.n_items, 1), 1)
        for start in range(0, len(users), step):
            part = slice(start, start + step)
            histories = histories_before(log, users[part], ends[part], moments[part])
            scores = self.recommender.scores(histories, np.arange(histories.n_users), moments[part])
            lists[part] = self._lists_of(np.asarray(scores))
            if on_progress is not None:
                on_progress(histories.n_users)
        return lists

    def _lists_of(self, scores: npt.NDArray[np.float32]) -> Lists:
        if self.diversity == 0:
            return rank(scores, self.k)
        pools = rank(scores, pool_size(self.k))
        lists = np.full((len(scores), min(self.k, scores.shape[1])), -1, dtype=np.int32)
        for row, pool in enumerate(pools):
            pool = pool[pool >= 0]
            order = diversify(scores[row, pool], self.rows[pool], lists.shape[1], self.diversity)
            lists[row, : len(order)] = pool[order]
        return lists
