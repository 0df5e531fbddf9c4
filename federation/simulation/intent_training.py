"""Federated training of the current intent's output table over simulated devices, for a table whose taste is trained.

The taste stays as it is: its rows are what the queries are made of. What was tried and lost against this, on e-shop
2008 before its test window, is in docs/model.md: input rows of its own, softmax, and one weight a pool.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from federation.learning.item_step import RoundSums, StepConfig, StepState, item_step
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile_config import ProfileConfig


def start_intent(table: ItemTable, profile: ProfileConfig, seed: int) -> StepState:
    """Draw a random output table (n_items, pools·taste), before any round."""
    taste = table.part(TASTE)
    return StepState.start(table.n_items, len(profile.intent_pools) * (taste.stop - taste.start), seed)


def intent_step(state: StepState, sums: RoundSums, config: IntentConfig, step: StepConfig) -> StepState:
    """Step the output table by one more round, number state.steps of config.rounds, from its sums."""
    size = step.step_at(state.steps, config.rounds)
    return item_step(state, sums, step, alpha=config.alpha, reg=config.reg, step=size)


def with_intent(table: ItemTable, output: npt.NDArray[np.float32], mean_query: npt.NDArray[np.float32]) -> ItemTable:
    """Put an output table (n_items, width) beside the table's taste; mean_query: (width,), the population's."""
    taste = table.part(TASTE)
    return replace(
        table,
        item_embeddings=np.hstack([table.item_embeddings[:, taste], output]),
        mean_profile=np.concatenate([table.mean_profile[taste], mean_query]),
        parts=((TASTE, taste.stop - taste.start), (INTENT, output.shape[1])),
    )
