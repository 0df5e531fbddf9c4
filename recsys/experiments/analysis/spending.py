"""Group-sequential tests by error spending (Lan and DeMets 1983): as many looks as one likes, whenever one likes.

What a look may spend depends on how many of the plan's shoppers there are, never on what they did. So an unplanned
look is a look like any other. Everything is two-sided and symmetric at level alpha, alpha/2 a side.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from data.errors import DataError
from recsys.experiments.analysis.boundaries import critical_values, crossing, stagewise
from recsys.experiments.analysis.intervals import check_alpha
from recsys.experiments.definition.definition import Spending

Floats = npt.NDArray[np.float64]

LEAST_P = 1e-12
"""Repeated p-values are not followed below this."""


@dataclass(frozen=True)
class LookSchedule:
    """The times of all looks. times: fraction of the planned shoppers at each look, growing; above 1 counts as 1.

    information: what statistics' correlation follows, in any unit, growing (with noise not quite the shoppers: see
    designs.clocks). final: nothing will be looked at after the last, so it may spend all that is left.
    """

    times: tuple[float, ...]
    information: tuple[float, ...]
    final: bool = False

    def __post_init__(self) -> None:
        if not self.times or len(self.times) != len(self.information):
            raise DataError(f"looks: {len(self.times)} times, {len(self.information)} information: must be as many")
        if not all(time > 0.0 for time in self.times) or list(self.times) != sorted(self.times):
            raise DataError(f"times={list(self.times)}: must be above 0 and grow")

    @staticmethod
    def planned(times: Sequence[float]) -> LookSchedule:
        """Schedule looks as planned, with information as the shoppers; the last is final."""
        return LookSchedule(tuple(times), tuple(times), final=True)

    def spend(self, kind: Spending, alpha: float) -> Floats:
        """Compute what each side may spend at each look, (K,)."""
        reached = [error_spent(kind, alpha, min(time, 1.0)) for time in self.times]
        if self.final:
            reached[-1] = alpha / 2.0
        return np.diff(reached, prepend=0.0)


def error_spent(kind: Spending, alpha: float, time: float) -> float:
    """Compute the error that each side has spent by a fraction of the plan's shoppers, of alpha/2.

    Lan and DeMets 1983.

    obrien_fleming, 2(1 − Φ(z_{alpha/4}/√t)): almost nothing early, almost the fixed test at the end. pocock,
    alpha/2·ln(1 + (e − 1)t): nearly even over the looks.
    """
    check_alpha(alpha)
    if not 0.0 < time <= 1.0:
        raise DataError(f"time={time}: must be above 0 and at most 1")
    if kind is Spending.POCOCK:
        return alpha / 2.0 * math.log1p((math.e - 1.0) * time)
    return 2.0 * float(special.ndtr(special.ndtri(alpha / 4.0) / math.sqrt(time)))


@functools.lru_cache(maxsize=4096)
def bounds(looks: LookSchedule, kind: Spending, alpha: float) -> tuple[float, ...]:
    """Compute the bounds on |Z| at each look; inf where nothing may be spent."""
    return tuple(critical_values(looks.information, looks.spend(kind, alpha)).tolist())


def repeated_p(looks: LookSchedule, kind: Spending, z: Sequence[float]) -> float:
    """Find the least alpha whose bounds one of the looks' z has crossed.

    It is valid at any look, whatever made one stop.

    Jennison and Turnbull (2000), chapter 9. 1 if none would reject at any level.
    """
    if len(z) != len(looks.times):
        raise DataError(f"z: {len(z)} values for {len(looks.times)} looks: must be one each")

    def short(log_alpha: float) -> float:
        return max(abs(value) - bound for value, bound in zip(z, _bounds(looks, kind, log_alpha), strict=True))

    highest = math.log(1.0 - 1e-9)
    if short(highest) < 0:
        return 1.0
    lowest = math.log(LEAST_P)
    if short(lowest) >= 0:
        return LEAST_P
    return math.exp(optimize.brentq(short, lowest, highest, xtol=1e-6))


def _bounds(looks: LookSchedule, kind: Spending, log_alpha: float) -> list[float]:
    return [min(bound, 100.0) for bound in critical_values(looks.information, looks.spend(kind, math.exp(log_alpha)))]


@dataclass(frozen=True)
class StagewiseEstimate:
    """The estimate when the experiment stopped, by the order of stages; effects in the last look's standard errors.

    estimate: median-unbiased. low, high: interval of level 1 − alpha that agrees with p_value.
    """

    p_value: float
    estimate: float
    low: float
    high: float


def stagewise_estimate(looks: LookSchedule, kind: Spending, alpha: float, z: float) -> StagewiseEstimate:
    """Adjust the figures at the look that ended the experiment.

    That is the first to cross its bound, or the last of the plan.

    z: the statistic at that look. An interval of ± 1.96 standard errors there is too hopeful (Tsiatis, Rosner, Mehta
    1984); this one covers the effect 1 − alpha of the time.
    """
    before = bounds(looks, kind, alpha)[:-1]
    root = math.sqrt(looks.information[-1])

    around = (min(z, 0.0) - 12.0, max(z, 0.0) + 12.0)  # a z far beyond bounds that were not crossed speaks for less

    def higher(shift: float) -> float:
        return stagewise(looks.information, before, z, shift / root)

    def find(probability: float) -> float:
        return float(optimize.brentq(lambda shift: higher(shift) - probability, *around, xtol=1e-9))

    tail = higher(0.0)
    return StagewiseEstimate(
        p_value=min(1.0, 2.0 * min(tail, 1.0 - tail)),
        estimate=find(0.5),
        low=find(alpha / 2.0),
        high=find(1.0 - alpha / 2.0),
    )


def power(looks: LookSchedule, kind: Spending, alpha: float, drift: float) -> Floats:
    """Compute the probability (K,) of having rejected by each look if E Z = drift·√(information/last information).

    On either side, as of a fixed test: the wrong side is negligible where power matters.
    """
    root = math.sqrt(looks.information[-1])
    above, below = crossing(looks.information, bounds(looks, kind, alpha), drift / root)
    return np.cumsum(above + below)


@functools.lru_cache(maxsize=256)
def inflation(looks: LookSchedule, kind: Spending, alpha: float, wanted: float) -> float:
    """Compute how many times the shoppers of a fixed test these looks need at most for the same power.

    Jennison, Turnbull.
    """
    if not alpha < wanted < 1.0:
        raise DataError(f"power={wanted}: must be above alpha={alpha} and below 1")
    fixed = fixed_drift(alpha, wanted)
    drift = optimize.brentq(
        lambda tried: power(looks, kind, alpha, tried)[-1] - wanted, 0.5 * fixed, 3.0 * fixed, xtol=1e-10
    )
    return float(drift / fixed) ** 2


def fixed_drift(alpha: float, wanted: float) -> float:
    """Find the effect in standard errors at which a two-sided z-test of one look rejects so often.

    Both sides are counted.
    """
    critical = -float(special.ndtri(alpha / 2.0))

    def short(drift: float) -> float:
        return float(special.ndtr(drift - critical) + special.ndtr(-drift - critical)) - wanted

    return float(optimize.brentq(short, 0.0, 40.0, xtol=1e-12))
