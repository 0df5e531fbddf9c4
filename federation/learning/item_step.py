"""The item step: how the server moves the item embeddings, from a round's sums only.

    grad_i = ḡ_i + α·v_i·Ā + λ(c̄_i + α)·v_i     H_i = (α + c̄_i)·Ā + λ(c̄_i + α)·I     v_i ← v_i − η·H_i⁻¹·grad_i

ḡ and c̄ are means over the reports of an item's block, Ā the mean second moment over all reports. H_i has the
eigenvectors of Ā for every item, so one eigendecomposition a round inverts them all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from federation.learning.taste_update import METRICS

Vector = npt.NDArray[np.float64]
_Number = TypeVar("_Number", Vector, float)


@dataclass(frozen=True)
class RoundSums:
    """Sums over a round's reports of each part of an Update; all float64.

    rows: (n_items, dim), counts: (n_items,), second: (dim·(dim + 1) / 2,), first: (dim,), reports: (n_items,) the sum
    of `one` over each item's block, one: its sum over all blocks, metrics: (len(METRICS),).
    """

    rows: Vector
    counts: Vector
    second: Vector
    first: Vector
    reports: Vector
    one: float
    metrics: Vector

    def __add__(self, other: RoundSums) -> RoundSums:
        return RoundSums(
            self.rows + other.rows,
            self.counts + other.counts,
            self.second + other.second,
            self.first + other.first,
            self.reports + other.reports,
            self.one + other.one,
            self.metrics + other.metrics,
        )

    @staticmethod
    def zeros(n_items: int, dim: int) -> RoundSums:
        """Start from the sum of no reports."""
        return RoundSums(
            np.zeros((n_items, dim)),
            np.zeros(n_items),
            np.zeros(dim * (dim + 1) // 2),
            np.zeros(dim),
            np.zeros(n_items),
            0.0,
            np.zeros(len(METRICS)),
        )


@dataclass(frozen=True)
class StepConfig:
    """Settings of how far an item row moves in a round.

    step, final_step: η of the first and of the last round, annealed geometrically in between.
    momentum: of the gradient, in [0, 1); memory: share of a round in the running means of Ā and c̄, in (0, 1].
    trust_radius: the largest move of one row in a round, in units of the table's mean row norm.
    eigenvalue_floor: eigenvalues of Ā below this share of the largest are raised to it (noise makes them negative).
    row_limit: the largest norm of a row, in the table's own unit (scores aim at 1; trained rows have norms up to 3).
        Without it much noise doubles the table round after round, and one row can be made to fit everybody.

    Against devices that lie (docs/poisoning.md), off by default:

    row_bound: the largest norm of a row's gradient per unit of its count. An honest owner of weight w adds
        w·(u·v − p)·u to the row and w to the count, so their ratio stays near the norm of a profile.
    count_limit: the largest mean count per report that an item is believed to have in a round: liars pull a row no
        harder than an item that popular would.
    count_floor: rows whose running mean count per report is below it stay where they are.
    """

    step: float = 0.5
    final_step: float = 0.05
    momentum: float = 0.8
    memory: float = 0.15
    trust_radius: float = 1.0
    eigenvalue_floor: float = 1e-6
    row_limit: float = 8.0
    row_bound: float = np.inf
    count_limit: float = np.inf
    count_floor: float = 0.0

    def step_at(self, round_: int, rounds: int) -> float:
        """Compute η of round 0 … rounds − 1."""
        return float(self.step * (self.final_step / self.step) ** (round_ / max(rounds - 1, 1)))


GUARDED = StepConfig(trust_radius=0.2, row_limit=3.0, row_bound=0.2, count_limit=0.05, count_floor=0.005)
"""For clipped rounds with devices that nobody vouches for. What it withstands, what it costs: docs/poisoning.md."""


@dataclass(frozen=True)
class StepState:
    """The state that the server carries from round to round.

    It is running means without their bias correction, and the table.

    item_embeddings: (n_items, dim) float32; rows, counts, second, first: running means, float64; steps: rounds done.
    row_mass, row_momentum_mass: (n_items,) weight in each row's running means of counts and of rows, mass that in the
        others; dividing by them corrects the bias towards the empty start.
    """

    item_embeddings: npt.NDArray[np.float32]
    rows: Vector
    counts: Vector
    second: Vector
    first: Vector
    row_mass: Vector
    row_momentum_mass: Vector
    mass: float
    steps: int

    @staticmethod
    def start(n_items: int, dim: int, seed: int) -> StepState:
        """Draw V ~ N(0, 0.1² / dim) and empty running means."""
        V = np.random.default_rng([seed, 0]).normal(0.0, 0.1 / np.sqrt(dim), (n_items, dim))
        return StepState(
            item_embeddings=V.astype(np.float32),
            rows=np.zeros((n_items, dim)),
            counts=np.zeros(n_items),
            second=np.zeros((dim, dim)),
            first=np.zeros(dim),
            row_mass=np.zeros(n_items),
            row_momentum_mass=np.zeros(n_items),
            mass=0.0,
            steps=0,
        )

    @property
    def mean_profile(self) -> npt.NDArray[np.float32]:
        """The population's mean profile, (dim,) float32."""
        return (self.first / self.mass if self.mass else self.first).astype(np.float32)


def item_step(
    state: StepState, sums: RoundSums, config: StepConfig, *, alpha: float, reg: float, step: float
) -> StepState:
    """Step the state by one round.

    alpha, reg: as in the profile's fold-in; step: η of this round.

    A row whose block got no report in the round, or whose count is below the floor, stays where it is.
    """
    if sums.one <= 0:
        return replace(state, steps=state.steps + 1)
    V = state.item_embeddings.astype(np.float64)
    dim = V.shape[1]
    reported = sums.reports > 0
    share = np.where(reported, 1.0 / np.maximum(sums.reports, 1.0), 0.0)

    second = symmetric(sums.second / sums.one, dim)
    mass = _running(state.mass, 1.0, config.memory)
    A_sum = _running(state.second, second, config.memory)
    first = _running(state.first, sums.first / sums.one, config.memory)
    believed = np.minimum(sums.counts * share, config.count_limit)
    counts = np.where(reported, _running(state.counts, np.maximum(believed, 0.0), config.memory), state.counts)
    ones = np.ones(len(V))
    row_mass = np.where(reported, _running(state.row_mass, ones, config.memory), state.row_mass)
    A = A_sum / mass
    c = np.divide(counts, row_mass, out=np.zeros_like(counts), where=row_mass > 0)

    positives = sums.rows * share[:, None]
    if np.isfinite(config.row_bound):
        positives = shorten_rows(positives, config.row_bound * np.maximum(believed, 0.0))
    gradient = positives + alpha * (V @ second) + (reg * (believed + alpha))[:, None] * V
    rows = np.where(reported[:, None], _running(state.rows, gradient, 1.0 - config.momentum), state.rows)
    momentum_mass = np.where(
        reported, _running(state.row_momentum_mass, ones, 1.0 - config.momentum), state.row_momentum_mass
    )
    g = np.divide(rows, momentum_mass[:, None], out=np.zeros_like(rows), where=momentum_mass[:, None] > 0)

    eigenvalues, Q = np.linalg.eigh(A)
    eigenvalues = np.maximum(eigenvalues, max(config.eigenvalue_floor * eigenvalues[-1], 0.0))
    curvature = (alpha + c)[:, None] * eigenvalues + (reg * (c + alpha))[:, None]
    move = -step * ((g @ Q) / curvature) @ Q.T
    move = shorten_rows(move, config.trust_radius * max(float(np.linalg.norm(V, axis=1).mean()), 1e-12))
    moves = reported & (c >= config.count_floor)
    moved = np.where(moves[:, None], shorten_rows(V + move, config.row_limit), V)
    return StepState(
        item_embeddings=moved.astype(np.float32),
        rows=rows,
        counts=counts,
        second=A_sum,
        first=first,
        row_mass=row_mass,
        row_momentum_mass=momentum_mass,
        mass=mass,
        steps=state.steps + 1,
    )


def shorten_rows(rows: Vector, limit: float | Vector) -> Vector:
    """Scale rows (n, dim) down to norms of at most limit, one number or (n,); inf leaves them as they are."""
    length = np.linalg.norm(rows, axis=1)
    bounded: Vector = rows * np.minimum(1.0, np.where(length > 0, limit / np.maximum(length, 1e-300), 1.0))[:, None]
    return bounded


def symmetric(triangle: Vector, dim: int) -> Vector:
    """Rebuild a symmetric matrix (dim, dim) from its upper triangle, row by row."""
    full = np.zeros((dim, dim))
    full[np.triu_indices(dim)] = triangle
    return full + np.triu(full, 1).T


def _running(mean: _Number, value: _Number, share: float) -> _Number:
    return (1.0 - share) * mean + share * value
