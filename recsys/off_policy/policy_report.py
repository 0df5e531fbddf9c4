"""One policy looked at from one log: overlap, estimates, difference to what was live, and in words what that says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import polars as pl

from data.logged_feedback import LoggedFeedback
from recsys.evaluation.statistics import LEVEL, RESAMPLES, PairedDifference
from recsys.off_policy.estimate import (
    BOOTSTRAP,
    Estimate,
    compare_policies,
    logged_value,
    rounds_for,
    terms_of,
    with_intervals,
)
from recsys.off_policy.overlap import Overlap, OverlapLimits, check_overlap, measure_overlap
from recsys.off_policy.policies import TargetPolicy

WHAT_WAS_LIVE = "what was live"


@dataclass(frozen=True)
class OffPolicyReport:
    """The estimates of a policy from a log that it did not make.

    logged: what the logging policy earned. on_policy: what the policy itself earned in a log of its own, if there is
    one: what an estimate should have been. difference: policy − `against` (by default the logging policy) on the same
    rounds, by `difference_by`; None where only clipped estimates were asked for. The intervals of estimates take the
    policy's chances as given.
    """

    log: str
    policy: str
    rounds: int
    units: int
    by_user: bool
    overlap: Overlap
    logged: Estimate
    estimates: list[Estimate]
    difference: PairedDifference | None
    difference_by: str | None
    against: str
    on_policy: Estimate | None
    limits: OverlapLimits = field(default_factory=OverlapLimits)

    @property
    def verdict(self) -> str:
        """One sentence that says no more than the figures. Rewards are counted by the weights of `policy`."""
        if self.difference is None:
            return "Only clipped estimates: they bound the policy's value and compare it with nothing."
        difference = self.difference
        figures = (
            f"{difference.difference:+.5f} a round, {LEVEL:.0%} interval {difference.low:+.5f}..{difference.high:+.5f}"
        )
        few, needed = self.overlap.effective_rewards, self.limits.effective_rewards_to_rank
        if few < needed:
            return (
                f"Too few rewards to say which is better: {few:.0f} effective ones of {self.logged.rewarded:,}, "
                f"ranking needs {needed:g} ({figures})."
            )
        if difference.low <= 0 <= difference.high:
            return f"The log cannot tell whether {self.policy} would have earned more than {self.against} ({figures})."
        more = "more" if difference.difference > 0 else "less"
        return f"{self.policy} would have earned {more} than {self.against} ({figures})."

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {
            "log": self.log,
            "policy": self.policy,
            "rounds": self.rounds,
            "units": self.units,
            "unit": "user" if self.by_user else "round",
            "overlap": self.overlap.to_dict(),
            "logged": self.logged.to_dict(),
            "estimates": [estimate.to_dict() for estimate in self.estimates],
            "difference": None
            if self.difference is None
            else asdict(self.difference) | {"by": self.difference_by, "against": self.against},
            "on_policy": None if self.on_policy is None else self.on_policy.to_dict(),
            "verdict": self.verdict,
        }

    def to_frame(self) -> pl.DataFrame:
        """Make a frame of one row an estimate: policy, estimator, value, low, high, …

        The logging policy is first, the truth last.
        """
        rows = [("logged", self.logged), *((self.policy, estimate) for estimate in self.estimates)]
        if self.on_policy is not None:
            rows.append((self.policy, self.on_policy))
        return pl.DataFrame(
            [{"policy": policy} | estimate.to_dict() for policy, estimate in rows], infer_schema_length=None
        )


def evaluate_policy(
    log: LoggedFeedback,
    policy: TargetPolicy,
    estimators: Sequence[str] = ("ips", "snips", "clipped", "dr"),
    *,
    against: TargetPolicy | None = None,
    own_log: LoggedFeedback | None = None,
    interval: str = BOOTSTRAP,
    resamples: int = RESAMPLES,
    limits: OverlapLimits | None = None,
    reward_bound: float | None = None,
    seed: int = 0,
) -> OffPolicyReport:
    """Estimate a policy from a log, beside what was live and, from own_log, what the policy really earned.

    Raises DataError where the log's overlap is too thin for what was asked.
    """
    options = {"interval": interval, "resamples": resamples, "seed": seed}
    rounds = rounds_for(log, policy, reward_bound=reward_bound, seed=seed)
    overlap = measure_overlap(rounds.weights, log.reward, log.unit_idx)
    unbiased = [name for name in estimators if name != "clipped"]
    if unbiased:
        check_overlap(overlap, policy.name, limits)
    terms = {name: terms_of(name, rounds, limits) for name in estimators}
    by = "snips" if "snips" in unbiased else unbiased[0] if unbiased else None
    difference = None
    if by is not None:
        difference = compare_policies(log, policy, against, by, resamples=resamples, limits=limits, seed=seed)
    return OffPolicyReport(
        log=log.name,
        policy=policy.name,
        rounds=len(log),
        units=log.n_units,
        by_user=log.by_user,
        overlap=overlap,
        logged=logged_value(log, **options),  # type: ignore[arg-type]
        estimates=with_intervals(terms, log, **options),  # type: ignore[arg-type]
        difference=difference,
        difference_by=by,
        against=WHAT_WAS_LIVE if against is None else against.name,
        on_policy=None if own_log is None else logged_value(own_log, **options),  # type: ignore[arg-type]
        limits=limits or OverlapLimits(),
    )
