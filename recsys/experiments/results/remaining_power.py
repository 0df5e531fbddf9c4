"""What an experiment that is running can still show, if shoppers go on coming as they did."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import optimize, special

from recsys.experiments.analysis.always_valid import anytime_critical, mixture_scale
from recsys.experiments.analysis.boundaries import crossing
from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.estimates import Difference
from recsys.experiments.analysis.intervals import normal_z
from recsys.experiments.analysis.spending import LookSchedule, bounds
from recsys.experiments.definition.definition import Method

MOST_DRIFT = 40.0
"""Standard errors at the end beyond which every design shows an effect."""


@dataclass(frozen=True)
class RemainingPower:
    """At the planned end. shoppers: of both arms, expected. least_effect: absolute, shown with the planned power at
    some look; least_relative: to control, nan where control is 0. chance: that the planned minimum effect, if it is
    the true one, is shown at the last look, given what is known now.
    """

    shoppers: float
    least_effect: float
    least_relative: float
    chance: float


def remaining_power(difference: Difference, design: Design, number: int, power: float, effect: float) -> RemainingPower:
    """Project a difference at look `number` of design.count to the last look.

    effect: the planned minimum, relative to control. Sampling and noise both fall with 1/number while shoppers come
    evenly. The chance is by the B-value z·√t (Lan and Wittes 1988) against the bound of the last look, two-sided.
    """
    error = math.sqrt(difference.variance * number / design.count)
    limits = _limits(design)
    times = [(k + 1) / design.count for k in range(design.count)]

    def short(drift: float) -> float:
        above, below = crossing(times, limits, drift)
        return float(sum(above) + sum(below)) - power

    drift = optimize.brentq(short, 0.0, MOST_DRIFT)
    control = abs(difference.control)
    return RemainingPower(
        shoppers=difference.shoppers * design.count / number,
        least_effect=drift * error,
        least_relative=drift * error / control if control else math.nan,
        chance=_chance(normal_z(difference), number / design.count, effect * control / error, limits[-1]),
    )


def _limits(design: Design) -> list[float]:
    times = [(k + 1) / design.count for k in range(design.count)]
    if design.method is Method.GROUP_SEQUENTIAL:
        return list(bounds(LookSchedule.planned(times), design.spending, design.level))
    return [anytime_critical(design.level, time, mixture_scale(design.alpha, 1.0)) for time in times]


def _chance(z: float, t: float, drift: float, bound: float) -> float:
    """Chance that |Z(1)| reaches the bound given B(t) = z√t, under a drift in the direction that z has."""
    at, left = z * math.sqrt(t), 1.0 - t
    if left <= 0.0:
        return float(abs(z) >= bound)
    ahead = at + math.copysign(drift, at) * left
    return float(special.ndtr((ahead - bound) / math.sqrt(left)) + special.ndtr((-ahead - bound) / math.sqrt(left)))
