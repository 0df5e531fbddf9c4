"""How often one may look, and so how many standard errors an interval reaches: one look, planned looks, or any time.

The statistics are the same for all (recsys/experiments/estimates.py), and a single planned look is Welch's test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import DataError
from recsys.experiments.always_valid import anytime_critical, anytime_p, e_value, mixture_scale
from recsys.experiments.boundaries import LEAST_STEP
from recsys.experiments.definition import Experiment, Method, Spending
from recsys.experiments.estimates import Difference
from recsys.experiments.intervals import ALPHA, check_alpha, fixed_p, normal_z
from recsys.experiments.spending import Timing, bounds, repeated_p


@dataclass(frozen=True)
class Design:
    """method, spending: as defined. count: planned looks; one look of GROUP_SEQUENTIAL is a fixed test."""

    method: Method = Method.GROUP_SEQUENTIAL
    count: int = 1
    spending: Spending = Spending.OBRIEN_FLEMING
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        check_alpha(self.alpha)
        if self.count < 1:
            raise DataError(f"count={self.count}: must be 1 or more")

    @staticmethod
    def of(experiment: Experiment) -> Design:
        """The design of an experiment."""
        looks = experiment.looks
        return Design(looks.method, looks.count, looks.spending, experiment.alpha)


@dataclass(frozen=True)
class Seen:
    """One difference at one look. number: how many of the planned windows were in."""

    number: int
    difference: Difference


def timing(design: Design, seen: Sequence[Seen]) -> Timing:
    """Spending by windows, correlation by the differences' clock; the last planned look may spend all that is left.

    Where estimates of the variance make the clock stand still it is pushed on: that makes statistics less correlated
    than they are, and the test stricter.
    """
    clocks: list[float] = []
    for look in seen:
        least = clocks[-1] * (1.0 + 2.0 * LEAST_STEP) if clocks else 0.0
        clocks.append(max(look.difference.clock, least))
    times = tuple(look.number / design.count for look in seen)
    return Timing(times, tuple(clocks), final=seen[-1].number >= design.count)


def criticals(design: Design, seen: Sequence[Seen]) -> list[float]:
    """Normal critical value at each look; an effect is shown where |normal_z| reaches it. inf: nothing may be said.

    seen: one or more looks, oldest first. Values of earlier looks do not change when later ones come.
    """
    if design.method is Method.GROUP_SEQUENTIAL:
        return list(bounds(timing(design, seen), design.spending, design.alpha))
    scale = _scale(design, seen)
    return [anytime_critical(design.alpha, look.difference.clock, scale) for look in seen]


def p_value(design: Design, seen: Sequence[Seen]) -> float:
    """p-value at the last look, valid whatever made one stop there; at most alpha once a look's interval left 0.

    Welch's for a single planned look, the repeated p-value of planned looks, 1/the greatest e-value at any time.
    """
    if design.method is Method.ALWAYS_VALID:
        scale = _scale(design, seen)
        return anytime_p([e_value(normal_z(s.difference), s.difference.clock, scale) for s in seen])
    if design.count == 1:
        return fixed_p(seen[-1].difference)
    return repeated_p(timing(design, seen), design.spending, [normal_z(look.difference) for look in seen])


def _scale(design: Design, seen: Sequence[Seen]) -> float:
    """Of the mixture, by the shoppers that the first look promises for the last: no outcome is looked at."""
    return mixture_scale(design.alpha, seen[0].difference.shoppers * design.count / seen[0].number)
