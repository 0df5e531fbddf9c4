import numpy as np
import pytest
import torch
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from data.errors import ModelError
from data.interactions import interactions
from recsys.evaluation import ials
from recsys.evaluation.baselines import item_matrix
from recsys.evaluation.ials import fit_ials
from tests.recsys.logs import tastes_log

ALPHA, REG, DIM = 0.05, 0.02, 6


def start(n_items, dim, seed=0):
    return (torch.randn(n_items, dim, generator=torch.Generator().manual_seed(seed)) * (0.1 / dim**0.5)).numpy()


def dense(log, weights):
    W = np.zeros((log.n_users, log.n_items))
    np.add.at(W, (log.user_idx, log.item_idx), weights)
    return W


def loop_step(W, other, n_other):
    """The formula of the docstring, one row after the other, in float64."""
    gram, solved = other.T @ other, np.zeros((len(W), other.shape[1]))
    for row, w in enumerate(W):
        A = ALPHA * gram + REG * (w.sum() + ALPHA * n_other) * np.eye(other.shape[1])
        for j in np.flatnonzero(w):
            A += w[j] * np.outer(other[j], other[j])
        solved[row] = np.linalg.solve(A, w @ other)
    return solved


def some_log():
    log = tastes_log(0, n_users=70, n_items=50, events=15)
    keep = log.user_idx % 7 > 0  # ten users have no events
    log = log.where(keep)
    weights = np.random.default_rng(1).uniform(0.2, 3.0, log.n_events).astype(np.float32)
    weights[log.item_idx == 3] = 0  # item 3 has no weight
    return log, weights


def fit(log, weights, n_iter, **settings):
    return fit_ials(log, weights, **{"dim": DIM, "alpha": ALPHA, "reg": REG, "n_iter": n_iter} | settings)


@pytest.mark.parametrize("at_once", [1, 500, 8_000_000])
def test_batched_alternations_equal_the_plain_loop(monkeypatch, at_once):
    monkeypatch.setattr(ials, "FLOATS_AT_ONCE", at_once)
    log, weights = some_log()
    W = dense(log, weights)
    V = start(50, DIM).astype(np.float64)
    for _ in range(3):
        U = loop_step(W, V, 50)
        V = loop_step(W.T, U, int((W.sum(1) > 0).sum()))
    np.testing.assert_allclose(fit(log, weights, 3), V, atol=2e-5)


def test_equal_to_implicit_where_the_objectives_coincide():
    # `implicit` minimizes Σ_obs c(1 − s)² + Σ_unobs s² + r(|U|² + |V|²). With α = 1 and one weight w, ours is, up to a
    # constant, Σ_obs (w+1)(κ − s)² + Σ_unobs s² + …, κ = w/(w+1): the same after s → s/κ with c = w + 1. Rows and
    # columns of equal length make our regularization one number, R = λ(w·length + n), and then r = R/κ.
    n, length, w, reg, dim = 40, 6, 2.0, 0.03, 5
    rng = np.random.default_rng(2)
    shifts, names = rng.choice(n, length, replace=False), rng.permutation(n)
    users = np.repeat(np.arange(n), length)
    items = names[(users + np.tile(shifts, n)) % n]
    log = interactions(users, items, np.zeros(n * length), n_users=n, n_items=n)
    kappa = w / (w + 1)
    V0 = start(n, dim).astype(np.float64)
    settings = {"factors": dim, "regularization": reg * (w * length + n) / kappa, "alpha": 1.0, "iterations": 7}
    with threadpool_limits(1, "blas"):  # implicit warns otherwise
        oracle = AlternatingLeastSquares(**settings, use_cg=False, dtype=np.float64, num_threads=1)
        oracle.item_factors, oracle.user_factors = V0 / np.sqrt(kappa), np.zeros((n, dim))
        oracle.fit(csr_matrix(item_matrix(log) * np.float32(w + 1)), show_progress=False)
    ours = fit_ials(log, np.full(n * length, w, np.float32), dim=dim, alpha=1.0, reg=reg, n_iter=7)
    expected = np.sqrt(kappa) * oracle.item_factors
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(ours - V0).max() > 0.3 * np.abs(ours).max()  # seven alternations did move it


def objective(W, U, V):
    """The docstring's sum over all users with weight and all items."""
    U = U[W.sum(1) > 0]
    W = W[W.sum(1) > 0]
    S = U @ V.T
    loss = (W * (1 - S) ** 2).sum() + ALPHA * (S**2).sum()
    loss += REG * ((W.sum(1) + ALPHA * len(V)) * (U**2).sum(1)).sum()
    return loss + REG * ((W.sum(0) + ALPHA * len(U)) * (V**2).sum(1)).sum()


def test_every_alternation_lowers_the_objective_and_the_end_is_stationary():
    log, weights = some_log()
    W = dense(log, weights)
    losses = []
    for n_iter in (1, 2, 4, 8, 300):
        V = fit(log, weights, n_iter).astype(np.float64)
        losses.append(objective(W, loop_step(W, V, 50), V))
    assert losses == sorted(losses, reverse=True)
    U = loop_step(W, V, 50)
    for i in (0, 17, 49):  # central differences of the whole objective in one item's row
        for d in range(DIM):
            up, down = V.copy(), V.copy()
            up[i, d] += 1e-4
            down[i, d] -= 1e-4
            slope = (objective(W, U, up) - objective(W, U, down)) / 2e-4
            assert abs(slope) < 2e-3 * losses[-1] / 50


def test_repeated_events_are_one_event_of_their_summed_weight():
    once = interactions([0, 0, 1], [0, 1, 1], [0, 1, 2], n_users=2, n_items=2)
    twice = interactions([0, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 2], n_users=2, n_items=2)
    a = fit(once, np.array([3, 1, 1], np.float32), 5)
    b = fit(twice, np.array([1, 2, 1, 1], np.float32), 5)
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_events_of_weight_zero_are_as_if_never_logged_and_items_without_weight_are_zero():
    log, weights = some_log()
    np.testing.assert_allclose(fit(log, weights, 4), fit(log.where(weights > 0), weights[weights > 0], 4), atol=1e-6)
    assert (fit(log, weights, 4)[3] == 0).all()


def test_the_order_of_users_does_not_matter():
    log, weights = some_log()
    order = np.random.default_rng(5).permutation(log.n_users)
    moved = log.users(order)
    rows = np.concatenate([np.arange(log.n_events)[log.of(u)] for u in order])
    np.testing.assert_allclose(fit(log, weights, 3), fit(moved, weights[rows], 3), atol=1e-5)


def test_same_seed_same_table_and_another_seed_another():
    log, weights = some_log()
    assert (fit(log, weights, 2, seed=1) == fit(log, weights, 2, seed=1)).all()
    assert np.abs(fit(log, weights, 2, seed=1) - fit(log, weights, 2, seed=2)).max() > 1e-3


def test_result_is_float32_and_nothing_is_written_to_the_arguments():
    log, weights = some_log()
    for array in (weights, log.item_idx, log.offsets):
        array.flags.writeable = False
    table = fit(log, weights, 2)
    assert (table.shape, table.dtype) == ((50, DIM), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"reg": -1.0}, "reg=-1.0"),
        ({"dim": 0}, "dim=0"),
        ({"n_iter": 0}, "n_iter=0"),
    ],
)
def test_wrong_settings_are_errors(change, message):
    log, weights = some_log()
    with pytest.raises(ModelError, match=message):
        fit(log, weights, **{"n_iter": 1} | change)


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_that_are_not_finite_or_negative_are_errors(weight):
    log, weights = some_log()
    weights = weights.copy()
    weights[0] = weight
    with pytest.raises(ModelError, match="weights"):
        fit(log, weights, 1)
    with pytest.raises(ModelError, match="weights: all 0"):
        fit(log, np.zeros_like(weights), 1)
