"""Overlap: how much of a log speaks about another policy. Where it is too thin nothing is estimated."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OverlapLimits:
    """Limits beyond which an estimate is refused, or not called a difference.

    min_effective_rounds: of Kish (1965). min_rewarded: rounds with a reward that an estimate rests on; a bootstrap of
    fewer does not know how few they are, and of none has no width. max_weight_share: the largest weight's share of all.
    mean_errors: standard errors that the mean weight may be off 1, where it is if every item that the policy shows
    could have been shown and the propensities are right. effective_rewards_to_rank: below it nothing is said about
    which policy is better, whatever the interval.
    """

    min_effective_rounds: float = 100.0
    min_rewarded: int = 10
    effective_rewards_to_rank: float = 100.0
    max_weight_share: float = 0.05
    mean_errors: float = 4.0


@dataclass(frozen=True)
class Overlap:
    """Figures of the weights w = target chance ÷ propensity of what was shown.

    effective_rounds: (Σw)² ÷ Σw², 1..rounds. effective_rewards: the same of w over the rounds with a reward above 0.
    matched: share of rounds with w > 0. mean_weight: about 1, or the log cannot speak for the policy.
    """

    rounds: int
    matched: float
    effective_rounds: float
    effective_rewards: float
    max_weight: float
    max_weight_share: float
    mean_weight: float
    mean_weight_error: float

    def to_dict(self) -> dict[str, float]:
        """Convert to JSON."""
        return asdict(self)


def measure_overlap(weights: Floats, reward: Floats, unit_idx: npt.NDArray[np.int64] | None = None) -> Overlap:
    """Measure overlap from weights and rewards, both (n_rounds,).

    The mean's standard error is over units, by default rounds.
    """
    total, n = float(weights.sum()), len(weights)
    off = weights - weights.mean()
    if unit_idx is not None:
        off = np.bincount(unit_idx, off)
    return Overlap(
        rounds=n,
        matched=float((weights > 0).mean()),
        effective_rounds=_effective(weights),
        effective_rewards=_effective(weights[reward > 0]),
        max_weight=float(weights.max()),
        max_weight_share=float(weights.max()) / total if total > 0 else 1.0,
        mean_weight=float(weights.mean()),
        mean_weight_error=float(np.sqrt((off**2).sum()) / n),
    )


def check_overlap(overlap: Overlap, policy: str, limits: OverlapLimits | None = None) -> None:
    """Raise DataError, with figures and what to do, where the log says too little about the policy."""
    limits = limits or OverlapLimits()
    advice = (
        "log with more exploration, estimate a policy nearer to the logged one (mix it with that), or ask for "
        "`clipped` alone, whose interval counts what it cuts off"
    )
    if overlap.effective_rounds < limits.min_effective_rounds:
        raise DataError(
            f"overlap of {policy}: {overlap.effective_rounds:.1f} effective rounds of {overlap.rounds:,}, "
            "largest weight "
            f"{overlap.max_weight:.4g}: must be at least {limits.min_effective_rounds:g}; {advice}"
        )
    if overlap.max_weight_share > limits.max_weight_share:
        raise DataError(
            f"overlap of {policy}: one round of {overlap.rounds:,} carries {overlap.max_weight_share:.0%} of all "
            "weight "
            f"(weight {overlap.max_weight:.4g}, {overlap.effective_rounds:.1f} effective rounds): must be at most "
            f"{limits.max_weight_share:.0%}; {advice}"
        )
    off = overlap.mean_weight - 1
    if abs(off) > limits.mean_errors * overlap.mean_weight_error + 1e-9:
        why = (
            "the policy shows items that this log could not have shown, or the propensities are too large"
            if off < 0
            else "the propensities are smaller than the chances really were"
        )
        raise DataError(
            f"overlap of {policy}: the mean weight is {overlap.mean_weight:.3f} ± {overlap.mean_weight_error:.3f}, "
            "must be "
            f"about 1: {why}; nothing can be estimated from such a log"
        )


def _effective(weights: Floats) -> float:
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
