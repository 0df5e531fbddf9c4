"""The table of transitions as a recommender of its own: the baseline that many a model loses to on new items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.mix.features import NEXT_HALF_LIFE, RECENT_EVENTS
from recsys.mix.history_counts import events_without_dislikes, recent_items
from recsys.model.transitions import Transitions, count_transitions, transition_table
from recsys.model.trend import decayed_popularity


@dataclass(frozen=True, eq=False)
class Transition:
    """A recommender of what follows a history's last events: Σ_j 2^(−later events / NEXT_HALF_LIFE) · table[item_j].

    table: (n_items, n_items) sparse float32, row i what comes near item i. No answer (nan) without a history.
    """

    table: Transitions
    name: str = "transition"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32; a row of nan for a user without a history."""
        recent = recent_items(events_without_dislikes(histories.users(users)), NEXT_HALF_LIFE, RECENT_EVENTS)
        scores = np.asarray((recent @ self.table).toarray(), dtype=np.float32)
        scores[histories.counts[users] == 0] = np.nan
        return scores


def transition(train: Interactions, now: int) -> Transition:
    """Count the transitions of a log, as the mix does; now: after its last event (µs)."""
    popularity = decayed_popularity(train, now, float("inf"))
    return Transition(transition_table(count_transitions(train), popularity))
