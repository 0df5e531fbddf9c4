"""The discrete Gaussian: integer noise x with probability proportional to exp(−x²/2σ²), sampled exactly, in bulk.

Rejection from the discrete Laplace distribution (Canonne, Kamath, Steinke 2020, algorithm 3). Every decision compares
a uniform real U, drawn bit by bit as far as needed, with exp(−γ): 53 bits and float64 settle all but about one in
10¹² of them at once; what lies within the float error is settled with decimals and further bits, so no float rounding
reaches the result. Not constant in time.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from federation.private_sum.randomness import RandomBytes, words64

Integers = npt.NDArray[np.int64]

ULPS = 2.0**-47
"""Error granted to the few float64 operations of a decision; logarithm and exponential are good to 2**-51."""

CANDIDATES = 1.4
"""Proposals drawn a coordinate: three in four are accepted."""


def discrete_gaussian(sigma: int, n: int, random: RandomBytes, *, doubt: float = ULPS) -> Integers:
    """Draw n independent discrete Gaussians of scale sigma, an integer ≥ 0 (0: zeros): (n,) int64.

    random: secure_bytes() wherever privacy rests on it. doubt: float error within which a decision is not taken from
    float64 alone; raising it changes the speed, never the draws.
    """
    if sigma < 0:
        raise ValueError(f"sigma={sigma}: must be 0 or more")
    if sigma == 0:
        return np.zeros(n, dtype=np.int64)
    batches = [np.empty(0, dtype=np.int64)]
    missing = n
    while missing > 0:
        proposed = _discrete_laplace(sigma + 1, math.ceil(missing * CANDIDATES) + 16, random, doubt)
        accepted = proposed[_accept(proposed, sigma, random, doubt)][:missing]
        batches.append(accepted)
        missing -= len(accepted)
    draws: Integers = np.concatenate(batches)
    return draws


def _discrete_laplace(t: int, n: int, random: RandomBytes, doubt: float) -> Integers:
    """Draw up to n x with probability proportional to exp(−|x|/t). They are ⌊−t·ln U⌋ with a sign, −0 thrown away."""
    bits = words64(random, n)
    top, negative = bits >> np.uint64(11), (bits & np.uint64(1)).astype(bool)
    low = np.maximum(top, np.uint64(1)) * 2.0**-53
    magnitude = -t * np.log(low)
    # U lies in [low, low + 2**-53), over which its logarithm varies by 2**-53/low.
    error = magnitude * doubt + t * (2.0**-52 / low + doubt)
    drawn: Integers = np.floor(magnitude - error).astype(np.int64)
    for i in np.flatnonzero((np.floor(magnitude + error) != drawn) | (top == 0)):
        drawn[i] = _exponential_floor(int(top[i]), t, random)
    signed: Integers = np.where(negative, -drawn, drawn)[~(negative & (drawn == 0))]
    return signed


def _accept(proposed: Integers, sigma: int, random: RandomBytes, doubt: float) -> npt.NDArray[np.bool_]:
    """Test U < exp(−(|x| − σ²/t)²/2σ²) for each proposed x, with t = σ + 1."""
    t = sigma + 1
    gamma = (np.abs(proposed) - sigma * sigma / t) ** 2 / (2.0 * sigma * sigma)
    top = words64(random, len(proposed)) >> np.uint64(11)
    gap = np.exp(-gamma) - top * 2.0**-53
    accepted: npt.NDArray[np.bool_] = gap > 0
    for i in np.flatnonzero(np.abs(gap) <= doubt + 2.0**-52):
        distance = abs(int(proposed[i])) - Fraction(sigma * sigma, t)
        accepted[i] = _below_exp(int(top[i]), distance**2 / (2 * sigma * sigma), random)
    return accepted


def _below_exp(top: int, gamma: Fraction, random: RandomBytes) -> bool:
    """Test U < exp(−gamma). The first 53 bits of U are top, and the rest is drawn when needed."""
    value, bits = top, 53
    while True:
        digits = bits // 3 + 10
        with localcontext() as context:
            context.prec = digits
            power = Fraction((-Decimal(gamma.numerator) / Decimal(gamma.denominator)).exp())
        slack = power * Fraction(1 + gamma, 10 ** (digits - 3))
        if Fraction(value + 1, 2**bits) <= power - slack:
            return True
        if Fraction(value, 2**bits) >= power + slack:
            return False
        value, bits = value << 64 | int(words64(random, 1)[0]), bits + 64


def _exponential_floor(top: int, t: int, random: RandomBytes) -> int:
    """Compute ⌊−t·ln U⌋. The first 53 bits of U are top, and the rest is drawn when needed."""
    value, bits = top, 53
    while True:
        if value > 0:
            digits = bits // 3 + 10
            with localcontext() as context:
                context.prec = digits
                unit = Decimal(2) ** bits
                most, least = (-t * (Decimal(u) / unit).ln() for u in (value, value + 1))
                slack = (most + t) * Decimal(10) ** (3 - digits)
                smallest, largest = math.floor(least - slack), math.floor(most + slack)
            if smallest == largest:
                return smallest
        value, bits = value << 64 | int(words64(random, 1)[0]), bits + 64
