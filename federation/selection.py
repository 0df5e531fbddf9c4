"""λ, α and the profile's settings by federated cross-validation: over devices and over time at once.

A split is agreed on that ends before the test window. The devices of all folds but one train on their train side; each
device of the last fold folds in its own earlier events, ranks the catalogue and measures NDCG on its test side. Only
sums of that figure leave a device. So a candidate is judged by devices that it never saw, on what they did later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from data.interactions import Interactions
from data.split import Split
from federation.recipe import Recipe
from federation.simulation import train
from federation.strategy import arm_of
from recsys.evaluation import evaluate, moment_of
from recsys.profile_config import ProfileConfig

_FOLD = 5


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What was tried, best first.

    candidates: recipes; mean, error: their mean NDCG@k over hold-out devices and its standard error, (n,) float64;
    participations: how often a device was asked, at most.
    """

    candidates: tuple[Recipe, ...]
    mean: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    participations: int

    @property
    def best(self) -> Recipe:
        """The candidate with the highest mean."""
        return self.candidates[0]


def cross_validate(
    split: Split,
    candidates: Sequence[Recipe],
    *,
    histories: Interactions | None = None,
    folds: int = 3,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    on_step: Callable[[], None] | None = None,
) -> CrossValidation:
    """Judge candidates by NDCG@k on split.test.

    histories: what a measuring device knows of itself, split.train by default. part: `all` or `new`, as in evaluate.
    A table is trained once for all candidates that share their TrainConfig. on_step: told after each fold of each
    table. Raises FederationError for fewer than two folds or no candidate.
    """
    if folds < 2 or not candidates:
        raise FederationError(f"folds={folds}, candidates={len(candidates)}: need at least 2 folds and 1 candidate")
    histories = split.train if histories is None else histories
    now = moment_of(split, histories)
    n_users = split.train.n_users
    fold = np.random.default_rng([seed, _FOLD]).integers(0, folds, n_users)
    tables = list(dict.fromkeys(candidate.train for candidate in candidates))
    figures: list[list[npt.NDArray[np.float64]]] = [[] for _ in candidates]
    participations = 0
    for config in tables:
        members = [i for i, candidate in enumerate(candidates) if candidate.train == config]
        asked = np.zeros(n_users, dtype=np.int64)
        for one in range(folds):
            others = split.train.where((fold != one)[split.train.user_idx])
            trained = train(others, config, seed=seed, now=now)
            asked += trained.participations
            arms = [arm_of(config.strategy, trained.table, candidates[i].serve, str(i)) for i in members]
            found = evaluate(
                arms,
                Split(others, split.test, "cross-validation", split.at),
                histories=histories,
                users=np.flatnonzero(fold == one),
                k=k,
                now=now,
                bootstrap=2,
            )
            for i in members:
                figures[i].append(found.column(str(i), f"ndcg@{k}", part))
            if on_step is not None:
                on_step()
        participations += int(asked.max())
    values = [np.concatenate(one) for one in figures]
    mean = np.array([np.nanmean(one) for one in values])
    error = np.array([np.nanstd(one) / np.sqrt((~np.isnan(one)).sum()) for one in values])
    order = np.argsort(-mean, kind="stable")
    return CrossValidation(tuple(candidates[i] for i in order), mean[order], error[order], participations)


def select(
    split: Split,
    start: Recipe,
    *,
    histories: Interactions | None = None,
    folds: int = 3,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    on_step: Callable[[], None] | None = None,
) -> tuple[Recipe, list[CrossValidation]]:
    """A recipe for this log, in stages: α and λ of training, then one setting of the profile after the other.

    α and λ are judged without the repeat counter, which hides much of what a table is good for.
    """

    def judged(candidates: Iterable[Recipe]) -> CrossValidation:
        return cross_validate(
            split, list(candidates), histories=histories, folds=folds, seed=seed, k=k, part=part, on_step=on_step
        )

    bare = replace(start, serve=start.serve.without_repeat())
    stages = [judged(training_grid(bare))]
    found = stages[0].best
    found = replace(found, serve=replace(found.serve, repeat_weight=start.serve.repeat_weight))
    for _ in range(PROFILE_STAGES):
        stages.append(judged(serving_grid(found)))
        found = stages[-1].best
    return found, stages


PROFILE_STAGES = 3
TABLES_OF_SELECT = 9 + PROFILE_STAGES
"""Tables that select trains in each fold."""


def training_grid(start: Recipe) -> Iterable[Recipe]:
    """α and λ of training at half, once and twice the start's; the profile's keep their ratio to them."""
    for a in (0.5, 1.0, 2.0):
        for r in (0.5, 1.0, 2.0):
            yield Recipe(replace(start.train, profile=_scaled(start.train.profile, a, r)), _scaled(start.serve, a, r))


def serving_grid(start: Recipe) -> Iterable[Recipe]:
    """The start, and it with one setting of the profile changed."""
    now = start.serve
    changed = [now]
    changed += [replace(now, half_life=now.half_life * factor) for factor in (0.5, 1.5, 3.0)]
    changed += [replace(now, floor=min(now.floor * factor, 1.0)) for factor in (0.5, 2.0)]
    changed += [replace(now, reg=now.reg * factor) for factor in (0.5, 2.0)]
    changed += [replace(now, trend_weight=weight) for weight in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)]
    changed += [replace(now, repeat_weight=weight) for weight in (0.0, 0.2, 0.35, 0.5, 0.75, 1.0)]
    for serve in dict.fromkeys(changed):
        yield replace(start, serve=serve)


def _scaled(config: ProfileConfig, a: float, r: float) -> ProfileConfig:
    return replace(config, alpha=config.alpha * a, reg=config.reg * r)
