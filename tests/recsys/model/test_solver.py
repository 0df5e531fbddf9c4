"""The batched solve against the closed form written out in float64, and against the device's own fold_in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.interactions import EventKind, Interactions, interactions
from recsys.model.fold_in import fold_in
from recsys.model.histories import Histories, batches, merge_histories
from recsys.model.profile import ProfileConfig, event_targets, event_weights
from recsys.model.solver import Solver

NOW = 40 * 86_400_000_000
CONFIG = ProfileConfig(alpha=0.05, reg=0.02, half_life=10.0, kind_weights=(0.5, 0.7, 1.0, 1.0, 1.3))


def random_log(seed: int, n_users: int = 20, n_items: int = 60, n_events: int = 500) -> Interactions:
    """Histories of very different lengths, some empty: both forms of the solve are met."""
    rng = np.random.default_rng(seed)
    return interactions(
        (rng.random(n_events) ** 2.5 * n_users).astype(int),
        rng.integers(0, n_items, n_events),
        rng.integers(0, NOW, n_events),
        n_users=n_users + 2,
        n_items=n_items,
        kind=rng.integers(0, len(EventKind), n_events),
    )


def test_the_logs_of_these_tests_have_histories_shorter_and_longer_than_dim():
    counts = merge_histories(random_log(1), CONFIG, NOW).counts
    assert counts.min() == 0
    assert (counts[counts > 0] < 16).any()
    assert (counts > 40).any()


def rows(seed: int, n_items: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.4, (n_items, dim)).astype(np.float32)


def written_out(V: np.ndarray, histories: Histories, device: int, alpha: float, reg: float) -> np.ndarray:
    """(α·G + Σ w v vᵀ + λ(Σw + α·n)·I)⁻¹ Σ w p v, in float64."""
    own = slice(histories.offsets[device], histories.offsets[device + 1])
    V = V.astype(np.float64)
    X, w = V[histories.item_idx[own]], histories.weight[own].astype(np.float64)
    A = alpha * V.T @ V + (X * w[:, None]).T @ X + reg * (w.sum() + alpha * len(V)) * np.eye(V.shape[1])
    return np.linalg.solve(A, X.T @ (w * histories.target[own]))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 4, 16, 40]), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_in_float64_the_batched_solve_is_the_closed_form_to_1e_9(seed, dim, alpha, reg):
    log, V = random_log(seed), rows(seed, 60, dim)
    histories = merge_histories(log, CONFIG, NOW)
    solver = Solver(torch.from_numpy(V).double(), alpha=alpha, reg=reg)
    seen = 0
    for batch in batches(histories, np.arange(histories.n_devices), torch.float64, cells=200):
        rotated, found = solver.solve(batch)
        profiles = (rotated @ solver.rotation.T).numpy()
        for row, device in enumerate(batch.device):
            expected = written_out(V, histories, int(device), alpha, reg)
            np.testing.assert_allclose(profiles[row], expected, rtol=0, atol=1e-9)
            items = batch.item_idx[row].numpy()
            np.testing.assert_allclose(found[row].numpy(), V[items].astype(np.float64) @ expected, rtol=0, atol=1e-9)
            seen += 1
    assert seen == int((histories.counts > 0).sum())


@pytest.mark.parametrize("dim", [4, 16, 40])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_profiles_of_a_log_are_what_each_device_folds_in(dim, dtype, tolerance):
    """fold_in answers in float32, and merging rounds weights to float32; float32 solves lose one more digit."""
    log, V = random_log(1), rows(2, 60, dim)
    gram = (V.astype(np.float64).T @ V.astype(np.float64)).astype(np.float32)
    solver = Solver(torch.from_numpy(V).to(dtype), alpha=CONFIG.alpha, reg=CONFIG.reg)
    found = solver.profiles(merge_histories(log, CONFIG, NOW), np.arange(log.n_users))
    for user in range(log.n_users):
        own = log.of(user)
        alone = fold_in(
            V[log.item_idx[own]],
            gram,
            event_weights(log.kind[own], log.time[own], NOW, CONFIG),
            event_targets(log.kind[own]),
            n_items=60,
            alpha=CONFIG.alpha,
            reg=CONFIG.reg,
        )
        np.testing.assert_allclose(found[user], alone, rtol=0, atol=tolerance)


def test_devices_are_answered_in_the_order_asked_and_twice_when_asked_twice():
    log, V = random_log(3), rows(4, 60, 8)
    solver = Solver(torch.from_numpy(V), alpha=0.1, reg=0.1)
    histories = merge_histories(log, CONFIG, NOW)
    every = solver.profiles(histories, np.arange(log.n_users))
    asked = np.array([5, 0, 5, 21])
    np.testing.assert_allclose(solver.profiles(histories, asked), every[asked], atol=1e-6)


def test_a_device_without_history_has_the_zero_profile():
    V = rows(0, 5, 3)
    histories = merge_histories(interactions([1], [2], [0], n_users=3, n_items=5), CONFIG, NOW)
    found = Solver(torch.from_numpy(V), alpha=0.1, reg=0.1).profiles(histories, np.arange(3))
    assert found[[0, 2]].tolist() == [[0.0] * 3] * 2
    assert np.abs(found[1]).max() > 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 19))
def test_a_device_does_not_depend_on_who_else_is_in_the_batch(seed, user):
    log, V = random_log(seed), rows(seed, 60, 12)
    solver = Solver(torch.from_numpy(V).double(), alpha=0.1, reg=0.05)
    together = solver.profiles(merge_histories(log, CONFIG, NOW), np.arange(log.n_users))[user]
    alone = solver.profiles(merge_histories(log.users(np.array([user])), CONFIG, NOW), np.array([0]))[0]
    np.testing.assert_allclose(together, alone, atol=1e-7)


def test_a_table_of_dependent_columns_is_solved_too():
    V = np.repeat(rows(5, 30, 4), 2, axis=1)  # rank 4 in 8 columns: G has zero eigenvalues, rounded below zero
    log = random_log(6, n_items=30)
    histories = merge_histories(log, CONFIG, NOW)
    found = Solver(torch.from_numpy(V), alpha=0.1, reg=0.01).profiles(histories, np.arange(log.n_users))
    for device in range(log.n_users):
        np.testing.assert_allclose(found[device], written_out(V, histories, device, 0.1, 0.01), atol=1e-5)
