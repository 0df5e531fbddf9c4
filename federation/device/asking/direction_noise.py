"""Noise for mode noised, drawn on the device: whatever the service does with the message, this is the protection.

The profile's direction in the leading directions of the public item table is replaced by a random one near it
(PrivUnit). What is guaranteed, exactly: for ANY two profiles u, u′ and any set S of messages

    P[message ∈ S | u] ≤ e^ε · P[message ∈ S | u′]

pure local differential privacy, its adjacency "any other profile in place of this one"; not a guarantee per unit of
distance (metric privacy would give 2ε/2 there for the same words), and it holds whatever else the service knows.
The mechanism is that of Bhowmick, Duchi, Freudiger, Kapoor, Rogers 2018, section 4.1 (a cap of the sphere around the
true direction, with probability p, else its complement), with p and the cap chosen jointly for the exact ε of the two
densities rather than by their bounds (Asi, Feldman, Talwar 2022): the largest mean alignment at this ε.

Independent messages add up (basic composition): n of them cost Σ ε; federation/device/noise_ledger.py counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, betaln, ndtri

from data.errors import ModelError
from federation.private_sum.randomness import RandomBytes, words64

MAX_DIRECTIONS = 64
"""Leading directions in use, at most. Measured at ε 8 on 100,000 items (docs/modes.md): 64 of 64 find .83 of the
true list among 2,000 candidates and 16 find .67; two messages of a shopper are linked no more often."""
MIN_EPSILON, MAX_EPSILON = 0.01, 32.0
"""Above the larger one nothing is hidden, and 53 random bits could not tell the chances apart: below it they keep the
stated ε to 0.01."""
GRID = 1.0 / 4096.0
"""Coordinates are rounded to this before they are turned back: the low bits of floating-point draws tell their input
(Mironov 2012), a rounded draw has none."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cap:
    """PrivUnit for one ε and r: with probability p the message u′ has u·u′ ≥ gamma, else less.

    rest: 1 − p, to full precision. mass: share of the sphere in the cap. alignment: mean of u·u′.
    """

    gamma: float
    p: float
    rest: float
    mass: float
    alignment: float


@lru_cache(maxsize=64)
def best_cap(epsilon: float, r: int) -> Cap:
    """Find the cap of largest alignment at exactly ε on the sphere of r coordinates.

    The density is p/mass in the cap and (1 − p)/(1 − mass) outside, all other things equal, so their ratio is the
    whole privacy loss: p/(1 − p) = e^ε · mass/(1 − mass). Raises ModelError for r < 2 or ε outside 0.01..32.
    """
    if not MIN_EPSILON <= epsilon <= MAX_EPSILON:
        raise ModelError(f"epsilon={epsilon}: must be {MIN_EPSILON:g}..{MAX_EPSILON:g}")
    if r < 2:
        raise ModelError(f"directions={r}: must be 2 or more; a table of dim 1 has nothing to hide in")
    a = (r - 1) / 2.0
    gamma = np.linspace(0.0, 0.999, 2000)
    mass = betainc(a, a, (1.0 - gamma) / 2.0)  # (1 + u·u′)/2 of a uniform u′ is Beta(a, a)
    gamma, mass = gamma[mass > 1e-280], mass[mass > 1e-280]
    odds = np.exp(epsilon + np.log(mass) - np.log1p(-mass))
    p, rest = odds / (1.0 + odds), 1.0 / (1.0 + odds)
    tail = np.exp(a * np.log1p(-(gamma**2)) - np.log(2.0 * a) - betaln(0.5, a))  # E[u·u′ ; u·u′ ≥ gamma], uniform u′
    alignment = tail * (p / mass - rest / (1.0 - mass))
    best = int(alignment.argmax())
    return Cap(float(gamma[best]), float(p[best]), float(rest[best]), float(mass[best]), float(alignment[best]))


def leading_directions(gram: npt.NDArray[np.float32], r: int = MAX_DIRECTIONS) -> Doubles:
    """Find the leading directions, (dim, r′) float64 orthonormal columns.

    They are the eigenvectors of largest eigenvalue of G = VᵀV, r′ = min(r, dim).
    """
    _, vectors = np.linalg.eigh(gram.astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, : min(r, len(gram))])


def noised_direction(
    vector: npt.NDArray[np.float32], directions: Doubles, epsilon: float, random: RandomBytes
) -> npt.NDArray[np.float32]:
    """Draw the message for one profile (dim,): a direction (dim,) float32 of length about 1.

    directions: of `leading_directions`. random: the operating system's cryptographic stream on a device. A profile that
    has nothing in these directions sends one drawn uniformly, which is within ε of every other profile's message.
    """
    inside = vector.astype(np.float64) @ directions
    length = float(np.linalg.norm(inside))
    r = directions.shape[1]
    true = inside[None] / length if length > 0 else _uniform_directions(1, r, random)
    drawn = priv_unit(true, epsilon, random)[0]
    return np.asarray(directions @ (np.round(drawn / GRID) * GRID), dtype=np.float32)


def priv_unit(true: Doubles, epsilon: float, random: RandomBytes) -> Doubles:
    """Draw a random direction for each true one: rows (n, r) of length 1 in, rows (n, r) of length 1 out."""
    n, r = true.shape
    cap, a = best_cap(float(epsilon), r), (r - 1) / 2.0
    inside, share = _uniforms(n, random) >= cap.rest, _uniforms(n, random)
    # By inverse distribution: the upper tail as the mirrored lower one, so that a tiny mass keeps its digits.
    along = np.where(
        inside, 1.0 - 2.0 * betaincinv(a, a, share * cap.mass), 2.0 * betaincinv(a, a, share * (1.0 - cap.mass)) - 1.0
    )
    across = _normals(n, r, random)
    across -= (across * true).sum(axis=1, keepdims=True) * true
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
    return np.asarray(along[:, None] * true + np.sqrt(1.0 - along[:, None] ** 2) * across)


def _uniform_directions(n: int, r: int, random: RandomBytes) -> Doubles:
    drawn = _normals(n, r, random)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _normals(n: int, r: int, random: RandomBytes) -> Doubles:
    return np.asarray(ndtri(_uniforms(n * r, random)).reshape(n, r))


def _uniforms(n: int, random: RandomBytes) -> Doubles:
    """Draw n numbers in (0, 1), never 0 or 1, from 53 bits each."""
    return np.asarray(((words64(random, n) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
