"""Intervals to be watched at any time: asymptotic confidence sequences, from the same statistics as every other design.

Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence
sequences": a Gaussian mixture of sequential likelihood ratios. Time is recsys.experiments.analysis.designs.clocks. They
hold for ANY stopping, at the price of wider intervals; asymptotic in the shoppers at the first look.
"""

from __future__ import annotations

import math

from data.errors import DataError
from recsys.experiments.analysis.intervals import check_alpha


def mixture_scale(alpha: float, shoppers: float) -> float:
    """Compute ρ² of the mixture whose interval is the narrowest, nearly, at so many shoppers.

    ρ² = (−2 ln α + ln(1 − 2 ln α))/shoppers (Waudby-Smith et al. 2024): a choice made before the start.
    """
    check_alpha(alpha)
    if not (math.isfinite(shoppers) and shoppers > 0):
        raise DataError(f"shoppers={shoppers}: must be above 0")
    return (-2.0 * math.log(alpha) + math.log1p(-2.0 * math.log(alpha))) / shoppers


def anytime_critical(alpha: float, clock: float, scale: float) -> float:
    """Compute how many standard errors an interval at time clock reaches to each side.

    It is so many that all of them cover at once.

    √((1 + 1/(tρ²))·(ln(1 + tρ²) − 2 ln α)) with t = clock and ρ² = scale.
    """
    check_alpha(alpha)
    t = clock * scale
    if not t > 0:
        raise DataError(f"clock={clock}, scale={scale}: must be above 0")
    return math.sqrt((1.0 + 1.0 / t) * (math.log1p(t) - 2.0 * math.log(alpha)))


def e_value(z: float, clock: float, scale: float) -> float:
    """Compute the evidence against no effect at one look.

    Its expectation under no effect is at most 1 at any stopping time.

    exp(z²/2 · tρ²/(1 + tρ²))/√(1 + tρ²), which is 1/α exactly where |z| = anytime_critical(α, t, ρ²).
    """
    t = clock * scale
    return math.exp(min(0.5 * z**2 * t / (1.0 + t) - 0.5 * math.log1p(t), 700.0))


def anytime_p(e_values: list[float]) -> float:
    """Compute the p-value at the last of these looks: 1/the greatest e-value (Ville 1939).

    It is never above an earlier one's.
    """
    return min(1.0, 1.0 / max(e_values, default=1.0))
