"""Nested cross-validation: what a search for settings brings on devices and days that the search never saw.

The best of many candidates is flattered by the folds it was chosen on (Varma and Simon 2006; Cawley and Talbot 2010).
So every outer fold searches anew, by inner folds of its own training devices before its own cut, and is asked with what
it found. The naive figure is that of the best candidate on the very folds it was chosen on; same devices, same moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.lab.folds import Fold, Folds, windows_of
from federation.lab.recipes import Recipe
from federation.lab.result_cache import ResultCache
from federation.lab.selection import judge
from federation.lab.tuning import Budget, Trial, tune
from recsys.evaluation.statistics import PairedDifference, paired_difference

Floats = npt.NDArray[np.float64]
_INNER = 17


@dataclass(frozen=True, eq=False)
class NestedResult:
    """Figures of the same devices under three recipes, (n,) float64, nan where there is none.

    start: the recipe that the search begins with. naive: what the search finds on the outer folds themselves. nested:
    what it finds in each outer fold without that fold's devices and days. chosen: the naive recipe, then one a fold.
    """

    start: Floats
    naive: Floats
    nested: Floats
    chosen: tuple[Recipe, ...]
    seed: int

    @property
    def optimism(self) -> PairedDifference:
        """naive − nested: how much the search's own figure promises too much."""
        return paired_difference(self.naive, self.nested, seed=self.seed)

    @property
    def gain(self) -> PairedDifference:
        """nested − start: what the search brings where it was not looking."""
        return paired_difference(self.nested, self.start, seed=self.seed)


def nested_cross_validation(
    folds: Folds,
    start: Recipe,
    budget: Budget,
    *,
    inner: int = 2,
    seed: int = 0,
    k: int = 20,
    part: str = "all",
    cache: ResultCache | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> NestedResult:
    """Search once on the outer folds, once within each of them, and ask the outer folds' devices.

    inner: parts of the training devices within an outer fold. A search that Ctrl-C ends raises KeyboardInterrupt here.
    """

    def searched(where: Folds) -> Recipe:
        tuned = tune(where, start, budget, seed=seed, k=k, part=part, cache=cache, on_trial=on_trial)
        if tuned.stopped == "interrupted":
            raise KeyboardInterrupt
        return tuned.best

    def asked(fold: Fold, recipe: Recipe) -> Floats:
        return judge(fold, recipe.train, [recipe.serve], seed=seed, k=k)[1].column("0", f"ndcg@{k}", part)

    naive = searched(folds)
    apart = int(np.random.default_rng([seed, _INNER]).integers(2**31))  # inner parts owe nothing to the outer ones
    chosen, figures = [naive], []
    for fold in folds:
        within = Folds(fold.training, folds.protocol, windows_of(fold.training, 1), inner, apart, folds.given)
        chosen.append(searched(within))
        figures.append([asked(fold, recipe) for recipe in (start, naive, chosen[-1])])
    columns = [np.concatenate(column) for column in zip(*figures, strict=True)]
    return NestedResult(columns[0], columns[1], columns[2], tuple(chosen), seed)
