"""The search space: which settings of a recipe are tried, within what bounds. A list; whoever has a new one adds it.

Most are factors of what the recipe starts with, so that one list fits purchases, sessions and ratings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from data.errors import FederationError
from data.log_statistics import LogStatistics
from federation.lab.recipes import Recipe

_T = TypeVar("_T")


@dataclass(frozen=True)
class Parameter:
    """One setting, or several that move together.

    paths: where it is in a Recipe, such as "train.step.final_step". choices: drawn from evenly; or else low, high: a
    number between them, evenly, or evenly in its logarithm with log. factor: the drawn number multiplies what is there,
    else it is put there. zero: share of draws that are 0 instead, for what may be better left out.
    """

    name: str
    paths: tuple[str, ...]
    choices: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    factor: bool = False
    zero: float = 0.0

    def __post_init__(self) -> None:
        if not self.choices and not (self.low < self.high and (self.low > 0 or not self.log)):
            raise FederationError(f"{self.name}: {self.low}..{self.high} must ascend, and be above 0 with log")

    @property
    def of_training(self) -> bool:
        """True when another value needs another table."""
        return any(path.startswith("train.") for path in self.paths)

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one value; always two draws, so that other parameters do not depend on this one's bounds."""
        coin, place = rng.random(2)
        if coin < self.zero:
            return 0.0
        if self.choices:
            return self.choices[int(place * len(self.choices))]
        if self.log:
            return float(self.low * (self.high / self.low) ** place)
        return float(self.low + (self.high - self.low) * place)

    def applied(self, to: Recipe, value: float) -> Recipe:
        """Set this value in the recipe; whole numbers stay whole and at least 1."""
        for path in self.paths:
            now = setting(to, path)
            new = now * value if self.factor else value
            to = replace_at(to, path, max(1, round(new)) if isinstance(now, int) else float(new))
        return to


SPACE: tuple[Parameter, ...] = (
    Parameter("dim", ("train.dim",), choices=(0.5, 1.0, 1.5), factor=True),
    Parameter("alpha", ("train.profile.alpha", "serve.alpha"), low=0.25, high=4.0, log=True, factor=True),
    Parameter("reg", ("train.profile.reg", "serve.reg"), low=0.25, high=4.0, log=True, factor=True),
    Parameter("rounds", ("train.rounds",), choices=(0.5, 1.0, 2.0), factor=True),
    Parameter("participations", ("train.max_participations",), choices=(0.5, 1.0, 2.0), factor=True),
    Parameter("first_step", ("train.step.step",), low=0.25, high=1.0, log=True),
    Parameter("final_step", ("train.step.final_step",), low=0.02, high=0.2, log=True),
    Parameter("train_half_life", ("train.profile.half_life",), low=0.25, high=4.0, log=True, factor=True),
    Parameter("half_life", ("serve.half_life",), low=0.25, high=4.0, log=True, factor=True),
    Parameter("floor", ("serve.floor",), low=0.01, high=0.5, log=True),
    Parameter("serve_alpha", ("serve.alpha",), low=0.5, high=2.0, log=True, factor=True),
    Parameter("serve_reg", ("serve.reg",), low=0.25, high=4.0, log=True, factor=True),
    Parameter("trend_weight", ("serve.trend_weight",), low=0.0, high=0.4, zero=0.2),
    Parameter("repeat_weight", ("serve.repeat_weight",), low=0.0, high=1.0, zero=0.2),
    Parameter("repeat_half_life", ("serve.repeat_half_life",), low=0.25, high=4.0, log=True, factor=True),
)
"""Training first: a serve.* value of a later knob is a factor of what an earlier one made of it."""


UNSEEN_PER_ITEM = (0.5, 60.0)
"""Bounds of α·n_items over the mean history length m in space_for."""
RIDGE_SHARES = (0.001, 0.3)
"""Bounds of λ·(m + α·n_items) over m in space_for, at the α of the start."""


def space_for(start: Recipe, statistics: LogStatistics) -> tuple[Parameter, ...]:
    """SPACE with α and λ between bounds on the log's own scale, so that good values are in reach of any start.

    Bounds that are factors of a start which is ten times off cannot reach what is good; what α and λ do depends on the
    mean history length and the catalogue (federation/lab/defaults.py). The start's own values stay within the bounds.
    """
    m, n, now = statistics.history_length, statistics.items, start.train.profile
    alphas = tuple(unseen * m / n / now.alpha for unseen in UNSEEN_PER_ITEM)
    regs = tuple(ridge * m / (m + now.alpha * n) / now.reg for ridge in RIDGE_SHARES)
    bounds = {"alpha": alphas, "reg": regs}
    return tuple(
        replace(parameter, low=min(bounds[parameter.name][0], 0.9), high=max(bounds[parameter.name][1], 1.1))
        if parameter.name in bounds
        else parameter
        for parameter in SPACE
    )


Point = Mapping[str, float]
"""A place in the space: what was drawn for the knobs that were turned, by name. {} is the recipe one began with."""

TURNED = 1 / 3
"""Share of the knobs that one draw turns: recipes are good places to begin, a step in all directions leaves them."""


def near(point: Point, space: Sequence[Parameter], rng: np.random.Generator) -> Point:
    """Draw some of the space's parameters of the point anew."""
    drawn = {parameter.name: (rng.random(), parameter.draw(rng)) for parameter in space}
    return {**point, **{name: value for name, (turns, value) in drawn.items() if turns < TURNED}}


def recipe_at(point: Point, start: Recipe, space: Sequence[Parameter]) -> Recipe:
    """Apply the values of a point to the start, in the order of the space."""
    for parameter in space:
        if parameter.name in point:
            start = parameter.applied(start, point[parameter.name])
    return start


def values(of: Recipe, space: Sequence[Parameter]) -> dict[str, Any]:
    """Read what a recipe has where each parameter applies first: name → value."""
    return {
        parameter.name: setting(of, parameter.paths[-1] if not parameter.of_training else parameter.paths[0])
        for parameter in space
    }


def setting(of: Any, path: str) -> Any:
    """Look up the value at a path. Raises FederationError where there is none."""
    for name in path.split("."):
        if not hasattr(of, name):
            raise FederationError(f"path={path!r}: a recipe has no {name} there")
        of = getattr(of, name)
    return of


def replace_at(of: _T, path: str, value: Any) -> _T:
    """Copy nested frozen dataclasses with another value at a path."""
    name, _, rest = path.partition(".")
    new = replace_at(setting(of, name), rest, value) if rest else value
    return replace(of, **{name: new})  # type: ignore[type-var]
