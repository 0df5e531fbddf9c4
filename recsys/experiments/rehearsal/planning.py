"""Before an experiment: what effect so many shoppers can show, and how many an effect needs, from a log's own variance.

Power is of a two-sided test against control. `shoppers` are those of both arms. One look is planned by Student's t, as
it is analysed; several looks by the recursion of recsys/experiments/analysis/boundaries.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from data.errors import DataError, SumsTooSmall
from recsys.experiments.analysis.always_valid import anytime_critical, mixture_scale
from recsys.experiments.analysis.boundaries import crossing
from recsys.experiments.analysis.covariate import relative_error_squared
from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.estimates import value_and_gradient
from recsys.experiments.analysis.intervals import POWER
from recsys.experiments.analysis.spending import LookSchedule, bounds
from recsys.experiments.analysis.sums import ArmSums, SumsNoise
from recsys.experiments.definition.definition import Experiment, Method
from recsys.experiments.definition.metric_definitions import Metric

Floats = npt.NDArray[np.float64]


LEAST_PLANNED = 1_000.0
"""Curves begin at an eighth of so many shoppers, or of what is needed: fewer are no experiment."""

NEARLY_NORMAL = 1e8
"""Degrees of freedom from which Student's t is the normal to eight digits, and SciPy's noncentral one not a number."""

SURELY = 20.0
"""Standard errors beyond the critical value at which power is 1 and SciPy's noncentral t begins to overflow."""

QUIET = SumsNoise()
"""No noise: privacy off."""

MOST_SHOPPERS = 1e12
"""Beyond this no number is an answer."""


@dataclass(frozen=True)
class CovariateSpread:
    """The variance that a covariate takes of a metric. covariance, variance: with it and of it, of one shopper.

    joint_noise, noise: of privacy in an arm's summed deviations, as Spread.noise. error: of its coefficient, relative
    and squared, times the shoppers of both arms squared (recsys/experiments/analysis/covariate.py).
    """

    covariance: float
    variance: float
    joint_noise: float = 0.0
    noise: float = 0.0
    error: float = 0.0

    def relative_error(self, shoppers: float) -> float:
        """Compute how uncertain noise leaves the coefficient with so many shoppers: 1 is as much as it is large."""
        return math.sqrt(self.error) / shoppers

    def gain(self, arms: tuple[float, float]) -> float:
        """Compute the variance that it takes from the difference of two arms of so many shoppers.

        J²/K, J the covariance of the two means and K the variance of the covariate's, noise in both; over 1 + r², which
        is what a coefficient known to the relative error r leaves if it is shrunk as is best.
        """
        joint = sum(self.covariance / n + self.joint_noise / n**2 for n in arms)
        variance = sum(self.variance / n + self.noise / n**2 for n in arms)
        return joint**2 / variance / (1.0 + self.relative_error(sum(arms)) ** 2)


@dataclass(frozen=True)
class Spread:
    """The variance of one shopper. value: of the metric. variance: of one shopper, with the covariate if there is one.

    plain: without it. noise: variance of privacy's noise in an arm's summed deviations at the end, all looks' together,
    without the covariate, whose own is in `covariate`.
    """

    value: float
    variance: float
    plain: float
    noise: float = 0.0
    covariate: CovariateSpread | None = None

    def standard_error(self, shoppers: float, ratio: float = 1.0) -> float:
        """Compute the standard error of the difference of two arms. ratio: treated shoppers for one in control."""
        arms = (shoppers / (1.0 + ratio), shoppers * ratio / (1.0 + ratio))
        if self.covariate is None:
            return math.sqrt(sum(self.variance / n + self.noise / n**2 for n in arms))
        return math.sqrt(sum(self.plain / n + self.noise / n**2 for n in arms) - self.covariate.gain(arms))

    def without_covariate(self) -> Spread:
        """Return the same metric as it is planned without its covariate."""
        return replace(self, variance=self.plain, covariate=None)


def spread(metric: Metric, sums: ArmSums, noise: SumsNoise = QUIET) -> Spread:
    """Estimate the spread of a metric in sums of shoppers under one treatment, as a replayed log has them.

    noise: of privacy in one arm's sums at the end of the experiment.
    """
    value, gradient = value_and_gradient(metric, sums)
    plain = _variance(sums, gradient)
    off = {x: sums.mean(x) - sums.centre(x) for x in sums.totals}
    drift = sum(g * off[x] for x, g in gradient.items())
    added = sum(g**2 * noise.totals.get(x, 0.0) for x, g in gradient.items()) + drift**2 * noise.n
    if not plain > 0:
        raise SumsTooSmall(f"metric {metric.name}: variance={plain:.3g}: must be above 0 to plan")
    covariate = metric.covariate
    if covariate is None or not sums.cov(covariate, covariate) > 0:
        return Spread(value, plain, plain, added)
    joint = sum(g * sums.cov(x, covariate) for x, g in gradient.items())
    covariate_variance = sums.cov(covariate, covariate)
    covariate_spread = CovariateSpread(
        joint,
        covariate_variance,
        drift * off[covariate] * noise.n,
        noise.totals.get(covariate, 0.0) + off[covariate] ** 2 * noise.n,
        relative_error_squared(gradient, covariate, sums, noise + noise) * sums.n**2 if joint else 0.0,
    )
    return Spread(value, plain - joint**2 / covariate_variance, plain, added, covariate_spread)


def _variance(sums: ArmSums, gradient: dict[str, float]) -> float:
    return sum(g * h * sums.cov(x, y) for x, g in gradient.items() for y, h in gradient.items())


def power_by_look(spread: Spread, design: Design, shoppers: float, effect: float, ratio: float = 1.0) -> Floats:
    """Compute the probability (count,) that an absolute effect is shown by each look; shoppers: at the last."""
    error = spread.standard_error(shoppers, ratio)
    if design.method is Method.GROUP_SEQUENTIAL and design.count == 1:
        return np.array([_student_power(spread, design.alpha, shoppers, effect, ratio)])
    times = [(k + 1) / design.count for k in range(design.count)]
    if design.method is Method.GROUP_SEQUENTIAL:
        limits: Sequence[float] = bounds(LookSchedule.planned(times), design.spending, design.alpha)
    else:
        limits = [anytime_critical(design.alpha, time, mixture_scale(design.alpha, 1.0)) for time in times]
    above, below = crossing(times, limits, effect / error)
    return np.cumsum(above + below)


def _student_power(spread: Spread, alpha: float, shoppers: float, effect: float, ratio: float) -> float:
    """Compute the power of Welch's test: noncentral t, the same of both signs.

    Its degrees of freedom are of both arms' variances.
    """
    arms = (shoppers / (1.0 + ratio), shoppers * ratio / (1.0 + ratio))
    error = spread.standard_error(shoppers, ratio)
    sampling = [spread.variance / n for n in arms]
    df = error**4 / sum(v**2 / (n - 1.0) for v, n in zip(sampling, arms, strict=True))
    critical = -float(special.stdtrit(df, alpha / 2.0))
    shift = abs(effect) / error
    if shift > critical + SURELY:
        return 1.0
    if df > NEARLY_NORMAL:
        return float(special.ndtr(shift - critical) + special.ndtr(-shift - critical))
    wrong = float(stats.nct.cdf(-critical, df, shift))
    return float(stats.nct.sf(critical, df, shift)) + (0.0 if math.isnan(wrong) else wrong)  # nan: below 1e-12, SciPy


def power_of(spread: Spread, design: Design, shoppers: float, effect: float, ratio: float = 1.0) -> float:
    """Compute the probability that an absolute effect is shown at some look."""
    return float(power_by_look(spread, design, shoppers, effect, ratio)[-1])


def minimum_effect(
    spread: Spread, design: Design, shoppers: float, *, power: float = POWER, ratio: float = 1.0
) -> float:
    """Find the least absolute effect that is shown with probability power, in the metric's unit."""
    _check(design, power, shoppers)
    error = spread.standard_error(shoppers, ratio)
    drift_needed = _solve(
        lambda drift: power_of(spread, design, shoppers, drift * error, ratio) - power, 1e-6, 8.0, 1e3
    )
    return drift_needed * error


def shoppers_needed(
    spread: Spread, design: Design, effect: float, *, power: float = POWER, ratio: float = 1.0
) -> float:
    """Find the shoppers of both arms at the last look with which an effect is shown with probability power.

    The effect is absolute.

    A real number: round up. Raises DataError where more than 10¹² would be needed.
    """
    if not (math.isfinite(effect) and effect != 0.0):
        raise DataError(f"effect={effect}: must be finite and not 0")
    _check(design, power, MOST_SHOPPERS)
    least = 2.0 * (1.0 + ratio) / min(1.0, ratio)

    def short(log_n: float) -> float:
        return power_of(spread, design, math.exp(log_n), effect, ratio) - power

    if short(math.log(least)) >= 0:
        return least
    return math.exp(_solve(short, math.log(least), math.log(least) + 1.0, math.log(MOST_SHOPPERS)))


def expected_shoppers(spread: Spread, design: Design, shoppers: float, effect: float, ratio: float = 1.0) -> float:
    """Compute the mean shoppers when the first look that shows something ends the experiment.

    The last look ends it in any case.
    """
    reached = power_by_look(spread, design, shoppers, effect, ratio)
    ends = np.append(np.diff(reached[:-1], prepend=0.0), 1.0 - (reached[-2] if len(reached) > 1 else 0.0))
    return shoppers * float(ends @ np.arange(1, design.count + 1)) / design.count


def _check(design: Design, power: float, shoppers: float) -> None:
    if not design.alpha < power < 1.0:
        raise DataError(f"power={power}: must be above alpha={design.alpha} and below 1")
    if not shoppers >= 4:
        raise DataError(f"shoppers={shoppers}: must be 4 or more")


def _solve(short: Callable[[float], float], low: float, high: float, most: float) -> float:
    """Find the root of a rising function between low and most, looked for from low..high on."""
    while short(high) < 0:
        if high >= most:
            raise DataError("no number of shoppers and no effect within reach has this power")
        low, high = high, min(1.2 * high + 1.0, most)
    return float(optimize.brentq(short, low, high, xtol=1e-13, rtol=1e-13))


def plan(
    experiment: Experiment,
    sums: ArmSums,
    shoppers_per_day: float,
    *,
    noise: SumsNoise = QUIET,
) -> dict[str, Any]:
    """Plan every metric, as JSON: shoppers and days for the minimum effect, and what can be shown by when.

    sums: of shoppers under control, as a replayed log has them. shoppers_per_day: new ones of control and one arm.
    noise: of privacy in one arm's sums at the end. Each metric is planned by the experiment's own design, by one fixed
    look and by the other methods beside it, with and without its covariate; effects are relative to control.
    """
    if not shoppers_per_day > 0:
        raise DataError(f"shoppers_per_day={shoppers_per_day}: must be above 0")
    weights = {arm.name: arm.weight for arm in experiment.arms}
    control = weights.pop(experiment.control)
    ratio = min(weights.values()) / control
    planned = Design.of(experiment)
    several = max(planned.count, 5)
    designs = {
        "fixed": Design(alpha=planned.alpha),
        "group_sequential": replace(planned, method=Method.GROUP_SEQUENTIAL, count=several),
        "always_valid": replace(planned, method=Method.ALWAYS_VALID, count=several),
    }
    rows = [
        _metric_plan(experiment, metric, spread(metric, sums, noise), designs, shoppers_per_day, ratio)
        for metric in experiment.metrics
    ]
    return {
        "experiment": experiment.id,
        "alpha": planned.alpha,
        "power": experiment.power,
        "minimum_effect": experiment.minimum_effect,
        "looks": several,
        "shoppers_per_day": shoppers_per_day,
        "method": str(planned.method),
        "metrics": rows,
    }


def _metric_plan(
    experiment: Experiment,
    metric: Metric,
    metric_spread: Spread,
    designs: dict[str, Design],
    per_day: float,
    ratio: float,
) -> dict[str, Any]:
    if metric_spread.value == 0.0:
        raise DataError(f"metric {metric.name}: its value in the log is 0, nothing is relative to that")
    ways = {"with_covariate": metric_spread} if metric.covariate else {}
    ways["plain"] = metric_spread.without_covariate()
    effect = experiment.minimum_effect * abs(metric_spread.value)
    row: dict[str, Any] = {
        "metric": metric.name,
        "kind": str(metric.kind),
        "role": str(metric.role),
        "value": metric_spread.value,
        "sd": math.sqrt(metric_spread.plain),
        "reduction": 1.0 - metric_spread.variance / metric_spread.plain,
        "noise": metric_spread.noise,
        "designs": {},
    }
    for name, design in designs.items():
        row["designs"][name] = {}
        for way, scatter in ways.items():
            needed = shoppers_needed(scatter, design, effect, power=experiment.power, ratio=ratio)
            mean = expected_shoppers(scatter, design, needed, effect, ratio)
            curve = [max(needed, LEAST_PLANNED) * step for step in (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)]
            row["designs"][name][way] = {
                "shoppers": math.ceil(needed),
                "days": needed / per_day,
                "expected_shoppers": mean,
                "expected_days": mean / per_day,
                "curve": [
                    {
                        "shoppers": n,
                        "days": n / per_day,
                        "minimum_effect": minimum_effect(scatter, design, n, power=experiment.power, ratio=ratio)
                        / abs(metric_spread.value),
                    }
                    for n in curve
                ],
            }
    if metric_spread.covariate is not None:
        n_shoppers = row["designs"][str(Design.of(experiment).method)]["plain"]["shoppers"]
        arms = (n_shoppers / (1.0 + ratio), n_shoppers * ratio / (1.0 + ratio))
        whole = ways["plain"].standard_error(n_shoppers, ratio) ** 2
        row["covariate"] = {
            "shoppers": n_shoppers,
            "coefficient_error": metric_spread.covariate.relative_error(n_shoppers),
            "reduction": metric_spread.covariate.gain(arms) / whole,
        }
    return row
