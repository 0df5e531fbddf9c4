"""An estimate with its interval, and the difference of two policies on the same rounds, over whole users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from data.errors import DataError
from data.logged_feedback import LoggedFeedback
from recsys.evaluation.statistics import LEVEL, RESAMPLES, PairedDifference, bootstrap_means, difference_of_means
from recsys.off_policy.estimators import ESTIMATORS, Rounds, Terms
from recsys.off_policy.overlap import OverlapLimits, check_overlap, measure_overlap
from recsys.off_policy.policies import TargetPolicy, chance_of_shown
from recsys.off_policy.reward_model import RewardModel, SlotItemMeans

Floats = npt.NDArray[np.float64]
BOOTSTRAP, ASYMPTOTIC = "bootstrap", "asymptotic"


@dataclass(frozen=True)
class Estimate:
    """A policy's mean reward a round, its interval, and how it was found.

    low, high: interval at `level`; of `clipped` it reaches from the clipped estimate's low to the high with all that
    was cut off counted at the reward bound. bias_bound: that amount, of the point alone. clip: λ of the weights.
    units: users or rounds that were resampled; rewarded: rounds with a reward that the estimate rests on.
    """

    estimator: str
    value: float
    low: float
    high: float
    level: float
    interval: str
    units: int
    rewarded: int
    bias_bound: float = 0.0
    clip: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return asdict(self)


def rounds_for(
    log: LoggedFeedback,
    policy: TargetPolicy,
    *,
    reward_bound: float | None = None,
    reward_model: RewardModel | None = None,
    seed: int = 0,
) -> Rounds:
    """Weigh a log for a policy.

    reward_bound: by default the largest reward of the log, at least 1.

    Whoever knows that no item is clicked by more than one in twenty says 0.05, and has narrower bounds of `clipped`.
    """
    bound = max(1.0, float(log.reward.max())) if reward_bound is None else reward_bound
    if not bound > 0:
        raise DataError(f"reward_bound={bound}: must be above 0")
    weights = chance_of_shown(policy, log) / log.propensity
    return Rounds(log, policy, weights, bound, reward_model or SlotItemMeans(), seed=seed)


def estimate_policy(
    log: LoggedFeedback,
    policy: TargetPolicy,
    estimators: Sequence[str] = ("ips", "snips", "clipped", "dr"),
    *,
    interval: str = BOOTSTRAP,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    limits: OverlapLimits | None = None,
    reward_bound: float | None = None,
    reward_model: RewardModel | None = None,
    seed: int = 0,
) -> list[Estimate]:
    """Estimate what the policy would have earned a round, from what another one logged.

    One estimate an estimator.

    Raises DataError for an unknown estimator and, for all but `clipped`, where the log's overlap is too thin.
    """
    rounds = rounds_for(log, policy, reward_bound=reward_bound, reward_model=reward_model, seed=seed)
    if any(name != "clipped" for name in estimators):
        check_overlap(measure_overlap(rounds.weights, log.reward, log.unit_idx), policy.name, limits)
    terms = {name: terms_of(name, rounds, limits) for name in estimators}
    return with_intervals(terms, log, interval=interval, level=level, resamples=resamples, seed=seed)


def terms_of(name: str, rounds: Rounds, limits: OverlapLimits | None = None) -> Terms:
    """Compute an estimator's terms by name.

    Raises DataError for an unknown one, for one that rests on too few rewards, and for a replay of too few rounds.
    """
    if name not in ESTIMATORS:
        raise DataError(f"estimator={name!r}: must be one of {', '.join(ESTIMATORS)}")
    limits = limits or OverlapLimits()
    terms = ESTIMATORS[name](rounds)
    agreed = terms.denominator.sum()
    if name == "replay" and agreed < limits.min_effective_rounds:
        raise DataError(
            f"replay: the policy agrees with {int(agreed)} of {len(rounds.log):,} rounds, must be at least "
            f"{limits.min_effective_rounds:g}; snips uses every round"
        )
    if terms.rewarded < limits.min_rewarded:
        raise DataError(
            f"{name}: rests on {terms.rewarded} rounds with a reward, must be at least {limits.min_rewarded}: no "
            "interval of so few is honest; take a longer log"
        )
    return terms


def logged_terms(log: LoggedFeedback) -> Terms:
    """Return the rewards as they are: what the logging policy earned."""
    return Terms(log.reward, np.ones(len(log)), int(np.count_nonzero(log.reward)))


def with_intervals(
    terms: Mapping[str, Terms],
    log: LoggedFeedback,
    *,
    interval: str = BOOTSTRAP,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Estimate]:
    """Compute the ratios of the terms' sums with intervals.

    Intervals are a percentile bootstrap over units, or normal ones of the delta method.

    All estimates share their resamples.
    """
    if interval not in (BOOTSTRAP, ASYMPTOTIC):
        raise DataError(f"interval={interval!r}: must be {BOOTSTRAP} or {ASYMPTOTIC}")
    columns = []
    for estimator in terms.values():
        top = estimator.numerator if estimator.above is None else estimator.numerator + estimator.above
        columns += [estimator.numerator, top, estimator.denominator]
    sums = unit_sums(log, *columns)
    totals = sums.sum(axis=0)
    drawn = bootstrap_means(sums, resamples=resamples, seed=seed) if interval == BOOTSTRAP else None
    tail = (1 - level) / 2
    estimates = []
    for place, (name, estimator) in enumerate(terms.items()):
        low_of, high_of, below = 3 * place, 3 * place + 1, 3 * place + 2
        value, highest = totals[low_of] / totals[below], totals[high_of] / totals[below]
        if drawn is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                low = np.nanquantile(drawn[:, low_of] / drawn[:, below], tail)
                high = np.nanquantile(drawn[:, high_of] / drawn[:, below], 1 - tail)
        else:
            z = float(ndtri(1 - tail))
            low = value - z * _ratio_error(sums[:, low_of], sums[:, below])
            high = highest + z * _ratio_error(sums[:, high_of], sums[:, below])
        estimates.append(
            Estimate(
                estimator=name,
                value=float(value),
                low=float(low),
                high=float(high),
                level=level,
                interval=interval,
                units=len(sums),
                rewarded=estimator.rewarded,
                bias_bound=max(0.0, float(highest - value)),
                clip=estimator.clip,
            )
        )
    return estimates


def logged_value(
    log: LoggedFeedback,
    *,
    interval: str = BOOTSTRAP,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate what the logging policy itself earned a round."""
    terms = {"logged": logged_terms(log)}
    return with_intervals(terms, log, interval=interval, level=level, resamples=resamples, seed=seed)[0]


def compare_policies(
    log: LoggedFeedback,
    a: TargetPolicy,
    b: TargetPolicy | None,
    estimator: str = "snips",
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    limits: OverlapLimits | None = None,
    seed: int = 0,
) -> PairedDifference:
    """Estimate value of a − value of b from the same rounds, resampled together: what they share falls out.

    b: None for the policy that logged. `users` of the answer counts units. A difference by `clipped` would hide its
    bias, so it is refused.
    """
    if estimator == "clipped":
        raise DataError("estimator='clipped': two biases do not subtract; compare by ips, snips, dr or replay")
    columns: list[Floats] = []
    for policy in (a, b):
        if policy is None:
            terms = logged_terms(log)
        else:
            rounds = rounds_for(log, policy, seed=seed)
            check_overlap(measure_overlap(rounds.weights, log.reward, log.unit_idx), policy.name, limits)
            terms = terms_of(estimator, rounds, limits)
        columns += [terms.numerator, terms.denominator]
    sums = unit_sums(log, *columns)
    means = bootstrap_means(sums, resamples=resamples, seed=seed)
    observed = sums.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = means[:, 0] / means[:, 1] - means[:, 2] / means[:, 3]
    difference = float(observed[0] / observed[1] - observed[2] / observed[3])
    return difference_of_means(difference, drawn[~np.isnan(drawn)], users=len(sums), level=level)


def unit_sums(log: LoggedFeedback, *columns: Floats) -> Floats:
    """Sum each unit's rounds, (n_units, len(columns))."""
    n = log.n_units
    return np.stack([np.bincount(log.unit_idx, column, n) for column in columns], axis=1)


def _ratio_error(numerator: Floats, denominator: Floats) -> float:
    """Compute the standard error of Σ numerator ÷ Σ denominator over units, by the delta method."""
    n = len(numerator)
    residual = numerator - numerator.sum() / denominator.sum() * denominator
    return float(np.sqrt((residual**2).sum() / (n - 1) / n) / denominator.mean()) if n > 1 else np.inf
