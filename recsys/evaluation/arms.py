"""The arms people compare, as recommenders over one item table: with a profile, without one, with its average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from recsys.model.histories import Histories, merge_histories
from recsys.model.intent import in_shares, intent_queries, intent_share
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.profile import ProfileConfig, repeat_score
from recsys.model.scoring import score, score_without_profile

if TYPE_CHECKING:
    from recsys.model.solver import Solver

MakeSolver = Callable[[ItemTable, ProfileConfig], "Solver"]


def closed_form(table: ItemTable, config: ProfileConfig) -> Solver:
    """Make the fold-in solver of a table's taste."""
    import torch  # here: a device has this module's scoring, and never solves for many

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


@dataclass(frozen=True, eq=False)
class Personalized:
    """Every user's own profile, computed from the history as a device would.

    Without a history, or with none that weighs anything, the list is that of scoring.score_without_profile.
    """

    name: str
    table: ItemTable
    config: ProfileConfig
    make_solver: MakeSolver = closed_form

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32; now: one moment (µs), or one for each of the users."""
        log = histories.users(users)
        profiles = profiles_of(self.table, self.config, log, now, self.make_solver)
        scores = score(self.table, profiles, self.config.trend_weight)
        scores[~profiles.any(axis=1)] = score_without_profile(self.table)
        if self.config.repeat_weight > 0:
            purchases = own_purchases(log, now, self.config.repeat_half_life)
            scores[np.repeat(np.arange(len(users)), purchases.counts), purchases.item_idx] += (
                self.config.repeat_weight * repeat_score(purchases.weight)
            )
        return scores


@dataclass(frozen=True, eq=False)
class GlobalProfile:
    """A model that scores everybody with the population's mean profile."""

    table: ItemTable
    config: ProfileConfig
    name: str = "global_profile"

    def scores(
        self, histories: Interactions, users: npt.NDArray[np.int64], now: int | npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32."""
        mean = in_shares(self.table.mean_profile, self.table.parts, self.config)
        shared = score(self.table, mean[None, :], self.config.trend_weight)
        return np.repeat(shared, len(users), axis=0)


def own_purchases(log: Interactions, now: int | npt.NDArray[np.int64], half_life_days: float) -> Histories:
    """Count every user's time-decayed purchases, as weights; the batched repeat counter."""
    bought = log.where(log.kind == EventKind.PURCHASE)
    count_all = ProfileConfig(half_life=half_life_days, floor=0.0, kind_weights=(1.0, 1.0, 1.0, 1.0, 1.0))
    return merge_histories(bought, count_all, now)


def without_repeat(arm: Personalized) -> Personalized:
    """Return the same arm without the repeat counter."""
    return replace(arm, name=f"{arm.name}_no_repeat", config=arm.config.without_repeat())
