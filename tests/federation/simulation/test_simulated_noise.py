from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2

from federation.learning.item_step import RoundSums
from federation.learning.taste_update import METRICS
from federation.private_sum.plan import SumPlan
from federation.simulation.simulated_noise import add_noise, both_parties_noise
from tests.federation.custodian.a_custodian import a_promise

N_ITEMS, DIM, N_BLOCK = 900, 16, 400
PLAN = a_promise(3.0).sum_plan(N_BLOCK, DIM)


def variance_p_value(noise: npt.NDArray[np.float64], sigma: float) -> float:
    """Two-sided p of Σ noise²/σ² under a Gaussian of that σ."""
    statistic = float((noise**2).sum()) / sigma**2
    return float(2 * min(chi2.cdf(statistic, noise.size), chi2.sf(statistic, noise.size)))


def noisy(seed: int = 0, blocks: tuple[int, ...] | None = None, plan: SumPlan = PLAN) -> RoundSums:
    sums = RoundSums.zeros(N_ITEMS, DIM)
    return add_noise(sums, plan, np.random.default_rng(seed), n_block=N_BLOCK, blocks=blocks)


@pytest.mark.parametrize(("name", "n_sums"), [("rows", 1), ("counts", 1), ("second", 3), ("first", 3)])
def test_each_part_carries_both_parties_noise_in_its_own_unit(name: str, n_sums: int) -> None:
    """second and first add up over the three blocks' sums, and so does their noise."""
    scale = next(part.scale for part in PLAN.parts if part.name == name)
    noise = np.concatenate([getattr(noisy(seed), name).ravel() for seed in range(20)])
    sigma = np.sqrt(2 * n_sums) * PLAN.sigma / scale
    assert variance_p_value(noise, sigma) > 1e-6
    for wrong in (2 / 3, 3 / 2):
        assert variance_p_value(noise, sigma * wrong) < 1e-6


def test_reports_of_one_block_share_one_noise_as_its_sum_has_one() -> None:
    reports = noisy().reports
    blocks = [np.unique(reports[start : start + N_BLOCK]) for start in range(0, N_ITEMS, N_BLOCK)]
    assert [len(values) for values in blocks] == [1, 1, 1]
    assert noisy().one == pytest.approx(sum(float(values[0]) for values in blocks))


def test_a_block_that_was_not_summed_has_no_noise() -> None:
    found = noisy(blocks=(1,))
    assert not found.rows[:N_BLOCK].any()
    assert found.rows[N_BLOCK : 2 * N_BLOCK].all()
    assert not found.counts[2 * N_BLOCK :].any()
    assert not noisy(blocks=()).first.any()


def test_noise_is_added_to_the_sums_and_is_a_function_of_the_seed() -> None:
    sums = RoundSums(
        rows=np.ones((N_ITEMS, DIM)),
        counts=np.full(N_ITEMS, 2.0),
        second=np.full(DIM * (DIM + 1) // 2, 3.0),
        first=np.full(DIM, 4.0),
        reports=np.full(N_ITEMS, 5.0),
        one=6.0,
        metrics=np.full(len(METRICS), 7.0),
    )
    found = add_noise(sums, PLAN, np.random.default_rng(0), n_block=N_BLOCK)
    for name in ("rows", "counts", "second", "first", "reports", "metrics"):
        np.testing.assert_allclose(getattr(found, name) - getattr(sums, name), getattr(noisy(0), name), atol=1e-9)
    assert np.array_equal(noisy(0).rows, noisy(0).rows)
    assert not np.array_equal(noisy(0).rows, noisy(1).rows)


def test_privacy_off_adds_nothing() -> None:
    quiet = a_promise(0.0).sum_plan(N_BLOCK, DIM)
    assert not noisy(plan=quiet).rows.any()


def test_noise_is_whole_numbers() -> None:
    assert both_parties_noise(PLAN, np.random.default_rng(0)).dtype == np.int32
