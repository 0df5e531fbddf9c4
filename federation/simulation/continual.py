"""Training that goes on: one round at each publication, over the devices that came by. What a replay is handed.

Sums in one process, as in federation/simulation/training.py; without its hold-out devices, dropouts and early stop.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from data.interactions import Interactions
from federation.learning.item_step import StepState, item_step
from federation.simulation.checkpoint import state_arrays, state_of
from federation.simulation.intent_sums import sum_intent_updates
from federation.simulation.intent_training import with_intent
from federation.simulation.strategy import solver_of
from federation.simulation.taste_sums import sum_updates
from federation.simulation.training import TrainConfig
from recsys.model.histories import merge_histories
from recsys.model.items import ItemTable
from recsys.model.profile_config import finite
from recsys.replay.trainer import Arrays

_TASTE, _INTENT = "taste_", "intent_"


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
        """Describe settings and seed, JSON."""
        return json.dumps({**finite(asdict(self.config)), "seed": self.seed}, sort_keys=True)

    def start(self, n_items: int) -> Arrays:
        """Draw a random table, from the seed."""
        state = _named(_TASTE, StepState.start(n_items, self.config.dim, self.seed))
        if self.config.trained_intent is not None:
            width = len(self.config.profile.intent_pools) * self.config.dim
            state |= _named(_INTENT, StepState.start(n_items, width, self.seed + 1))
        return state

    def round(self, state: Arrays, cohort: Interactions, now: int, number: int) -> Arrays:
        """Train one round of the whole cohort.

        It is for the taste, then for the current intent where config.intent asks for it.
        """
        before, config = state_of(state, _TASTE), self.config
        devices = np.arange(cohort.n_users)
        table = ItemTable(
            before.item_embeddings, np.zeros(len(before.item_embeddings), np.float32), before.mean_profile
        )
        sums = sum_updates(
            solver_of(config.strategy)(table, config.profile),
            merge_histories(cohort, config.profile, now),
            devices,
            config.clips,
        )
        step = self._step_size(before, config.rounds)
        alpha, reg = config.profile.alpha, config.profile.reg
        after = _named(_TASTE, item_step(before, sums, config.step, alpha=alpha, reg=reg, step=step))
        intent = config.trained_intent
        if intent is not None:
            output, taste = state_of(state, _INTENT), before.item_embeddings
            more = sum_intent_updates(
                taste, output.item_embeddings, cohort, devices, config.profile, intent, config.clips
            )
            step = self._step_size(output, intent.rounds)
            output = item_step(output, more, config.step, alpha=intent.alpha, reg=intent.reg, step=step)
            after |= _named(_INTENT, output)
        return after

    def table(self, state: Arrays, trend: npt.NDArray[np.float32]) -> ItemTable:
        """Publish the table after the last round."""
        taste = state_of(state, _TASTE)
        table = ItemTable(taste.item_embeddings, trend, taste.mean_profile)
        if self.config.trained_intent is None:
            return table
        output = state_of(state, _INTENT)
        return with_intent(table, output.item_embeddings, output.mean_profile)

    def _step_size(self, state: StepState, rounds: int) -> float:
        rounds = max(rounds, 1)
        return self.config.step.step_at(min(state.steps, rounds - 1), rounds)


def _named(prefix: str, state: StepState) -> Arrays:
    return {prefix + name: array for name, array in state_arrays(state).items()}
