"""The strongest attacker: knows every other report, all but the custodian's noise, and the report in question exactly.

What is left is one vector of the largest allowed norm in Gaussian noise, once a participation. No test tells it from
zeros with an AUC above Φ(√n·Δ/(σ√2)); the noise is the real one of federation/private_sum/noise.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import beta, norm

from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.fixed_point import encode, to_signed
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import seeded_bytes
from tests.benchmarks.attacks_leak import auc

N_ITEMS, DIM = 16, 8
"""The bound has no dimension in it, so a small table gives more trials."""


def audit(plan: PrivacyPlan, trials: int, seed: int, *, noise_scale: float = 1.0) -> dict[str, Any]:
    """Play `trials` lives of an installation with its reports and as many with zeros in their place.

    noise_scale: 1 is the plan's noise; less is a custodian that cheats, which the test must notice.
    auc ± error: of the likelihood ratio. bound: what the plan's noise allows; epsilon_bound: what the stated (ε, δ)
    alone allows any mechanism. epsilon_lower: ε that the plays prove at 95 % (Clopper and Pearson 1934), which must be
    below the stated one.
    """
    sums = plan.sum_plan(N_ITEMS, DIM)
    lived, absent = (
        statistics(sums, plan.max_participations, trials, seed, here, noise_scale) for here in (True, False)
    )
    scores, truth = np.concatenate([lived, absent]), np.arange(2 * trials) < trials
    found = auc(scores, truth)
    distance = math.sqrt(plan.max_participations * sums.sensitivity_squared) / sums.sigma
    return {
        "auc": found,
        "error": auc_error(found, trials),
        "bound": float(norm.cdf(distance / math.sqrt(2))),
        "epsilon_bound": epsilon_bound(plan.epsilon, plan.delta),
        "epsilon": plan.epsilon,
        "epsilon_lower": proven_epsilon(lived, absent, plan.delta),
        "trials": trials,
    }


def loudest(plan: SumPlan) -> dict[str, np.ndarray]:
    """Vectors that fill every bound: what a device at the clips of all parts sends."""
    return {part.name: np.full(part.length, part.clip_norm / math.sqrt(part.length)) for part in plan.parts}


def statistics(
    plan: SumPlan, participations: int, trials: int, seed: int, here: bool, noise_scale: float
) -> np.ndarray:
    """(trials,) likelihood ratio statistic: the sums, less all other reports, along the report in question."""
    random = seeded_bytes(np.random.default_rng([seed, 14, int(here)]))
    vector = loudest(plan)
    direction = np.concatenate([vector[part.name] * part.scale for part in plan.parts])
    sigma = round(plan.sigma * noise_scale)
    noise = np.empty(trials)
    for some in np.array_split(np.arange(trials), max(trials // 200, 1)):
        drawn = discrete_gaussian(sigma, len(some) * participations * plan.length, random)
        noise[some] = drawn.reshape(len(some), participations, -1).sum(1) @ direction
    if not here:
        return noise
    reports = [to_signed(encode(plan, vector, random)) @ direction for _ in range(trials * participations)]
    return noise + np.array(reports).reshape(trials, participations).sum(1)


def auc_error(found: float, n: int) -> float:
    """Standard error of an AUC of n against n (Hanley and McNeil 1982)."""
    q1, q2 = found / (2 - found), 2 * found**2 / (1 + found)
    variance = (found * (1 - found) + (n - 1) * (q1 - found**2) + (n - 1) * (q2 - found**2)) / n**2
    return math.sqrt(max(variance, 0.0))


def epsilon_bound(epsilon: float, delta: float) -> float:
    """Largest AUC under (ε, δ): the area under TPR ≤ min(e^ε·FPR + δ, 1 − e^−ε·(1 − δ − FPR), 1)."""
    fpr = np.concatenate([[0.0], np.logspace(-12, 0, 20_001)])
    tpr = np.minimum(np.minimum(np.exp(epsilon) * fpr + delta, 1 - np.exp(-epsilon) * (1 - delta - fpr)), 1.0)
    return float(np.trapezoid(tpr, fpr))


def proven_epsilon(lived: np.ndarray, absent: np.ndarray, delta: float) -> float:
    """The largest ε that a threshold refutes the mechanism to be below, at 95 %; thresholds from the first half."""
    half = len(lived) // 2
    best, n = 0.0, len(lived) - half
    choices = np.quantile(np.concatenate([lived[:half], absent[:half]]), np.linspace(0.02, 0.98, 49))

    def at(threshold: float, there: np.ndarray, gone: np.ndarray) -> float:
        hit, false = int((there > threshold).sum()), int((gone > threshold).sum())
        low = float(beta.ppf(0.025, hit, len(there) - hit + 1)) if hit else 0.0
        high = float(beta.ppf(0.975, false + 1, len(gone) - false)) if false < len(gone) else 1.0
        return math.log((low - delta) / high) if low > delta else 0.0

    chosen = max(choices, key=lambda threshold: at(threshold, lived[:half], absent[:half]))
    if n:
        best = at(float(chosen), lived[half:], absent[half:])
    return max(best, 0.0)
