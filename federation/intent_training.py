"""Federated training of the current intent's output table over simulated devices, for a table whose taste is trained.

The taste stays as it is: its rows are what the queries are made of. What was tried and lost against this, on e-shop
2008 before its test window, is in docs/model.md: input rows of its own, softmax, and one weight a pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.intent_batch import sum_intent_updates
from federation.item_step import StepConfig, StepState, item_step
from federation.update import Clips
from recsys.intent_config import IntentConfig
from recsys.items import INTENT, TASTE, ItemTable
from recsys.profile_config import ProfileConfig

Reporting = Callable[[int], tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]
"""The devices that report in a round and the block of each."""


def train_intent(
    table: ItemTable,
    log: Interactions,
    profile: ProfileConfig,
    config: IntentConfig,
    step: StepConfig,
    clips: Clips,
    *,
    seed: int,
    blocks: int,
    reporting: Reporting,
) -> ItemTable:
    """The table with a part INTENT beside its taste, after config.rounds rounds."""
    taste = table.rows_of(TASTE)
    width = len(profile.intent_pools) * taste.shape[1]
    state = StepState.start(table.n_items, width, seed)
    for round_ in range(config.rounds):
        devices, device_block = reporting(round_)
        sums = sum_intent_updates(
            taste,
            state.item_embeddings,
            log,
            devices,
            profile,
            config,
            clips,
            blocks=blocks,
            device_block=device_block,
        )
        size = step.step_at(round_, config.rounds)
        state = item_step(state, sums, step, alpha=config.alpha, reg=config.reg, step=size)
    return with_intent(table, state.item_embeddings, state.mean_profile)


def with_intent(table: ItemTable, output: npt.NDArray[np.float32], mean_query: npt.NDArray[np.float32]) -> ItemTable:
    """The table's taste with an output table (n_items, width) beside it; mean_query: (width,), the population's."""
    taste = table.part(TASTE)
    return replace(
        table,
        item_embeddings=np.hstack([table.item_embeddings[:, taste], output]),
        mean_profile=np.concatenate([table.mean_profile[taste], mean_query]),
        parts=((TASTE, taste.stop - taste.start), (INTENT, output.shape[1])),
    )
