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
from recsys.experiments.analysis.quantiles import quantile_and_gradient
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.metric_definitions import Metric, MetricKind

Gradient = Mapping[str, float]

UNSEEN = 3.0
"""Of n shoppers none is of a kind that is 3/n of all, once in twenty times (Hanley and Lippman-Hand 1983)."""

ROUNDING = 1e-15
"""A variance below this share of the squared cap is that of floating point."""


@dataclass(frozen=True)
class Difference:
    """Treatment minus control in one metric.

    control, treatment: the arms' values, adjusted by the covariate if there is one. variance: of the effect, the noise
    of privacy in it; sampling_variance: without it; control_variance: control's part of `variance`, nan where control
    is no arm of its own. df: Welch's degrees of freedom. coefficient: of the covariate, 0 without. reduction: share of
    the sampling variance that the covariate took away. shoppers: of both arms.
    denominator: mean over both arms of what a ratio divides by; 1 for other metrics.
    """

    control: float
    treatment: float
    variance: float
    sampling_variance: float
    control_variance: float
    df: float
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

    Of a ratio N/D: (1/D, −N/D²), the delta method. Raises SumsTooSmall for a denominator that is 0, and for a quantile
    beyond the last edge.
    """
    if metric.kind is MetricKind.QUANTILE:
        return quantile_and_gradient(metric, sums)
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
    An arm whose sums show no variance has the largest that they allow (`_largest_variance`): that nobody bought is
    data. Only where every shopper of both arms has one value is there nothing to say.
    A preference is a difference within each shopper already: both arms have the same sums, and control is 0.
    """
    if metric.kind is MetricKind.PREFERENCE:
        return _preference(metric, treatment)
    pooled = control + treatment
    coefficient = covariate_coefficient(metric, (control, treatment))
    arms = [_arm(metric, sums, coefficient, pooled) for sums in (control, treatment)]
    if coefficient and not all(arm.sampling > 0.0 for arm in arms):
        coefficient = 0.0
        arms = [_arm(metric, sums, coefficient, pooled) for sums in (control, treatment)]
    if pooled.exact and not any(arm.sampling > 0.0 for arm in arms) and arms[0].value == arms[1].value:
        raise SumsTooSmall(f"metric {metric.name}: variance=0: must be above 0: all shoppers have one value")
    arms = [_bounded(metric, sums, arm) for sums, arm in zip((control, treatment), arms, strict=True)]
    variance = sum(arm.variance for arm in arms)
    sampling = sum(arm.sampling for arm in arms)
    return Difference(
        control=arms[0].value,
        treatment=arms[1].value,
        variance=variance,
        sampling_variance=sampling,
        control_variance=arms[0].variance,
        df=_welch([(arm.sampling, arm.n) for arm in arms]) * (variance / sampling) ** 2,
        coefficient=coefficient,
        reduction=1.0 - sampling / sum(arm.plain for arm in arms) if coefficient else 0.0,
        shoppers=pooled.n,
        denominator=1.0 if metric.denominator is None else pooled.mean(metric.denominator),
    )


def _preference(metric: Metric, sums: ArmSums) -> Difference:
    arm = _arm(metric, sums, 0.0, sums)
    if sums.exact and not arm.sampling > 0.0:
        raise SumsTooSmall(f"metric {metric.name}: variance=0: must be above 0: all shoppers have one value")
    arm = _bounded(metric, sums, arm)
    return Difference(
        control=0.0,
        treatment=arm.value,
        variance=arm.variance,
        sampling_variance=arm.sampling,
        control_variance=math.nan,
        df=(sums.n - 1.0) * (arm.variance / arm.sampling) ** 2,
        coefficient=0.0,
        reduction=0.0,
        shoppers=sums.n,
    )


@dataclass(frozen=True)
class _Arm:
    """One arm's value, its variance with noise, both sampling variances (plain: without the covariate), shoppers."""

    value: float
    variance: float
    sampling: float
    plain: float
    n: float


def _arm(metric: Metric, sums: ArmSums, coefficient: float, pooled: ArmSums) -> _Arm:
    """Return what the sums say as they are.

    Sampling is 0 where that is rounding, and below 0 where noise makes it so.
    """
    value, gradient = value_and_gradient(metric, sums)
    plain = _sampling(sums, gradient)
    least = ROUNDING * (max(map(abs, gradient.values())) * metric.cap) ** 2 / sums.n
    if coefficient and metric.covariate is not None:
        value -= coefficient * (sums.mean(metric.covariate) - pooled.mean(metric.covariate))
        gradient[metric.covariate] = -coefficient
    sampling = _sampling(sums, gradient)
    sampling = sampling if abs(sampling) > least else 0.0
    noise = sum(g * h * sums.noise_cov(x, y) for x, g in gradient.items() for y, h in gradient.items())
    return _Arm(value, sampling + noise, sampling, plain, sums.n)


def _bounded(metric: Metric, sums: ArmSums, arm: _Arm) -> _Arm:
    """Return the arm with a variance above 0.

    A proportion's is at least that of a rate of 3/n, which may show nobody.
    """
    sampling, n = arm.sampling, arm.n
    if not sampling > 0.0 and metric.kind is MetricKind.QUANTILE:
        raise SumsTooSmall(f"metric {metric.name}: noise hides how many shoppers lie about the quantile")
    if not sampling > 0.0:
        sampling = _largest_variance(metric, sums) / n
    elif metric.kind is MetricKind.PROPORTION and metric.covariate is None:
        rate = min(UNSEEN / n, 0.5)
        sampling = max(sampling, rate * (1.0 - rate) / n)
    added = sampling - arm.sampling
    return arm if not added else _Arm(arm.value, arm.variance + added, sampling, arm.plain + added, n)


def _largest_variance(metric: Metric, sums: ArmSums) -> float:
    """Return the largest variance of one shopper that the arm's mean and the caps allow.

    A value in low..high of mean m has at most (high − m)(m − low) (Bhatia and Davis 2000). The mean is moved towards
    the middle by what the sums may hide: 3/n of the range (of n shoppers who are alike, 3/n of all may be otherwise:
    Hanley and Lippman-Hand 1983) and two standard deviations of the noise. Of a ratio N/D the value is N − (N/D)·D.
    """
    cap = metric.cap
    low = -cap if metric.kind is MetricKind.PREFERENCE else 0.0
    middle, reach = (cap + low) / 2.0, (cap - low) / 2.0
    hidden = 2.0 * reach * UNSEEN / sums.n
    off = max(abs(sums.mean(metric.numerator) - middle), 0.0)
    off -= hidden + 2.0 * math.sqrt(sums.noise_cov(metric.numerator, metric.numerator))
    off = min(max(off, 0.0), max(reach - hidden, 0.0))
    if metric.denominator is None:
        return reach**2 - off**2
    bottom = sums.mean(metric.denominator)
    mean = middle + math.copysign(off, sums.mean(metric.numerator) - middle)
    return cap * abs(mean / bottom) * metric.denominator_cap / bottom**2


def _sampling(sums: ArmSums, gradient: Gradient) -> float:
    """Compute the variance of a linear functional of the means that comes from sampling shoppers."""
    return sum(g * h * sums.cov(x, y) for x, g in gradient.items() for y, h in gradient.items()) / sums.n


def _welch(arms: list[tuple[float, float]]) -> float:
    """Approximate the degrees of freedom of a sum of independent variances (Welch 1947; Satterthwaite 1946)."""
    return sum(v for v, _ in arms) ** 2 / sum(v**2 / (n - 1.0) for v, n in arms)
