"""The gate: whether a new release may replace the old one, by five kinds of checks, each with a margin of its own.

    quality      the paired interval of new − old lies above −margin (non-inferiority): it must be shown
    group:NAME   a group's gap to all other shoppers is not wider than before by more than the margin
    exposure     the tail's share of all list places reaches the floor
    epsilon      what a device has spent is within what was promised, and no promise was dropped
    stale        the release learned from data as recent as the old one's, and recent beside the log

Harm is tested: p is one-sided, of no harm beyond the margin, over shoppers; Holm (1979) corrects it over all checks
that have one. So an honest release is stopped by chance at most as often as ALPHA says,
however many groups there are. Quality must be shown beside that: with too few shoppers to tell, it is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY
from recsys.evaluation.statistics import holm, paired_difference
from recsys.fairness.groups import Grouping

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
ROUNDING = 1e-12
"""Differences below are those of adding in another order."""


@dataclass(frozen=True)
class GatePolicy:
    """How much worse a release may be.

    quality_margin: of the old mean figure, that may be lost; group_margin: of the same, by which a group's gap may
    widen. Retraining with another seed moves a mean figure by about 1 % and a third's gap by 1-2 % of it.
    tail_floor: least share of the tail in all list places; None: tail_keep of the old release's share (four fifths,
    as courts compare selection rates). min_group: shoppers in a group and in the rest, below which it is not judged.
    epsilon: most that a device may have spent; None: what the old release promised. max_age_days: between the last
    event that the release learned from and the last of the log.
    """

    quality_margin: float = 0.05
    group_margin: float = 0.05
    tail_floor: float | None = None
    tail_keep: float = 0.8
    min_group: int = 50
    epsilon: float | None = None
    max_age_days: float = 60.0

    def __post_init__(self) -> None:
        for name in ("quality_margin", "group_margin", "tail_keep", "tail_floor"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ModelError(f"{name}={value}: must be 0..1")
        if self.min_group < 2:
            raise ModelError(f"min_group={self.min_group}: must be 2 or more")
        if not self.max_age_days > 0 or (self.epsilon is not None and not self.epsilon > 0):
            raise ModelError(f"max_age_days={self.max_age_days}, epsilon={self.epsilon}: must be above 0")


@dataclass(frozen=True)
class SpentPrivacy:
    """A device's spending under a plan: ε after `participations` of at most `cap`; promised: ε at the cap.

    stated: ε as the manifest says. None stands for no bound.
    """

    epsilon: float | None
    stated: float | None
    promised: float | None
    participations: int
    cap: int


@dataclass(frozen=True, eq=False)
class ReleaseEvidence:
    """What is known of one release, over the same shoppers as of the other.

    ndcg, tail_share: (n,) float64, a shopper's figure and the share of the tail in the shopper's list.
    learned_until: µs since 1970 UTC of the last event it may have learned from, None where nothing says it.
    privacy: None for a release without a plan.
    """

    version: str
    ndcg: Floats
    tail_share: Floats
    learned_until: int | None
    privacy: SpentPrivacy | None


@dataclass(frozen=True)
class Check:
    """One check. value: what was measured, with its interval; bound: what it is held against; p_holm: of harm."""

    name: str
    passed: bool
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class GateResult:
    """The verdict on a release against another, with the policy it was judged by."""

    new: str
    old: str
    checks: tuple[Check, ...]
    policy: GatePolicy
    users: int
    about: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """True where every check passed."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values: passed, new, old, users, checks, policy and what it was measured on."""
        head = {"passed": self.passed, "new": self.new, "old": self.old, "users": self.users}
        checks = [asdict(check) for check in self.checks]
        return head | {"checks": checks, "policy": asdict(self.policy), "about": dict(self.about)}


@dataclass(frozen=True)
class _Harm:
    """A check whose p-value is not corrected yet. shown: what must hold beside an uncertain harm."""

    check: Check
    p_value: float
    shown: bool = True


def judge_release(
    new: ReleaseEvidence,
    old: ReleaseEvidence,
    groupings: Sequence[Grouping],
    policy: GatePolicy,
    *,
    log_end: int,
    about: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> GateResult:
    """Judge a release. groupings: over the same shoppers as the evidence. log_end: µs since 1970 UTC, of the log."""
    n = len(new.ndcg)
    if n < 2 or any(len(values) != n for values in (old.ndcg, new.tail_share, old.tail_share)):
        raise ModelError(f"gate: {n} shoppers and {len(old.ndcg)}: must be the same two or more")
    harms = [_quality(new, old, policy, seed)]
    harms += [harm for grouping in groupings for harm in _group(new, old, grouping, policy)]
    harms.append(_exposure(new, old, policy))
    adjusted = holm([harm.p_value for harm in harms])
    tested = [_decide(harm, float(p)) for harm, p in zip(harms, adjusted, strict=True)]
    checks = (*tested, _epsilon(new, old, policy), _stale(new, old, policy, log_end))
    return GateResult(new.version, old.version, checks, policy, n, about or {})


def _decide(harm: _Harm, p_holm: float) -> Check:
    check = harm.check
    passed = harm.shown and p_holm > ALPHA
    return Check(check.name, passed, check.reason, check.value, check.low, check.high, check.bound, p_holm)


def _quality(new: ReleaseEvidence, old: ReleaseEvidence, policy: GatePolicy, seed: int) -> _Harm:
    change, margin = new.ndcg - old.ndcg, policy.quality_margin * float(old.ndcg.mean())
    paired = paired_difference(new.ndcg, old.ndcg, level=1 - ALPHA, seed=seed)
    span = f"{paired.difference:+.4f} (95 % {paired.low:+.4f} to {paired.high:+.4f})"
    reason = f"new − old {span}; the interval must lie above −{margin:.4f}"
    check = Check("quality", True, reason, paired.difference, paired.low, paired.high, -margin)
    return _Harm(check, harm_p(-change.mean() - margin, *_mean_error(change)), shown=paired.low >= -margin)


def _group(new: ReleaseEvidence, old: ReleaseEvidence, grouping: Grouping, policy: GatePolicy) -> list[_Harm]:
    """Test each group that the new release serves worse than the others of known level."""
    harms, margin = [], policy.group_margin * float(old.ndcg.mean())
    figure, change = new.ndcg[grouping.known], (new.ndcg - old.ndcg)[grouping.known]
    for level, members in grouping.members():
        if min(int(members.sum()), int((~members).sum())) < policy.min_group:
            continue
        gap = gap_to_rest(figure, members)
        if gap <= 0:
            continue
        widening, (error, freedom) = gap_to_rest(change, members), gap_error(change, members)
        low, high = interval(widening, error, freedom)
        reason = f"gap to the rest {gap:.4f}, wider by {widening:+.4f} (95 % {low:+.4f} to {high:+.4f})"
        check = Check(f"group:{grouping.name}={level}", True, reason, widening, low, high, margin)
        harms.append(_Harm(check, harm_p(widening - margin, error, freedom)))
    return harms


def _exposure(new: ReleaseEvidence, old: ReleaseEvidence, policy: GatePolicy) -> _Harm:
    share, before = float(new.tail_share.mean()), float(old.tail_share.mean())
    floor = policy.tail_keep * before if policy.tail_floor is None else policy.tail_floor
    error, freedom = _mean_error(new.tail_share)
    low, high = interval(share, error, freedom)
    reason = f"the tail has {share:.4f} of all list places (old {before:.4f}); the floor is {floor:.4f}"
    return _Harm(Check("exposure", True, reason, share, low, high, floor), harm_p(floor - share, error, freedom))


def _epsilon(new: ReleaseEvidence, old: ReleaseEvidence, policy: GatePolicy) -> Check:
    promised = policy.epsilon
    if promised is None and old.privacy is not None:
        promised = old.privacy.promised
    spent = new.privacy
    if promised is None:
        reason = "neither the policy nor the old release promises an ε" + ("" if spent is None else "; none is held")
        return Check("epsilon", spent is None or spent.participations <= spent.cap, reason)
    if spent is None or spent.epsilon is None:
        return Check("epsilon", False, f"ε has no bound, and at most {promised:.4g} is promised", bound=promised)
    if spent.participations > spent.cap:
        reason = f"{spent.participations} participations of a device, and {spent.cap} are promised"
    elif spent.stated is None or not math.isclose(spent.stated, spent.epsilon, rel_tol=0.01):
        reason = f"the manifest says ε={spent.stated}, its noise and participations make it {spent.epsilon:.4g}"
    else:
        within = spent.epsilon <= promised * (1 + 1e-9)
        reason = f"a device has spent ε={spent.epsilon:.4g} of {promised:.4g}"
        return Check("epsilon", within, reason, spent.epsilon, bound=promised)
    return Check("epsilon", False, reason, spent.epsilon, bound=promised)


def _stale(new: ReleaseEvidence, old: ReleaseEvidence, policy: GatePolicy, log_end: int) -> Check:
    if new.learned_until is None:
        return Check("stale", False, "the manifest does not say until when it learned", bound=policy.max_age_days)
    age = (log_end - new.learned_until) / MICROS_PER_DAY
    if old.learned_until is not None and new.learned_until < old.learned_until:
        behind = (old.learned_until - new.learned_until) / MICROS_PER_DAY
        return Check("stale", False, f"learned from data {behind:.1f} days older than the old release's", age)
    reason = f"the log goes on for {age:.1f} days after what it learned from; at most {policy.max_age_days:g}"
    return Check("stale", age <= policy.max_age_days, reason, age, bound=policy.max_age_days)


def gap_to_rest(values: Floats, members: npt.NDArray[np.bool_]) -> float:
    """Compute how much better all other shoppers are served than a group: mean of the rest − mean of the group."""
    return float(values[~members].mean() - values[members].mean())


def gap_error(values: Floats, members: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Compute the standard error of gap_to_rest and its degrees of freedom (Welch 1947)."""
    (a, of_a), (b, of_b) = (_mean_error(values[side]) for side in (members, ~members))
    total = a**2 + b**2
    if total == 0:
        return 0.0, of_a + of_b
    return math.sqrt(total), total**2 / (a**4 / of_a + b**4 / of_b)


def interval(value: float, error: float, freedom: float) -> tuple[float, float]:
    """Compute the interval of level 1 − ALPHA by Student's t."""
    reach = float(special.stdtrit(freedom, 1 - ALPHA / 2)) * error
    return value - reach, value + reach


def harm_p(excess: float, error: float, freedom: float) -> float:
    """Compute the one-sided p-value that there is no harm beyond the margin. excess: measured beyond the margin.

    By Student's t: Holm over many groups asks for tails that a thousand resamples do not reach.
    """
    if error <= ROUNDING:
        return 0.0 if excess > ROUNDING else 1.0
    return float(special.stdtr(freedom, -excess / error))


def two_sided_p(value: float, error: float, freedom: float) -> float:
    """Compute the p-value that the true value is 0, by Student's t."""
    if error <= ROUNDING:
        return 0.0 if abs(value) > ROUNDING else 1.0
    return 2 * float(special.stdtr(freedom, -abs(value) / error))


def _mean_error(values: Floats) -> tuple[float, float]:
    return float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1.0
