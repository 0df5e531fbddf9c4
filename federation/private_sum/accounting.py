"""What one report in a sum costs: ρ of zero-concentrated differential privacy, and the ε it stands for."""

from __future__ import annotations

import math

from federation.private_sum.plan import SumPlan


def rho_of(plan: SumPlan) -> float:
    """Compute ρ of zCDP of one report in a sum, one party's noise counted."""
    return plan.sensitivity_squared / (2.0 * plan.sigma**2) if plan.private else math.inf


def epsilon_of(rho: float, delta: float) -> float:
    """Compute ε at δ of a ρ-zCDP mechanism (Canonne, Kamath, Steinke 2020, proposition 12, least over α)."""
    if rho == 0 or math.isinf(rho):
        return rho

    def at(alpha: float) -> float:
        return rho * alpha + math.log1p(-1.0 / alpha) + (math.log(1.0 / delta) - math.log(alpha)) / (alpha - 1.0)

    exponents = [step / 50.0 for step in range(-150, 451)]
    best = min(exponents, key=lambda exponent: at(1.0 + 10.0**exponent))
    finer = (best + step / 10_000.0 for step in range(-200, 201))
    return max(min(at(1.0 + 10.0**exponent) for exponent in finer), 0.0)
