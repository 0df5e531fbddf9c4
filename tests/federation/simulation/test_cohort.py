"""Cohorts: who is asked, how often, and that every draw is a function of seed and round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import FederationError
from federation.simulation.cohort import cohort, cohort_size, draw_blocks, holdout_devices, survivors


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 100), st.integers(1, 10), st.integers(0, 9))
def test_nobody_is_asked_twice_in_a_round_nor_more_than_the_cap(
    n_devices: int, rounds: int, at_most: int, cap: int, seed: int
) -> None:
    try:
        size = cohort_size(n_devices, rounds, at_most, cap)
    except FederationError:
        assert n_devices * cap < rounds + n_devices * cap % max(rounds, 1) or n_devices < -(-rounds // cap)
        return
    asked = np.zeros(n_devices, dtype=int)
    for round_ in range(rounds):
        devices = cohort(n_devices, size, round_, seed)
        assert len(np.unique(devices)) == size <= at_most
        asked[devices] += 1
    assert asked.max() <= cap


def test_two_passes_are_two_shuffles() -> None:
    first, second = cohort(100, 50, 0, 0), cohort(100, 50, 2, 0)
    assert set(first.tolist()) != set(second.tolist())
    np.testing.assert_array_equal(first, cohort(100, 50, 0, 0))


def test_dropout_blocks_and_hold_out_have_their_rates() -> None:
    """Binomial(100,000, p) stays within five standard deviations, 5·√(p(1−p)/n) < 0.008."""
    devices = np.arange(100_000)
    assert len(survivors(devices, 0.3, 0, 0)) / 100_000 == pytest.approx(0.7, abs=0.008)
    assert holdout_devices(100_000, 0.1, 0).mean() == pytest.approx(0.1, abs=0.008)
    shares = np.bincount(draw_blocks(100_000, 4, 0, 0), minlength=4) / 100_000
    np.testing.assert_allclose(shares, 0.25, atol=0.008)


def test_purposes_draw_independently() -> None:
    """The hold-out coin must not predict who drops out, or the measuring devices would be a biased sample."""
    held = holdout_devices(100_000, 0.5, 7)
    stayed = np.isin(np.arange(100_000), survivors(np.arange(100_000), 0.5, 7, 7))
    assert abs(np.corrcoef(held, stayed)[0, 1]) < 0.016
