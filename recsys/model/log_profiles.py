"""Profiles of all users of a log at once, as each device would compute its own: for training, mixes and evaluations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from recsys.model.histories import merge_histories
from recsys.model.intent import in_shares, intent_queries, intent_share
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile_config import ProfileConfig

if TYPE_CHECKING:
    from recsys.model.solver import Solver

MakeSolver = Callable[[ItemTable, ProfileConfig], "Solver"]


def closed_form(table: ItemTable, config: ProfileConfig) -> Solver:
    """Make the fold-in solver of a table's taste."""
    import torch  # here: a device imports this module with the mix, and never solves for many

    from recsys.model.solver import Solver

    return Solver(torch.from_numpy(np.array(table.rows_of(TASTE))), alpha=config.alpha, reg=config.reg)


def profiles_of(
    table: ItemTable,
    config: ProfileConfig,
    log: Interactions,
    now: int | npt.NDArray[np.int64],
    make_solver: MakeSolver = closed_form,
) -> npt.NDArray[np.float32]:
    """Compute the profiles of all users of a log, (n_users, dim) float32.

    Agrees with recsys.model.profile, user by user.
    """
    profiles = np.zeros((log.n_users, table.dim), dtype=np.float32)
    histories = merge_histories(log, config, now)
    profiles[:, table.part(TASTE)] = make_solver(table, config).profiles(histories, np.arange(log.n_users))
    if intent_share(table.parts, config) > 0:
        profiles[:, table.part(INTENT)] = intent_queries(log, table.rows_of(TASTE), config)
    return in_shares(profiles, table.parts, config)
