"""Training that goes on: one round at each publication, over the devices that came by. What a replay is handed.

Sums in one process, as in federation/simulation.py; without its hold-out devices, dropouts and early stop.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from data.interactions import Interactions
from federation.batch import sum_updates
from federation.checkpoint import state_arrays, state_of
from federation.item_step import StepState, item_step
from federation.simulation import TrainConfig
from federation.strategy import solver_of
from recsys.histories import merge_histories
from recsys.items import ItemTable
from recsys.profile_config import finite
from recsys.replay.trainer import Arrays


@dataclass(frozen=True)
class ContinualTrainer:
    """A recsys.replay.Trainer over federated rounds.

    config: of which dim, strategy, profile, clips and step count; η is annealed over config.rounds rounds and then
    stays at its last value. The cohort is who came by, so a device takes part in as many rounds as it has active days.
    Raises FederationError for a private config: a day's cohort is too small to share the noise.
    """

    config: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.config.privacy is not None:
            raise FederationError("privacy: must be off in a replay; `ownshelf evaluate --epsilon` shows what it costs")

    def identity(self) -> str:
        """Settings and seed, JSON."""
        return json.dumps({**finite(asdict(self.config)), "seed": self.seed}, sort_keys=True)

    def start(self, n_items: int) -> Arrays:
        """A random table, from the seed."""
        return state_arrays(StepState.start(n_items, self.config.dim, self.seed))

    def round(self, state: Arrays, cohort: Interactions, now: int, number: int) -> Arrays:
        """One round of the whole cohort."""
        before = state_of(state)
        config = self.config
        table = _table(before, np.zeros(len(before.item_embeddings), dtype=np.float32))
        sums = sum_updates(
            solver_of(config.strategy)(table, config.profile),
            merge_histories(cohort, config.profile, now),
            np.arange(cohort.n_users),
            config.clips,
        )
        rounds = max(config.rounds, 1)
        step = config.step.step_at(min(before.steps, rounds - 1), rounds)
        alpha, reg = config.profile.alpha, config.profile.reg
        return state_arrays(item_step(before, sums, config.step, alpha=alpha, reg=reg, step=step))

    def table(self, state: Arrays, trend: npt.NDArray[np.float32]) -> ItemTable:
        """The table after the last round."""
        return _table(state_of(state), trend)


def _table(state: StepState, trend: npt.NDArray[np.float32]) -> ItemTable:
    return ItemTable(state.item_embeddings, trend, state.mean_profile)
