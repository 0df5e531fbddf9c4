"""Tuning: random search with successive halving over rounds, every figure a federated cross-validation.

Halving (Jamieson and Talwalkar 2016): many settings of training are tried with a ninth of their rounds, the best third
of them again with a third, the best third of those with all; each time a training of its own with its whole schedule of
steps, so that fewer rounds may win too. Profile settings cost no training, so each table is judged with several of
them. Every bracket of trials is drawn near the best recipe so far. Not the judge of the outcome: the best of many is
flattered by having been chosen; federation/lab/nested_cv.py says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from data.errors import FederationError
from federation.lab.folds import Folds
from federation.lab.guards import GUARDED, PartSum
from federation.lab.recipes import Recipe
from federation.lab.result_cache import ResultCache
from federation.lab.search_space import SPACE, Parameter, Point, near, recipe_at, values
from federation.lab.selection import CrossValidation, cross_validate

_TUNE = 7
KEEP = 3
"""One of so many goes on to the next rung, with so many times the rounds."""
RUNGS = (KEEP**-2, KEEP**-1, 1.0)
"""Shares of the rounds that a setting of training is tried with."""
BRACKET = KEEP**2


@dataclass(frozen=True)
class Budget:
    """The bounds of a search: whichever ends first.

    trials: settings of training, the start among them. cpu_s: CPU seconds after which nothing new begins, what was kept
    from earlier runs counted; a machine's speed decides where that is, so only `trials` is the same everywhere.
    settings: profile settings that each table is judged with.
    """

    trials: int = 28
    cpu_s: float = np.inf
    settings: int = 8

    def __post_init__(self) -> None:
        if self.trials < 1 or self.settings < 1 or not self.cpu_s > 0:
            raise FederationError(
                f"trials={self.trials}, settings={self.settings}, cpu_s={self.cpu_s}: "
                "must be at least 1, at least 1 and above 0"
            )

    def steps(self) -> int:
        """Count the cross-validated tables, if nothing ends the search early."""
        return 1 + sum(_halved(size) for size in self.brackets())

    def brackets(self) -> Iterator[int]:
        """Yield the settings of training that each bracket begins with."""
        left = self.trials - 1
        while left > 0:
            yield min(left, BRACKET)
            left -= BRACKET


@dataclass(frozen=True, eq=False)
class Trial:
    """One setting of training with a share of its rounds, and all profile settings tried on it.

    number: 0 is the start. points: where the profile settings are in the space; recipes: of the points, with the rounds
    they were judged with. validation: cross-validated figures, best first; None for a setting that cannot work on
    this log, and why is in note. refused: why the guards refuse each of its candidates beside the start, "" where
    they do not.
    """

    number: int
    bracket: int
    share: float
    points: tuple[Point, ...]
    recipes: tuple[Recipe, ...]
    validation: CrossValidation | None
    note: str = ""
    refused: tuple[str, ...] = ()

    @property
    def place(self) -> int | None:
        """Place in the validation of the best recipe that no guard refuses; None where there is none."""
        allowed = (place for place, why in enumerate(self.refused) if not why)
        return None if self.validation is None else next(allowed, None)

    @property
    def mean(self) -> float:
        """The best figure that no guard refuses; −inf without one."""
        place = self.place
        return -np.inf if self.validation is None or place is None else float(self.validation.mean[place])

    @property
    def promise(self) -> tuple[float, float]:
        """Key by which a rung orders trials: the best figure that is allowed, then the best of all."""
        return self.mean, -np.inf if self.validation is None else float(self.validation.mean[0])

    @property
    def best(self) -> Recipe:
        """The best recipe that no guard refuses. Raises FederationError where there is none."""
        place, judged = self.place, self.judged
        if place is None:
            raise FederationError(f"trial={self.number}: every setting is refused: {self.refused[0]}")
        return judged.candidates[place]

    @property
    def judged(self) -> CrossValidation:
        """The validation. Raises FederationError for what cannot work."""
        if self.validation is None:
            raise FederationError(f"trial={self.number}: {self.note}")
        return self.validation

    @property
    def best_point(self) -> Point:
        """Point of its best recipe, but for the rounds."""
        return self.points[self.recipes.index(self.best)]


@dataclass(frozen=True, eq=False)
class TuningResult:
    """The trials and their winner. stopped: why before the planned end: "", "budget" or "interrupted"."""

    start: Recipe
    trials: tuple[Trial, ...]
    space: tuple[Parameter, ...]
    stopped: str = ""

    @property
    def winner(self) -> Trial:
        """The trial that holds the best recipe, the earlier of equal ones."""
        return max(self.trials, key=lambda trial: trial.mean)

    @property
    def best(self) -> Recipe:
        """The recipe with the best figure."""
        return self.winner.best

    @property
    def refusals(self) -> tuple[tuple[int, float, str], ...]:
        """Trial, figure and reason of each refused setting whose figure was above the winner's."""
        return tuple(
            (trial.number, float(mean), why)
            for trial in self.trials
            if trial.validation is not None
            for mean, why in zip(trial.validation.mean, trial.refused, strict=True)
            if why and mean > self.winner.mean
        )

    @property
    def participations(self) -> int:
        """Largest number of participations of a device over all trials."""
        return sum(trial.validation.participations for trial in self.trials if trial.validation is not None)

    def to_frame(self) -> pl.DataFrame:
        """Make a row for each trial and profile setting.

        Columns: trial, bracket, share, one a parameter (as judged: a share of the rounds), mean, error, devices,
        chosen, and the mean in each guarded part. What cannot work has null figures, and what a guard refuses its
        figures, and a note that says why.
        """
        rows: list[dict[str, Any]] = []
        for trial in self.trials:
            judged = trial.validation
            for place, recipe in enumerate(trial.recipes if judged is None else judged.candidates):
                rows.append(
                    {"trial": trial.number, "bracket": trial.bracket, "share": trial.share}
                    | {name: float(value) for name, value in values(recipe, self.space).items()}
                    | {part: None if judged is None else _mean(judged.parts[place].get(part)) for part in GUARDED}
                    | {
                        "mean": None if judged is None else float(judged.mean[place]),
                        "error": None if judged is None else float(judged.error[place]),
                        "devices": None if judged is None else judged.devices,
                        "chosen": trial is self.winner and place == trial.place,
                        "note": trial.refused[place] if trial.refused else trial.note,
                    }
                )
        figures = dict.fromkeys(("mean", "error", *GUARDED), pl.Float64)
        return pl.DataFrame(rows, schema_overrides={**figures, "devices": pl.Int64})


def tune(
    folds: Folds,
    start: Recipe,
    budget: Budget | None = None,
    *,
    space: Sequence[Parameter] = SPACE,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    cache: ResultCache | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> TuningResult:
    """Search for a recipe by NDCG@k on the folds, from a recipe that works: it is the first trial, so nothing is lost.

    A setting that falls in a guarded part (federation/lab/guards.py) is refused, however good its figure is.
        Everything drawn is a function of the seed. memo: keeps every fold of every trial, so that the same call goes on
    where it was stopped, and one with a larger budget where the smaller ended. Ctrl-C ends the search with what was
    found, unless the start itself is not judged yet. on_trial: told after each trial.
    """
    budget = Budget() if budget is None else budget
    search = _Search(
        folds, start, tuple(space), budget, seed, k, part, ResultCache() if cache is None else cache, on_trial
    )
    search.judge(0, 0, 1.0, search.settings({}, 0), may_fail=False)
    stopped = ""
    try:
        for bracket, size in enumerate(budget.brackets(), start=1):
            first = 1 + (bracket - 1) * BRACKET
            drawn = search.draws(max(search.trials, key=lambda trial: trial.mean), bracket)[:size]
            entrants = [(first + i, search.settings(point, bracket)) for i, point in enumerate(drawn)]
            for share in RUNGS:
                judged = [search.judge(who, bracket, share, points) for who, points in entrants]
                order = sorted(range(len(judged)), key=lambda i: judged[i].promise, reverse=True)
                order = order[: -(-len(judged) // KEEP)]
                entrants = [entrants[i] for i in order]
    except KeyboardInterrupt:
        stopped = "interrupted"
    except _BudgetSpent:
        stopped = "budget"
    return TuningResult(start, tuple(search.trials), search.space, stopped)


def rounds_at(recipe: Recipe, share: float) -> int:
    """Compute a share of a recipe's rounds, at least one of them."""
    return max(round(recipe.train.rounds * share), min(recipe.train.rounds, 1))


class _BudgetSpent(Exception):  # no error: the search ends
    """No CPU time is left for another trial."""


@dataclass
class _Search:
    """The trials so far, and what judging one takes."""

    folds: Folds
    start: Recipe
    space: tuple[Parameter, ...]
    budget: Budget
    seed: int
    k: int
    part: str
    cache: ResultCache
    on_trial: Callable[[Trial], None] | None
    trials: list[Trial] = field(default_factory=list)

    def draws(self, best: Trial, bracket: int) -> list[Point]:
        """Draw settings of training near the best so far, each with the best's settings of the profile."""
        parameters = [parameter for parameter in self.space if parameter.of_training]
        rngs = np.random.default_rng([self.seed, _TUNE, bracket]).spawn(BRACKET)
        return [near(best.best_point, parameters, rng) for rng in rngs]

    def settings(self, point: Point, bracket: int) -> tuple[Point, ...]:
        """Draw the point, and others near it in the profile's settings: the same for all entrants of a bracket."""
        parameters = [parameter for parameter in self.space if not parameter.of_training]
        rngs = np.random.default_rng([self.seed, _TUNE, bracket, 1]).spawn(self.budget.settings - 1)
        return (point, *(near(point, parameters, rng) for rng in rngs))

    def refusals(self, validation: CrossValidation) -> tuple[str, ...]:
        """Say why the guards refuse each candidate beside the start, which is in the first trial and never refused."""
        begun = self.trials[0].judged if self.trials else validation
        reasons = validation.refusals(begun.parts_of(self.start))
        return tuple(
            "" if candidate == self.start else why
            for candidate, why in zip(validation.candidates, reasons, strict=True)
        )

    def judge(self, number: int, bracket: int, share: float, points: tuple[Point, ...], may_fail: bool = True) -> Trial:
        """Cross-validate one setting of training; the trial is kept and reported.

        Raises _BudgetSpent instead of beginning one beyond the budget.
        """
        if sum(trial.validation.cpu_s for trial in self.trials if trial.validation is not None) >= self.budget.cpu_s:
            raise _BudgetSpent
        judged, note = None, ""
        whole = [recipe_at(point, self.start, self.space) for point in points]
        recipes = tuple(
            replace(candidate, train=replace(candidate.train, rounds=rounds_at(candidate, share)))
            for candidate in whole
        )
        try:
            judged = cross_validate(self.folds, recipes, seed=self.seed, k=self.k, part=self.part, cache=self.cache)
        except FederationError as error:
            if not may_fail:
                raise
            note = str(error)
        refused = () if judged is None else self.refusals(judged)
        trial = Trial(number, bracket, share, points, recipes, judged, note, refused)
        self.trials.append(trial)
        if self.on_trial is not None:
            self.on_trial(trial)
        return trial


def _mean(part: PartSum | None) -> float | None:
    return part.mean if part is not None and part.devices else None


def _halved(size: int) -> int:
    """Count the trials of a bracket of some entrants over all rungs."""
    total = 0
    for _ in RUNGS:
        total += size
        size = -(-size // KEEP)
    return total
