"""Brownian motion looked at K times: where it first leaves its bounds, by recursive numerical integration.

Armitage, McPherson and Rowe (1969); Jennison and Turnbull (2000), chapter 19. Standardized statistics Z_k of looks at
information I_1 < … < I_K have E Z_k = drift·√I_k and Cov(Z_j, Z_k) = √(I_j/I_k) for j ≤ k; information has any unit.
How much error each look may spend is not in here: recsys/experiments/analysis/spending.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from data.errors import DataError

Floats = npt.NDArray[np.float64]

PANEL = 4.0
"""Width of a panel in standard deviations of the narrowest increment that it meets."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
"""16 nodes integrate a Gaussian over a panel to 1e-14."""

REACH = 8.5
"""Standard deviations beyond which no mass is followed: 2e-17 of it."""

LEAST_STEP = 1e-3
"""A look must add this share of information to the one before: less takes ever more nodes and shows nothing new."""

NEVER = 1e-16
"""A look that may spend less than this cannot reject: its bound is infinite."""


@dataclass(frozen=True)
class _ContinuationMass:
    """Mass that has not left: at nodes of the score B = Z·√I, at one look."""

    information: float
    nodes: Floats
    mass: Floats


_START = _ContinuationMass(0.0, np.zeros(1), np.ones(1))


def check_information(information: Sequence[float]) -> None:
    """Raise DataError unless looks are at growing information, by a thousandth at least."""
    before = 0.0
    for at in information:
        if not (math.isfinite(at) and at > before * (1.0 + LEAST_STEP)):
            raise DataError(f"information={at:.6g} after {before:.6g}: must grow by {LEAST_STEP:.1%} or more a look")
        before = at


def critical_values(information: Sequence[float], spend: Sequence[float] | Floats) -> Floats:
    """Compute symmetric bounds (K,) on |Z_k|.

    Each SIDE is first crossed at look k with probability spend[k].

    inf where next to nothing may be spent. Raises DataError for information that does not grow.
    """
    check_information(information)
    inside, bounds = _START, []
    for k, (at, target) in enumerate(zip(information, spend, strict=True)):
        bounds.append(math.inf if target < NEVER else _solve(inside, at, target))
        if k + 1 < len(information):
            inside = _step(inside, at, -bounds[-1], bounds[-1], 0.0, information[k + 1])
    return np.array(bounds)


def _solve(inside: _ContinuationMass, at: float, target: float) -> float:
    """Find the bound that is crossed with probability target: at most that of a single look."""
    highest = -float(special.ndtri(target)) + 1e-9

    def excess(bound: float) -> float:
        return math.log(max(_above(inside, at, bound, 0.0), 1e-300) / target)

    return float(optimize.brentq(excess, 0.0, highest, xtol=1e-12)) if excess(0.0) > 0 else 0.0


def crossing(information: Sequence[float], bounds: Sequence[float], drift: float = 0.0) -> tuple[Floats, Floats]:
    """Compute the probabilities (K,) of leaving first at each look, above and below, for symmetric bounds on |Z_k|."""
    check_information(information)
    inside, above, below = _START, [], []
    for k, (at, bound) in enumerate(zip(information, bounds, strict=True)):
        above.append(_above(inside, at, bound, drift))
        below.append(_below(inside, at, -bound, drift))
        if k + 1 < len(information):
            inside = _step(inside, at, -bound, bound, drift, information[k + 1])
    return np.array(above), np.array(below)


def stagewise(information: Sequence[float], bounds: Sequence[float], z: float, drift: float = 0.0) -> float:
    """Compute the probability of an outcome at least as high as z at the last look, by the order of stages.

    Higher are: leaving above at an earlier look, and the last look with Z ≥ z (Tsiatis, Rosner, Mehta 1984). bounds:
    (K − 1,) of the looks before the last.
    """
    check_information(information)
    inside, total = _START, 0.0
    for k, bound in enumerate(bounds):
        total += _above(inside, information[k], bound, drift)
        inside = _step(inside, information[k], -bound, bound, drift, information[k + 1])
    return total + _above(inside, information[-1], z, drift)


def _above(inside: _ContinuationMass, at: float, z: float, drift: float) -> float:
    if math.isinf(z):
        return 0.0 if z > 0 else float(inside.mass.sum())
    gap = at - inside.information
    return float(inside.mass @ special.ndtr((inside.nodes + drift * gap - z * math.sqrt(at)) / math.sqrt(gap)))


def _below(inside: _ContinuationMass, at: float, z: float, drift: float) -> float:
    return _above(_ContinuationMass(inside.information, -inside.nodes, inside.mass), at, -z, -drift)


def _step(
    inside: _ContinuationMass, at: float, low: float, high: float, drift: float, following: float
) -> _ContinuationMass:
    """Advance the mass that stays within low..high (of Z) to information `at`.

    Its nodes are fine enough for the next look too.
    """
    gap, root = at - inside.information, math.sqrt(at)
    start = max(low * root, drift * at - REACH * root)
    stop = min(high * root, drift * at + REACH * root)
    if not start < stop:
        return _ContinuationMass(at, np.zeros(1), np.zeros(1))
    width = PANEL * math.sqrt(min(gap, following - at))
    edges = np.linspace(start, stop, 1 + math.ceil((stop - start) / width))
    half = (edges[1] - edges[0]) / 2.0
    nodes = ((edges[:-1] + half)[:, None] + half * _NODES).ravel()
    weights = np.tile(half * _WEIGHTS, len(edges) - 1)
    steps = (nodes[:, None] - inside.nodes - drift * gap) / math.sqrt(gap)
    density = np.exp(-0.5 * steps**2) @ inside.mass / math.sqrt(2.0 * math.pi * gap)
    return _ContinuationMass(at, nodes, weights * density)
