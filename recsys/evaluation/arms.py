"""Arms: from a name, an item table and settings to what lists, for a device, a replay, a rehearsal, a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import EventKind, Interactions
from recsys.evaluation.arm_names import ARMS, ListedArm
from recsys.evaluation.baselines import FixedList, ItemKNN, item_knn, popularity
from recsys.evaluation.strong_baselines import Ease, OwnCounter, ease, own_counter
from recsys.mix.mixed_arm import Mixed
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.transition_arm import Transition, transition
from recsys.model.histories import Histories, merge_histories
from recsys.model.intent import in_shares
from recsys.model.items import ItemTable
from recsys.model.log_profiles import MakeSolver, closed_form, profiles_of
from recsys.model.profile import ProfileConfig, repeat_score
from recsys.model.scoring import score, score_without_profile
from recsys.model.trend import HALF_LIFE_DAYS

Floats = npt.NDArray[np.float32]


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
        return np.repeat(self.item_scores[None, :], len(users), axis=0)

    @property
    def item_scores(self) -> Floats:
        """What everybody's list is ordered by, (n_items,) float32."""
        mean = in_shares(self.table.mean_profile, self.table.parts, self.config)
        scores: Floats = score(self.table, mean[None, :], self.config.trend_weight)[0]
        return scores


TableArm = Personalized | GlobalProfile | Mixed | FixedList
"""Arms that public values and histories are enough for."""
AnyArm = TableArm | ItemKNN | OwnCounter | Transition | Ease


@dataclass(frozen=True, eq=False)
class PooledLog:
    """Other people's rows, which baselines count in a lab, and no device and no shop sees.

    log: makes the log as it was known at `now` (µs). counts: (n_items,) events of each item where they are counted
    already. half_life_days: of the trend.
    """

    log: Callable[[], Interactions]
    now: int
    counts: npt.NDArray[np.float64] | None = None
    half_life_days: float = HALF_LIFE_DAYS


@overload
def arm(
    name: ListedArm,
    table: ItemTable,
    config: ProfileConfig,
    *,
    mix: MixModel | None = None,
    make_solver: MakeSolver = closed_form,
    label: str | None = None,
) -> TableArm: ...


@overload
def arm(
    name: str,
    table: ItemTable,
    config: ProfileConfig,
    *,
    mix: MixModel | None = None,
    make_solver: MakeSolver = closed_form,
    pooled: PooledLog | None = None,
    label: str | None = None,
) -> AnyArm: ...


def arm(
    name: str,
    table: ItemTable,
    config: ProfileConfig,
    *,
    mix: MixModel | None = None,
    make_solver: MakeSolver = closed_form,
    pooled: PooledLog | None = None,
    label: str | None = None,
) -> AnyArm:
    """Make what lists under a name of ARMS.

    table: as the arm's own training made it: federated, or of `local`, `central`, `fine_tune`, `ials`. config: how to
    serve. mix: ranks `personalized` where there is one; None for the plain score. make_solver: how devices compute
    profiles. pooled: for baselines of pooled rows. label: the name in tables, if it is another.
    Raises ModelError for another name, and for a baseline without `pooled`.
    """
    if name not in ARMS:
        raise ModelError(f"arm={name!r}: must be one of {', '.join(ARMS)}")
    label = label or name
    if name == "global":
        return FixedList(label, score_without_profile(table))
    if name == "global_profile":
        return GlobalProfile(table, config, label)
    if name in ("personalized", "personalized_no_repeat") and mix is not None:
        return Mixed(label, Signals(table, config, mix.tables, make_solver), mix, own=name == "personalized")
    if name in ("personalized", "local", "central", "fine_tune"):
        return Personalized(label, table, config, make_solver)
    if name == "personalized_no_repeat":
        return Personalized(label, table, config.without_repeat(), make_solver)
    if name == "ials":
        return Personalized(label, table, replace(config.without_repeat(), trend_weight=0.0), make_solver)
    if pooled is None:
        raise ModelError(f"arm={name!r}: needs the pooled log, which a lab alone has")
    return replace(_baseline(name, pooled), name=label)


def _baseline(name: str, pooled: PooledLog) -> AnyArm:
    """Make an arm that counts pooled rows."""
    if name == "popularity" and pooled.counts is not None:
        return FixedList(name, pooled.counts.astype(np.float32))
    log = pooled.log()
    if name == "popularity":
        return popularity(log)
    if name == "item_knn":
        return item_knn(log)
    if name == "own_counter":
        return own_counter(log, pooled.now, pooled.half_life_days)
    if name == "transition":
        return transition(log, pooled.now)
    return ease(log)


def own_purchases(log: Interactions, now: int | npt.NDArray[np.int64], half_life_days: float) -> Histories:
    """Count every user's time-decayed purchases, as weights; the batched repeat counter."""
    bought = log.where(log.kind == EventKind.PURCHASE)
    count_all = ProfileConfig(half_life=half_life_days, floor=0.0, kind_weights=(1.0, 1.0, 1.0, 1.0, 1.0))
    return merge_histories(bought, count_all, now)
