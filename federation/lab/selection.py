"""λ, α and the profile's settings by federated cross-validation: over devices and over time at once.

Every fold (federation/lab/folds.py) ends before the test window. Its training devices train on their train side; each
other
device folds in its own earlier events, ranks the catalogue and measures NDCG on its test side. Only sums of that figure
leave a device. So a candidate is judged by devices that it never saw, on what they did later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import FederationError
from data.interactions import Interactions
from data.log_statistics import LogStatistics, measure_log
from federation.lab.folds import Fold, Folds
from federation.lab.guards import GUARDED, Parts, PartSum, refusal
from federation.lab.recipes import Recipe
from federation.lab.result_cache import ResultCache
from federation.simulation.strategy import arm_of
from federation.simulation.training import TrainConfig, Training, train
from recsys.evaluation.baselines import FixedList
from recsys.evaluation.evaluation import Evaluation, evaluate
from recsys.evaluation.recommender import Recommender
from recsys.model.profile_config import ProfileConfig, finite

_Vector = npt.NDArray[np.float64]

TREND = "trend"
"""The model of that name beside those that are judged: the list of a shopper without a profile."""
JUDGED = ("all", *GUARDED)


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The candidates that were tried, best first.

    candidates: recipes; mean, error: their mean NDCG@k over hold-out devices and its standard error, (n,) float64;
    parts: the same of the guarded parts, candidate by candidate; trend: of the trend alone, under the half-life of each
    candidate's training. devices: how many measured, a device counted once a window. participations: how often a device
    was asked to train or to measure, at most. cpu_s: what it cost, also where a kept result was read.
    """

    candidates: tuple[Recipe, ...]
    mean: _Vector
    error: _Vector
    parts: tuple[Parts, ...]
    trend: tuple[Parts, ...]
    devices: int
    participations: int
    cpu_s: float

    @property
    def best(self) -> Recipe:
        """The candidate with the highest mean."""
        return self.candidates[0]

    def parts_of(self, recipe: Recipe) -> Parts:
        """Return the guarded parts of one of the candidates."""
        return self.parts[self.candidates.index(recipe)]

    def refusals(self, start: Parts) -> tuple[str, ...]:
        """Say why each candidate is refused beside a start, "" where it is not."""
        return tuple(refusal(parts, start, plain) for parts, plain in zip(self.parts, self.trend, strict=True))

    def best_allowed(self, start: Recipe) -> Recipe:
        """Find the best of the candidates that no guard refuses beside `start`, which is one of them."""
        refused = self.refusals(self.parts_of(start))
        return next(
            candidate for candidate, why in zip(self.candidates, refused, strict=True) if not why or candidate == start
        )


def cross_validate(
    folds: Folds,
    candidates: Sequence[Recipe],
    *,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    cache: ResultCache | None = None,
    on_step: Callable[[], None] | None = None,
) -> CrossValidation:
    """Judge candidates by NDCG@k on the folds; of equal ones the earlier is the better.

    part: `all` or `new`, as in evaluate. A table is trained once for all candidates that share their TrainConfig. memo:
    keeps the sums of each fold of each table, so that stopped work goes on. on_step: told after each of them. Raises
    FederationError for a single fold, no candidate, or folds where nobody measured.
    """
    if len(folds) < 2 or not candidates:
        raise FederationError(f"folds={len(folds)}, candidates={len(candidates)}: need at least 2 folds, 1 candidate")
    cache = ResultCache() if cache is None else cache
    tables = list(dict.fromkeys(candidate.train for candidate in candidates))
    members = {table: [i for i, candidate in enumerate(candidates) if candidate.train == table] for table in tables}
    sums: list[dict[str, PartSum]] = [{} for _ in candidates]
    trends: list[dict[str, PartSum]] = [{} for _ in candidates]
    requests: list[list[int]] = [[] for _ in tables]
    cpu_s = 0.0
    for fold in folds:
        for place, config in enumerate(tables):
            serves = [candidates[i].serve for i in members[config]]
            words = {
                "fold": fold.digest, "train": finite(asdict(config)),
                "serve": [finite(asdict(entry)) for entry in serves], "seed": seed, "k": k, "parts": JUDGED,
            }  # fmt: skip
            result = cache.get_or_compute(words, partial(_sums, fold, config, serves, seed, k))
            for fold_sums, candidate in zip(result["sums"], members[config], strict=True):
                _add(sums[candidate], fold_sums)
                _add(trends[candidate], result["trend"])
            requests[place].append(result["asked"])
            cpu_s += result["cpu_s"]
            if on_step is not None:
                on_step()
    if not all(fold_sums[part].devices for fold_sums in sums):
        raise FederationError("folds: no device could measure; there are too few users with later events")
    mean = np.array([fold_sums[part].mean for fold_sums in sums])
    error = np.array([fold_sums[part].error for fold_sums in sums])
    order = np.argsort(-mean, kind="stable")
    return CrossValidation(
        tuple(candidates[i] for i in order),
        mean[order],
        error[order],
        tuple(sums[i] for i in order),
        tuple(trends[i] for i in order),
        devices=int(sums[0][part].devices),
        participations=sum(_participations(entry, folds) for entry in requests),
        cpu_s=cpu_s,
    )


def _participations(by_fold: Sequence[int], folds: Folds) -> int:
    """Bound how often a device took part in the folds of one table; by_fold: in each fold's training, at most.

    A device that is asked in one of the device folds of a window does not train in it, and measures once.
    """
    windows = np.reshape(by_fold, (len(folds.windows), folds.devices))
    trained = windows.sum(axis=1) - (windows.min(axis=1) if folds.devices > 1 else 0)
    return int((trained + 1).sum())


def _add(to: dict[str, PartSum], sums: Mapping[str, Sequence[float]]) -> None:
    for part, values in sums.items():
        to[part] = to.get(part, PartSum()) + PartSum(*values)


def _sums(fold: Fold, config: TrainConfig, serves: Sequence[ProfileConfig], seed: int, k: int) -> dict[str, Any]:
    """Sum devices, each part's figure and its square, by serve and of the trend: all that leaves the devices."""
    start = process_time()
    training, figures = judge(fold, config, serves, seed=seed, k=k)

    def sums_of(model: str) -> dict[str, list[float]]:
        columns = {part: figures.column(model, f"ndcg@{k}", part) for part in JUDGED}
        values = {part: column[~np.isnan(column)] for part, column in columns.items()}
        return {
            part: [float(len(numbers)), float(numbers.sum()), float(numbers @ numbers)]
            for part, numbers in values.items()
        }

    return {
        "sums": [sums_of(str(place)) for place in range(len(serves))],
        "trend": sums_of(TREND),
        "asked": int(training.participations.max(initial=0)),
        "cpu_s": process_time() - start,
    }


def judge(
    fold: Fold,
    config: TrainConfig,
    serves: Sequence[ProfileConfig],
    *,
    seed: int,
    k: int = 20,
    log: Interactions | None = None,
    users: npt.NDArray[np.int64] | None = None,
) -> tuple[Training, Evaluation]:
    """Train one table on a fold and measure it with each of the profile settings, as models "0", "1", …

    TREND and popularity are measured beside them. log: what is trained on, fold.training by default; what is ranked
    stays the items of fold.training. users: who is asked, fold.users by default.
    """
    learned = fold.training if log is None else log
    training = train(learned, config, seed=seed, now=fold.question.now)
    arms: list[Recommender] = [
        arm_of(config.strategy, training.table, serve, str(place)) for place, serve in enumerate(serves)
    ]
    figures = evaluate(
        [*arms, FixedList(TREND, training.table.trend)],
        fold.split,
        histories=fold.question.histories,
        users=fold.users if users is None else users,
        k=k,
        now=fold.question.now,
        bootstrap=2,
        parts=JUDGED,
    )
    return training, figures


def select(
    folds: Folds,
    start: Recipe,
    *,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    cache: ResultCache | None = None,
    on_step: Callable[[], None] | None = None,
) -> tuple[Recipe, list[CrossValidation]]:
    """Choose a recipe for this log, in stages: α and λ of training, then one setting of the profile after the other.

    α and λ are judged without the repeat counter, which hides much of what a table is good for. In every stage the best
    that no guard refuses is taken. memo: see cross_validate; with it the same call goes on where it was stopped.
    """

    def judged(candidates: Iterable[Recipe]) -> CrossValidation:
        return cross_validate(folds, list(candidates), seed=seed, k=k, part=part, cache=cache, on_step=on_step)

    bare = replace(start, serve=start.serve.without_repeat())
    stages = [judged(training_grid(bare, measure_log(folds.log)))]
    best = stages[0].best_allowed(bare)
    best = replace(best, serve=replace(best.serve, repeat_weight=start.serve.repeat_weight))
    for _ in range(PROFILE_STAGES):
        stages.append(judged(serving_grid(best)))
        best = stages[-1].best_allowed(best)
    return best, stages


PROFILE_STAGES = 3
UNSEEN_PER_ITEM = (1.5, 6.0, 24.0)
"""α·n_items over the mean history length m, as tried by training_grid."""
RIDGE_SHARES = (0.003, 0.02, 0.1)
"""λ·(m + α·n_items) over m, as tried by training_grid."""
TABLES_OF_SELECT = 1 + len(UNSEEN_PER_ITEM) * len(RIDGE_SHARES) + PROFILE_STAGES
"""Tables that select trains in each fold."""


def training_grid(start: Recipe, statistics: LogStatistics) -> Iterable[Recipe]:
    """Yield the start, and it with α and λ of training on the log's own scale; the profile's keep their ratio to them.

    The scale is that of federation/lab/defaults.py: what a good α or λ is depends on how long histories are beside the
    catalogue, not on what one began with.
    """
    yield start
    m, n, now = statistics.history_length, statistics.items, start.train.profile
    for unseen in UNSEEN_PER_ITEM:
        for ridge in RIDGE_SHARES:
            alpha = unseen * m / n
            a, r = alpha / now.alpha, ridge * m / (m + alpha * n) / now.reg
            train = replace(start.train, profile=_scaled(now, a, r))
            yield replace(start, train=train, serve=_scaled(start.serve, a, r))


def serving_grid(start: Recipe) -> Iterable[Recipe]:
    """Yield the start, and it with one setting of the profile changed."""
    now = start.serve
    changed = [now]
    changed += [replace(now, half_life=now.half_life * factor) for factor in (0.5, 1.5, 3.0)]
    changed += [replace(now, floor=min(now.floor * factor, 1.0)) for factor in (0.5, 2.0)]
    changed += [replace(now, reg=now.reg * factor) for factor in (0.5, 2.0)]
    changed += [replace(now, trend_weight=weight) for weight in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)]
    changed += [replace(now, repeat_weight=weight) for weight in (0.0, 0.2, 0.35, 0.5, 0.75, 1.0)]
    if start.train.intent is not None:
        changed += [replace(now, intent_share=share) for share in (0.5, 0.8, 0.9, 0.95, 1.0)]
    for serve in dict.fromkeys(changed):
        yield replace(start, serve=serve)


def _scaled(config: ProfileConfig, a: float, r: float) -> ProfileConfig:
    return replace(config, alpha=config.alpha * a, reg=config.reg * r)
