"""How often one may look, and so how many standard errors an interval reaches: one look, planned looks, or any time.

The statistics are the same for all (recsys/experiments/analysis/estimates.py), and a single planned look is Welch's
test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import DataError
from recsys.experiments.analysis.always_valid import anytime_critical, anytime_p, e_value, mixture_scale
from recsys.experiments.analysis.boundaries import LEAST_STEP
from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.analysis.intervals import ALPHA, check_alpha, fixed_p, normal_z
from recsys.experiments.analysis.spending import LookSchedule, bounds, repeated_p
from recsys.experiments.definition.definition import Experiment, Method, Spending


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
        """Read the design of an experiment."""
        looks = experiment.looks
        return Design(looks.method, looks.count, looks.spending, experiment.alpha)


@dataclass(frozen=True)
class LookDifference:
    """One difference at one look. number: how many of the planned windows were in."""

    number: int
    difference: Difference


def clocks(seen: Sequence[LookDifference]) -> list[float]:
    """Compute the intrinsic time of each look.

    It is the variance of the summed differences, n·scatter, that has come together by then.

    Brownian motion at these times is what bounds and mixtures are made for. Shoppers who come with one outcome each
    make it n. Where outcomes of the same shoppers grow from look to look, and nearly nobody is new, scatter grows
    instead; if they grow by habit, statistics are MORE correlated than Brownian motion, and cross bounds less often
    (Slepian 1962). Scatter counts at its greatest so far and a step is a thousandth at least, so that time is never
    taken to pass too slowly, which would make bounds too narrow.
    """
    times: list[float] = []
    greatest = 0.0
    for look in seen:
        greatest = max(greatest, look.difference.scatter)
        least = times[-1] * (1.0 + 2.0 * LEAST_STEP) if times else 0.0
        times.append(max(look.difference.shoppers * greatest, least))
    return times


def timing(design: Design, seen: Sequence[LookDifference]) -> LookSchedule:
    """Schedule looks: spending by windows, correlation by the clock.

    The last planned look may spend all that is left.
    """
    times = tuple(look.number / design.count for look in seen)
    return LookSchedule(times, tuple(clocks(seen)), final=seen[-1].number >= design.count)


def criticals(design: Design, seen: Sequence[LookDifference]) -> list[float]:
    """Compute the normal critical value at each look; an effect is shown where |normal_z| reaches it.

    inf: nothing may be said.

    seen: one or more looks, oldest first. Values of earlier looks do not change when later ones come.
    """
    if design.method is Method.GROUP_SEQUENTIAL:
        return list(bounds(timing(design, seen), design.spending, design.alpha))
    times = clocks(seen)
    scale = mixture(design, seen[0].number, times[0])
    return [anytime_critical(design.alpha, time, scale) for time in times]


def p_value(design: Design, seen: Sequence[LookDifference]) -> float:
    """Compute the p-value at the last look, valid whatever made one stop there.

    It is at most alpha once a look's interval left 0.

    Welch's for a single planned look, the repeated p-value of planned looks, 1/the greatest e-value at any time.
    """
    if design.method is Method.ALWAYS_VALID:
        times = clocks(seen)
        scale = mixture(design, seen[0].number, times[0])
        return anytime_p([e_value(normal_z(s.difference), time, scale) for s, time in zip(seen, times, strict=True)])
    if design.count == 1:
        return fixed_p(seen[-1].difference)
    return repeated_p(timing(design, seen), design.spending, [normal_z(look.difference) for look in seen])


def mixture(design: Design, number: int, clock: float) -> float:
    """Choose ρ² by the time that the first look promises for the last: no effect is looked at.

    number, clock: of the first look.
    """
    return mixture_scale(design.alpha, clock * design.count / number)
