"""A metric's difference between two arms and its variance, from their sums: means, proportions, ratios, CUPED.

Every metric is a smooth function of column means, so one delta method serves all. No test and no interval is in here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

from data.errors import SumsTooSmall
from recsys.experiments.analysis.covariate import coefficient_of
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.metric_definitions import Metric, MetricKind

Gradient = Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """Treatment minus control in one metric.

    control, treatment: the arms' values, adjusted by the covariate if there is one. variance: of the effect, the noise
    of privacy in it; sampling_variance: without it. df: Welch's degrees of freedom. log_variance, log_df: same of
    log(treatment/control), nan unless both values are above 0. coefficient: of the covariate, 0 without. reduction:
    share of the sampling variance that the covariate took away. shoppers: of both arms.
    denominator: mean over both arms of what a ratio divides by; 1 for other metrics.
    """

    control: float
    treatment: float
    variance: float
    sampling_variance: float
    df: float
    log_variance: float
    log_df: float
    coefficient: float
    reduction: float
    shoppers: float
    denominator: float = 1.0

    @property
    def effect(self) -> float:
        """treatment − control, in the metric's unit."""
        return self.treatment - self.control

    @property
    def relative(self) -> float:
        """treatment / control − 1; nan when control is 0."""
        return self.treatment / self.control - 1.0 if self.control else math.nan

    @property
    def z(self) -> float:
        """The effect in its standard errors."""
        return self.effect / math.sqrt(self.variance)

    @property
    def scatter(self) -> float:
        """Variance of the summed difference, n·denominator·effect, by shopper: what grows with their outcomes.

        Noise of privacy in it. In units of the numerator squared; constant if shoppers are measured once and for all.
        """
        return self.shoppers * self.variance * self.denominator**2


def value_and_gradient(metric: Metric, sums: ArmSums) -> tuple[float, dict[str, float]]:
    """Compute the metric of one arm without covariate, and its gradient with respect to the columns' means.

    Of a ratio N/D: (1/D, −N/D²), the delta method. Raises SumsTooSmall for a denominator that is 0.
    """
    top = sums.mean(metric.numerator)
    if metric.denominator is None:
        return top, {metric.numerator: 1.0}
    bottom = sums.mean(metric.denominator)
    if bottom == 0.0:
        raise SumsTooSmall(f"metric {metric.name}: mean of {metric.denominator}=0: must not be, a ratio divides by it")
    return top / bottom, {metric.numerator: 1.0 / bottom, metric.denominator: -top / bottom**2}


def covariate_coefficient(metric: Metric, arms: Sequence[ArmSums]) -> float:
    """Compute the metric's coefficient on its covariate, from pooled sums (covariate.py has the rule).

    A ratio is linearized first. 0 without covariate, for one whose variance is not above 0, and where noise hides it.
    """
    if metric.covariate is None:
        return 0.0
    _, gradient = value_and_gradient(metric, reduce(add, arms))
    return coefficient_of(gradient, metric.covariate, arms)


def difference(metric: Metric, control: ArmSums, treatment: ArmSums) -> Difference:
    """Estimate the metric of treatment minus that of control.

    Raises SumsTooSmall where the sums say nothing yet.

    The covariate's coefficient comes from both arms' pooled sums; both are adjusted to the covariate's pooled mean. It
    is left out where noise hides its coefficient, or leaves an arm no variance after adjusting.
    A preference is a difference within each shopper already: both arms have the same sums, and control is 0.
    """
    if metric.kind is MetricKind.PREFERENCE:
        return _preference(metric, treatment)
    pooled = control + treatment
    coefficient = covariate_coefficient(metric, (control, treatment))
    try:
        arms = [_arm(metric, sums, coefficient, pooled) for sums in (control, treatment)]
    except SumsTooSmall:
        if not coefficient:
            raise
        coefficient = 0.0
        arms = [_arm(metric, sums, coefficient, pooled) for sums in (control, treatment)]
    variance = sum(arm.variance for arm in arms)
    sampling = sum(arm.sampling for arm in arms)
    logs = [math.nan, math.nan]
    if all(arm.value > 0 for arm in arms):
        logs = [sum(arm.variance / arm.value**2 for arm in arms), _welch([(a.log_sampling, a.n) for a in arms])]
        logs[1] *= (logs[0] / sum(a.log_sampling for a in arms)) ** 2
    return Difference(
        control=arms[0].value,
        treatment=arms[1].value,
        variance=variance,
        sampling_variance=sampling,
        df=_welch([(arm.sampling, arm.n) for arm in arms]) * (variance / sampling) ** 2,
        log_variance=logs[0],
        log_df=logs[1],
        coefficient=coefficient,
        reduction=1.0 - sampling / sum(arm.plain for arm in arms),
        shoppers=pooled.n,
        denominator=1.0 if metric.denominator is None else pooled.mean(metric.denominator),
    )


def _preference(metric: Metric, sums: ArmSums) -> Difference:
    arm = _arm(metric, sums, 0.0, sums)
    return Difference(
        control=0.0,
        treatment=arm.value,
        variance=arm.variance,
        sampling_variance=arm.sampling,
        df=(sums.n - 1.0) * (arm.variance / arm.sampling) ** 2,
        log_variance=math.nan,
        log_df=math.nan,
        coefficient=0.0,
        reduction=0.0,
        shoppers=sums.n,
    )


@dataclass(frozen=True)
class _Arm:
    value: float
    variance: float
    sampling: float
    plain: float
    n: float

    @property
    def log_sampling(self) -> float:
        return self.sampling / self.value**2


def _arm(metric: Metric, sums: ArmSums, coefficient: float, pooled: ArmSums) -> _Arm:
    value, gradient = value_and_gradient(metric, sums)
    plain = _sampling(sums, gradient)
    if coefficient and metric.covariate is not None:
        value -= coefficient * (sums.mean(metric.covariate) - pooled.mean(metric.covariate))
        gradient[metric.covariate] = -coefficient
    sampling = _sampling(sums, gradient)
    if not sampling > 0.0:
        raise SumsTooSmall(
            f"metric {metric.name}: variance={sampling:.3g}: must be above 0: "
            + ("all shoppers have one value" if sums.exact else "noise is larger than the signal")
        )
    return _Arm(value, _total(sums, gradient), sampling, plain, sums.n)


def _sampling(sums: ArmSums, gradient: Gradient) -> float:
    """Compute the variance of a linear functional of the means that comes from sampling shoppers."""
    return sum(g * h * sums.cov(x, y) for x, g in gradient.items() for y, h in gradient.items()) / sums.n


def _total(sums: ArmSums, gradient: Gradient) -> float:
    """Compute that variance with the noise of privacy in it."""
    return sum(g * h * sums.mean_cov(x, y) for x, g in gradient.items() for y, h in gradient.items())


def _welch(arms: list[tuple[float, float]]) -> float:
    """Approximate the degrees of freedom of a sum of independent variances (Welch 1947; Satterthwaite 1946)."""
    return sum(v for v, _ in arms) ** 2 / sum(v**2 / (n - 1.0) for v, n in arms)
