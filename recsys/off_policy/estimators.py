"""The estimators, each as two numbers a round, numerator and denominator, whose sums' ratio is the estimate.

Written so, all of them share one bootstrap over whole users and one asymptotic error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.logged_feedback import LoggedFeedback
from recsys.off_policy.policies import TargetPolicy, in_chunks
from recsys.off_policy.reward_model import RewardModel, SlotItemMeans, cross_fitted

Floats = npt.NDArray[np.float64]

UNIFORM_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Rounds:
    """A log, a policy, and the weights w = target chance ÷ propensity of what was shown: all an estimator reads.

    reward_bound: no item's expected reward is above it, and no reward below 0; for `clipped` alone.
    folds, seed: of the reward model's cross-fitting, and of the draws of a policy that is not sure.
    """

    log: LoggedFeedback
    policy: TargetPolicy
    weights: Floats
    reward_bound: float
    reward_model: RewardModel = field(default_factory=SlotItemMeans)
    folds: int = 5
    seed: int = 0

    @property
    def rewarded(self) -> int:
        """Rounds that the policy might have shown and that have a reward."""
        return int(np.count_nonzero(self.weights * self.log.reward))


@dataclass(frozen=True, eq=False)
class Terms:
    """Numerator and denominator of each round, (n_rounds,) each.

    above: what may be missing of each round's numerator, where an estimator is biased downwards: the truth lies between
    Σ numerator and Σ (numerator + above). clip: the bound λ of the weights, where there is one. rewarded: rounds with a
    reward that count.
    """

    numerator: Floats
    denominator: Floats
    rewarded: int
    above: Floats | None = None
    clip: float | None = None


def ips(rounds: Rounds) -> Terms:
    """Weigh by inverse propensity (Horvitz and Thompson 1952): mean of w·r. Unbiased where propensities are right."""
    return Terms(rounds.weights * rounds.log.reward, np.ones(len(rounds.log)), rounds.rewarded)


def snips(rounds: Rounds) -> Terms:
    """Normalize by the weights' sum (Swaminathan and Joachims 2015): Σ w·r ÷ Σ w.

    Within the rewards' range, biased by O(1/n).
    """
    return Terms(rounds.weights * rounds.log.reward, rounds.weights, rounds.rewarded)


def clipped(rounds: Rounds, clip: float | None = None) -> Terms:
    """Clip weights at λ (Bottou et al. 2013): mean of min(w, λ)·r.

    It is too low by at most R·(1 − mean of min(w, λ)).

    The bound counts what is cut off as if all of it had earned R = reward_bound a round. It has no heavy tail, since
    the mean weight is 1 by construction. clip: λ; None: the λ of `tuned_clip`. Raises DataError for λ ≤ 0 or rewards
    below 0.
    """
    if clip is not None and not clip > 0:
        raise DataError(f"clip={clip}: must be above 0")
    if (rounds.log.reward < 0).any():
        raise DataError(f"reward={rounds.log.reward.min():g}: clipping needs rewards of 0 or more to bound its bias")
    clip = tuned_clip(rounds.weights, rounds.log.reward) if clip is None else clip
    cut = np.minimum(rounds.weights, clip)
    above = rounds.reward_bound * (1 - cut)
    return Terms(cut * rounds.log.reward, np.ones(len(cut)), rounds.rewarded, above, clip)


def doubly_robust(rounds: Rounds) -> Terms:
    """Correct a reward model (doubly robust, Dudík et al. 2014).

    The model's value of the policy, plus w·(r − model) where something was shown.

    Unbiased where propensities are right, whatever the model; the better the model, the smaller its variance. The model
    that speaks about a round never saw the round's user.
    """
    log = rounds.log
    predicted = cross_fitted(rounds.reward_model, log, folds=rounds.folds, seed=rounds.seed)
    terms = np.empty(len(log))
    for rows, chances in in_chunks(rounds.policy, log):
        q = predicted(rows)
        shown = q[np.arange(len(q)), log.item_idx[rows]]
        terms[rows] = (chances * q).sum(axis=1) + rounds.weights[rows] * (log.reward[rows] - shown)
    return Terms(terms, np.ones(len(log)), rounds.rewarded)


def replay(rounds: Rounds) -> Terms:
    """Reject what the policy would not have shown (Li et al. 2011): mean reward over the rounds where it agrees.

    A policy that is not sure draws once a round. Raises DataError unless the log is uniform within each slot.
    """
    log = rounds.log
    for slot in range(len(log.slots)):
        chances = log.propensity[log.slot_idx == slot]
        if len(chances) and np.ptp(chances) > UNIFORM_TOLERANCE:
            raise DataError(
                f"replay: propensities of slot {log.slots.ids[slot]!r} are {chances.min():.3g}..{chances.max():.3g}: "
                "must all be the same, as of a log that shows all items with one chance; ips and snips need no such log"
            )
    draw = np.random.default_rng((rounds.seed, len(log))).random(len(log))
    agrees = np.empty(len(log))
    for rows, chances in in_chunks(rounds.policy, log):
        reached = np.cumsum(chances, axis=1)
        chosen = (reached < (draw[rows] * reached[:, -1])[:, None]).sum(axis=1)
        agrees[rows] = chosen == log.item_idx[rows]
    return Terms(agrees * log.reward, agrees, int(np.count_nonzero(agrees * log.reward)))


ESTIMATORS: dict[str, Callable[[Rounds], Terms]] = {
    "ips": ips,
    "snips": snips,
    "clipped": clipped,
    "dr": doubly_robust,
    "replay": replay,
}
"""name → estimator; all but `clipped` are refused where overlap is thin."""


def clip_candidates(weights: Floats) -> Floats:
    """List the bounds that tuning chooses from.

    They are powers of two from 1 on, and the largest weight, which cuts nothing.
    """
    top = float(weights.max(initial=1.0))
    return np.append(2.0 ** np.arange(int(np.ceil(np.log2(top)))), top)


def tuned_clip(weights: Floats, reward: Floats, candidates: Floats | None = None) -> float:
    """Choose λ by the least estimated squared error, bias² + variance (Su et al. 2020, section 5).

    λ is one of the candidates.

    The bias is estimated directly, by the mean of (w − min(w, λ))·r; in doubt the smaller λ. Their bound of the bias
    adds what does not depend on λ and grows with the largest weight, so it cuts least where weights are heaviest.
    """
    candidates = clip_candidates(weights) if candidates is None else candidates
    scores = []
    for clip in candidates:
        cut = np.minimum(weights, clip)
        scores.append(float(np.var(cut * reward)) / len(cut) + float(((weights - cut) * reward).mean()) ** 2)
    return float(candidates[int(np.argmin(scores))])
