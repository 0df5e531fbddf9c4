"""The batched update against the obvious one, the gradient against finite differences, the clips, the item step."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import EventKind, Interactions, interactions
from federation.learning.item_step import RoundSums, StepConfig, StepState, item_step, symmetric
from federation.learning.taste_update import Clips, Update, device_update
from federation.simulation.taste_sums import sum_updates
from recsys.model.fold_in import fold_in
from recsys.model.histories import Histories, merge_histories
from recsys.model.profile import ProfileConfig, event_targets, event_weights
from recsys.model.solver import Solver

NOW = 40 * 86_400_000_000
CONFIG = ProfileConfig(alpha=0.05, reg=0.02, half_life=10.0, kind_weights=(0.5, 0.7, 1.0, 1.0, 1.3))


def random_log(seed: int, n_users: int = 30, n_items: int = 25, n_events: int = 400) -> Interactions:
    rng = np.random.default_rng(seed)
    return interactions(
        rng.integers(0, n_users, n_events),
        rng.zipf(1.3, n_events) % n_items,
        rng.integers(0, NOW, n_events),
        n_users=n_users,
        n_items=n_items,
        kind=rng.integers(0, len(EventKind), n_events),
    )


def table(seed: int, n_items: int, dim: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.4, (n_items, dim)).astype(np.float32)


def one_by_one(
    V: npt.NDArray[np.float32], log: Interactions, devices: npt.NDArray[np.int64], clips: Clips, config: ProfileConfig
) -> list[Update]:
    """The reference: every device on its own, by the formulas as they stand in the design."""
    gram = (V.astype(np.float64).T @ V.astype(np.float64)).astype(np.float64)
    updates = []
    for device in devices:
        own = log.of(int(device))
        items, kind = log.item_idx[own], log.kind[own]
        weights, targets = event_weights(kind, log.time[own], NOW, config), event_targets(kind)
        profile = fold_in(V[items], gram, weights, targets, n_items=len(V), alpha=config.alpha, reg=config.reg)
        updates.append(device_update(V, profile, items, weights, targets, clips))
    return updates


def batched(
    V: npt.NDArray[np.float32], log: Interactions, devices: npt.NDArray[np.int64], clips: Clips, config: ProfileConfig
) -> RoundSums:
    solver = Solver(torch.from_numpy(V).to(torch.float64), alpha=config.alpha, reg=config.reg)
    return sum_updates(solver, merge_histories(log, config, NOW), devices, clips)


@pytest.mark.parametrize("dim", [4, 16, 48])  # histories shorter and longer than dim: both forms of the solve
@pytest.mark.parametrize("clips", [Clips(), Clips(rows=0.3, counts=1.0, second=0.05, first=0.2)])
@pytest.mark.parametrize("unit", ["days", "events"])
def test_batched_updates_equal_the_reference_to_1e_6(dim: int, clips: Clips, unit: str) -> None:
    log, V = random_log(1), table(2, 25, dim)
    config = replace(CONFIG, half_life_unit=unit)  # type: ignore[arg-type]
    devices = np.arange(log.n_users)
    found = batched(V, log, devices, clips, config)
    expected = one_by_one(V, log, devices, clips, config)
    for name in ("rows", "counts", "second", "first", "one"):
        total = np.sum([getattr(update, name) for update in expected], axis=0)
        np.testing.assert_allclose(getattr(found, name), total, atol=1e-6, err_msg=name)


def test_float32_batches_stay_within_1e_4_of_the_reference() -> None:
    log, V = random_log(3), table(4, 25, 16)
    solver = Solver(torch.from_numpy(V), alpha=CONFIG.alpha, reg=CONFIG.reg)
    devices = np.arange(log.n_users)
    found = sum_updates(solver, merge_histories(log, CONFIG, NOW), devices, Clips())
    expected = np.sum([update.rows for update in one_by_one(V, log, devices, Clips(), CONFIG)], axis=0)
    assert np.abs(found.rows - expected).max() <= 1e-4 * np.abs(expected).max()


@given(st.integers(0, 10_000), st.permutations(range(12)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_devices_changes_nothing(seed: int, order: list[int]) -> None:
    log, V = random_log(seed, n_users=12, n_events=120), table(seed, 25, 8)
    straight = batched(V, log, np.arange(12), Clips(rows=0.5), CONFIG)
    shuffled = batched(V, log, np.array(order), Clips(rows=0.5), CONFIG)
    for part in fields(RoundSums):
        np.testing.assert_allclose(getattr(straight, part.name), getattr(shuffled, part.name), atol=1e-9)


@given(st.integers(0, 10_000), st.integers(0, 11))
@settings(max_examples=25, deadline=None)
def test_changing_one_user_changes_only_the_rows_of_its_items(seed: int, user: int) -> None:
    log, V = random_log(seed, n_users=12, n_events=120), table(seed, 25, 8)
    changed = log.where(log.user_idx != user)
    before, after = (batched(V, one, np.arange(12), Clips(), CONFIG) for one in (log, changed))
    moved = np.flatnonzero(np.abs(before.rows - after.rows).max(axis=1) > 1e-12)
    assert set(moved) <= set(log.item_idx[log.of(user)].tolist())


def test_rows_and_second_moment_are_the_gradient_of_the_loss() -> None:
    """L = Σ_devices ½[Σ_j w_j (u·v_j − p_j)² + α Σ_i (u·v_i)²], u fixed: ∂L/∂V = rows + α·V·Σuuᵀ."""
    log, V = random_log(5, n_users=6, n_events=60), table(6, 25, 5)
    devices = np.arange(6)
    updates = one_by_one(V, log, devices, Clips(), CONFIG)

    def loss(W: npt.NDArray[np.float64]) -> float:
        total = 0.0
        for device, update in zip(devices, updates, strict=True):
            own = log.of(int(device))
            w = event_weights(log.kind[own], log.time[own], NOW, CONFIG).astype(np.float64)
            p = event_targets(log.kind[own])
            u = update.first
            total += 0.5 * float(w @ (W[log.item_idx[own]] @ u - p) ** 2 + CONFIG.alpha * ((W @ u) ** 2).sum())
        return total

    W = V.astype(np.float64)
    gradient = np.sum([u.rows for u in updates], axis=0) + CONFIG.alpha * W @ symmetric(
        np.sum([u.second for u in updates], axis=0), 5
    )
    for i, k in [(0, 0), (3, 2), (11, 4), (24, 1)]:
        step = np.zeros_like(W)
        step[i, k] = 1e-5
        assert gradient[i, k] == pytest.approx((loss(W + step) - loss(W - step)) / 2e-5, rel=1e-5, abs=1e-8)


def test_every_part_keeps_its_own_bound_and_one_is_never_scaled() -> None:
    clips = Clips(rows=0.1, counts=0.5, second=0.02, first=0.05)
    log, V = random_log(7), table(8, 25, 8)
    for update in one_by_one(V, log, np.arange(log.n_users), clips, CONFIG):
        for name in ("rows", "counts", "second", "first"):
            assert np.linalg.norm(getattr(update, name)) <= getattr(clips, name) * (1 + 1e-12)
        assert update.one in (0.0, 1.0)


def test_a_device_without_history_reports_zeros() -> None:
    empty = np.empty(0, dtype=np.int32)
    nothing = np.empty(0, dtype=np.float32)
    update = device_update(table(1, 5, 3), np.zeros(3, np.float32), empty, nothing, nothing, Clips(rows=1.0))
    assert update.one == 0.0
    assert not any(np.any(getattr(update, name)) for name in ("rows", "counts", "second", "first", "metrics"))


def test_blocks_cover_the_table_once() -> None:
    log, V = random_log(9), table(10, 25, 6)
    histories = merge_histories(log, CONFIG, NOW)
    solver = Solver(torch.from_numpy(V).to(torch.float64), alpha=CONFIG.alpha, reg=CONFIG.reg)
    devices = np.arange(log.n_users)
    whole = sum_updates(solver, histories, devices, Clips())
    parts = [
        sum_updates(solver, histories, devices, Clips(), blocks=4, device_block=np.full(len(devices), block, np.int32))
        for block in range(4)
    ]
    np.testing.assert_allclose(np.sum([part.rows for part in parts], axis=0), whole.rows, atol=1e-9)
    np.testing.assert_allclose(np.sum([part.counts for part in parts], axis=0), whole.counts, atol=1e-9)
    assert (np.sum([part.reports > 0 for part in parts], axis=0) == 1).all()


def test_a_device_of_a_block_reports_what_the_reference_does() -> None:
    log, V = random_log(11), table(12, 25, 6)
    histories = merge_histories(log, CONFIG, NOW)
    solver = Solver(torch.from_numpy(V).to(torch.float64), alpha=CONFIG.alpha, reg=CONFIG.reg)
    own = log.of(3)
    weights = event_weights(log.kind[own], log.time[own], NOW, CONFIG)
    targets = event_targets(log.kind[own])
    gram = V.astype(np.float64).T @ V
    profile = fold_in(V[log.item_idx[own]], gram, weights, targets, n_items=25, alpha=CONFIG.alpha, reg=CONFIG.reg)
    clips = Clips(rows=0.2, counts=0.4)
    expected = device_update(V, profile, log.item_idx[own], weights, targets, clips, block=range(7, 14))
    found = sum_updates(solver, histories, np.array([3]), clips, blocks=4, device_block=np.array([1], dtype=np.int32))
    np.testing.assert_allclose(found.rows[7:14], expected.rows, atol=1e-6)
    np.testing.assert_allclose(found.counts[7:14], expected.counts, atol=1e-6)
    assert not found.rows[:7].any()
    assert not found.rows[14:].any()


def sums_of(seed: int, n_items: int = 25, dim: int = 6) -> tuple[StepState, RoundSums]:
    log, state = random_log(seed), StepState.start(n_items, dim, seed)
    return state, batched(state.item_embeddings, log, np.arange(log.n_users), Clips(), CONFIG)


def test_the_item_step_is_the_formula_solved_row_by_row() -> None:
    state, sums = sums_of(13)
    config = StepConfig(trust_radius=np.inf, eigenvalue_floor=0.0)
    found = item_step(state, sums, config, alpha=0.05, reg=0.02, step=0.5).item_embeddings
    V = state.item_embeddings.astype(np.float64)
    A = symmetric(sums.second, 6) / sums.one
    for i in range(25):
        g_i, c_i = sums.rows[i] / sums.reports[i], sums.counts[i] / sums.reports[i]
        gradient = g_i + 0.05 * A @ V[i] + 0.02 * (c_i + 0.05) * V[i]
        H = (0.05 + c_i) * A + 0.02 * (c_i + 0.05) * np.eye(6)
        np.testing.assert_allclose(found[i], V[i] - 0.5 * np.linalg.solve(H, gradient), rtol=1e-4, atol=1e-6)


def test_no_row_moves_further_than_the_trust_radius_even_when_noise_makes_the_moment_indefinite() -> None:
    state, sums = sums_of(14)
    rng = np.random.default_rng(0)
    noisy = replace(
        sums,
        rows=sums.rows + rng.normal(0, 50, sums.rows.shape),
        counts=sums.counts + rng.normal(0, 50, sums.counts.shape),
        second=sums.second + rng.normal(0, 50, sums.second.shape),
    )
    after = item_step(state, noisy, StepConfig(trust_radius=0.5), alpha=0.05, reg=0.02, step=0.5)
    moved = np.linalg.norm(after.item_embeddings - state.item_embeddings, axis=1)
    assert moved.max() <= 0.5 * np.linalg.norm(state.item_embeddings, axis=1).mean() * (1 + 1e-5)
    assert np.isfinite(after.item_embeddings).all()


def test_rows_of_a_block_without_reports_stay_where_they_are() -> None:
    state, sums = sums_of(15)
    reports = sums.reports.copy()
    reports[:10] = 0.0
    after = item_step(state, replace(sums, reports=reports), StepConfig(), alpha=0.05, reg=0.02, step=0.5)
    np.testing.assert_array_equal(after.item_embeddings[:10], state.item_embeddings[:10])
    assert (after.item_embeddings[10:] != state.item_embeddings[10:]).any(axis=1).all()


def test_a_round_without_reports_changes_nothing_but_the_round() -> None:
    state = StepState.start(25, 6, 0)
    after = item_step(state, RoundSums.zeros(25, 6), StepConfig(), alpha=0.05, reg=0.02, step=0.5)
    assert after.steps == 1
    np.testing.assert_array_equal(after.item_embeddings, state.item_embeddings)


def test_merging_adds_up_the_events_of_an_item() -> None:
    log = interactions([0, 0, 0], [4, 2, 4], [0, 1, 2], n_users=2, n_items=5, kind=[0, 0, 4])
    config = replace(CONFIG, half_life=np.inf, floor=1.0)
    merged: Histories = merge_histories(log, config, NOW)
    assert merged.item_idx.tolist() == [2, 4]
    np.testing.assert_allclose(merged.weight, [0.5, 0.5 + 1.3], rtol=1e-6)
    np.testing.assert_allclose(merged.target, [1.0, (0.5 - 1.3) / 1.8], rtol=1e-6)
    assert merged.counts.tolist() == [2, 0]
