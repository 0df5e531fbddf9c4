"""The item step beside plain loops over items, for every option and with sums as noise makes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from federation.learning.item_step import GUARDED, RoundSums, StepConfig, StepState, item_step, shorten_rows, symmetric
from federation.learning.taste_update import METRICS

N, DIM = 9, 3
REPORTS = np.array([5.0, 4.0, 0.0, 0.5, -2.0, 5.0, 3.0, 6.0, 5.0])
"""By item; noise makes some nothing, less than one, or negative."""


def a_round(seed: int) -> RoundSums:
    rng = np.random.default_rng(seed)
    profiles = rng.normal(0, 1, (12, DIM))
    counts = rng.uniform(0, 8, N)
    counts[1] = -3.0
    return RoundSums(
        rows=rng.normal(0, 4, (N, DIM)),
        counts=counts,
        second=(profiles.T @ profiles - 6 * np.eye(DIM))[np.triu_indices(DIM)],  # indefinite, as noise makes it
        first=profiles.sum(axis=0),
        reports=REPORTS,
        one=12.0,
        metrics=np.zeros(len(METRICS)),
    )


def capped(vector: np.ndarray, limit: float) -> np.ndarray:
    length = float(np.sqrt((vector**2).sum()))
    return vector * (limit / length) if length > limit else vector


def by_loops(
    state: StepState, sums: RoundSums, config: StepConfig, alpha: float, reg: float, step: float
) -> dict[str, object]:
    """The formulas of the design, an item at a time."""
    m, forget = config.memory, config.momentum
    V = state.item_embeddings.astype(np.float64)
    A_round = symmetric(sums.second / sums.one, DIM)
    mass, A_sum = (1 - m) * state.mass + m, (1 - m) * state.second + m * A_round
    values, Q = np.linalg.eigh(A_sum / mass)
    A = Q @ np.diag([max(value, config.eigenvalue_floor * values[-1], 0.0) for value in values]) @ Q.T
    mean_norm = np.mean([np.linalg.norm(v) for v in V])
    after = {
        "item_embeddings": V.copy(),
        "rows": state.rows.copy(),
        "counts": state.counts.copy(),
        "row_mass": state.row_mass.copy(),
        "row_momentum_mass": state.row_momentum_mass.copy(),
    }
    for i in range(N):
        if sums.reports[i] <= 0:
            continue
        n = max(sums.reports[i], 1.0)
        believed = min(sums.counts[i] / n, config.count_limit)
        positive = sums.rows[i] / n
        if config.row_bound < np.inf:
            positive = capped(positive, config.row_bound * max(believed, 0.0)) if believed > 0 else 0 * positive
        gradient = positive + alpha * A_round @ V[i] + reg * (believed + alpha) * V[i]
        after["counts"][i] = (1 - m) * state.counts[i] + m * max(believed, 0.0)
        after["row_mass"][i] = (1 - m) * state.row_mass[i] + m
        after["rows"][i] = forget * state.rows[i] + (1 - forget) * gradient
        after["row_momentum_mass"][i] = forget * state.row_momentum_mass[i] + (1 - forget)
        c = after["counts"][i] / after["row_mass"][i]
        H = (alpha + c) * A + reg * (c + alpha) * np.eye(DIM)
        move = -step * np.linalg.solve(H, after["rows"][i] / after["row_momentum_mass"][i])
        if c >= config.count_floor:
            after["item_embeddings"][i] = capped(V[i] + capped(move, config.trust_radius * mean_norm), config.row_limit)
    return {
        **after,
        "second": A_sum,
        "first": (1 - m) * state.first + m * sums.first / sums.one,
        "mass": mass,
        "steps": state.steps + 1,
    }


CONFIGS = {
    "default": StepConfig(),
    "guarded": GUARDED,
    "short": StepConfig(trust_radius=0.05, row_limit=0.3),
    "bounded": StepConfig(row_bound=0.4, count_limit=0.6, trust_radius=50.0, row_limit=50.0),
    "floored": StepConfig(count_floor=0.8, eigenvalue_floor=0.2, momentum=0.5, memory=0.4, trust_radius=50.0),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_rounds_are_the_formulas_an_item_at_a_time(name: str) -> None:
    config, state = CONFIGS[name], StepState.start(N, DIM, 3)
    for seed in range(3):
        sums = a_round(seed)
        expected = by_loops(state, sums, config, 0.07, 0.03, 0.4)
        state = item_step(state, sums, config, alpha=0.07, reg=0.03, step=0.4)
        for field, value in expected.items():
            np.testing.assert_allclose(getattr(state, field), value, rtol=2e-6, atol=2e-7, err_msg=f"{field} {seed}")
    assert state.steps == 3
    moved = (state.item_embeddings != StepState.start(N, DIM, 3).item_embeddings).any(axis=1)
    assert not moved[REPORTS <= 0].any()
    assert moved[0]
    np.testing.assert_allclose(state.mean_profile, state.first / state.mass, rtol=1e-6)


def test_a_round_without_reports_moves_nothing_and_is_a_step() -> None:
    state = StepState.start(N, DIM, 0)
    assert (state.steps, state.mass) == (0, 0.0)
    np.testing.assert_array_equal(state.mean_profile, np.zeros(DIM))
    for one in (0.0, -1.0):
        after = item_step(state, replace(a_round(0), one=one), StepConfig(), alpha=0.1, reg=0.1, step=0.5)
        assert after.steps == 1
        assert after.item_embeddings is state.item_embeddings


def test_half_a_report_is_enough_for_a_round() -> None:
    """Noise moves the number of reports; a step is taken for whatever is above nothing."""
    state, sums = StepState.start(N, DIM, 0), replace(a_round(0), one=0.5)
    after = item_step(state, sums, StepConfig(), alpha=0.1, reg=0.1, step=0.5)
    assert (after.item_embeddings != state.item_embeddings).any()


def test_the_start_is_normal_with_the_stated_deviation_and_its_seed() -> None:
    """N(0, 0.1² / dim): rows of norm 0.1. Of 60,000 draws the deviation is within 1 %: 3.5 of its own deviations."""
    table = StepState.start(2_000, 30, 7).item_embeddings
    assert table.dtype == np.float32
    assert np.std(table) == pytest.approx(0.1 / np.sqrt(30), rel=0.01)
    assert abs(np.mean(table)) < 4 * 0.1 / np.sqrt(30 * 60_000)
    expected = np.random.default_rng([7, 0]).normal(0.0, 0.1 / np.sqrt(30), (2_000, 30)).astype(np.float32)
    np.testing.assert_array_equal(table, expected)


def test_the_step_is_annealed_geometrically_from_the_first_to_the_last_round() -> None:
    """0.5 · (1/10)^(r/2) for r = 0, 1, 2: 0.5, 0.5/√10, 0.05."""
    config = StepConfig(step=0.5, final_step=0.05)
    assert [config.step_at(r, 3) for r in range(3)] == pytest.approx([0.5, 0.5 / np.sqrt(10), 0.05])
    assert config.step_at(0, 1) == 0.5


def test_rows_are_shortened_to_their_limits_and_no_further() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(shorten_rows(rows, 1.0), [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(shorten_rows(rows, np.array([10.0, 0.1, 0.0])), [[3.0, 4.0], [0.06, 0.08], [0.0, 0.0]])
    np.testing.assert_array_equal(shorten_rows(rows, np.inf), rows)


def test_sums_add_up_part_by_part() -> None:
    one, other = a_round(0), a_round(1)
    both = one + other
    for field in ("rows", "counts", "second", "first", "reports", "one", "metrics"):
        np.testing.assert_array_equal(getattr(both, field), getattr(one, field) + getattr(other, field))
    nothing = RoundSums.zeros(N, DIM)
    assert nothing.one == 0.0
    for field in ("rows", "counts", "second", "first", "reports", "metrics"):
        assert getattr(nothing, field).shape == getattr(one, field).shape
        np.testing.assert_array_equal(getattr(nothing + one, field), getattr(one, field))


def test_a_symmetric_matrix_is_read_row_by_row() -> None:
    np.testing.assert_array_equal(symmetric(np.arange(1.0, 7.0), 3), [[1, 2, 3], [2, 4, 5], [3, 5, 6]])
