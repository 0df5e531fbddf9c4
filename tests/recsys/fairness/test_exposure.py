"""Exposure figures beside hand computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from recsys.fairness.exposure import (
    exposure_by_band,
    exposure_disparity,
    exposure_figures,
    exposure_relevance,
    ideal_exposure,
    miscalibration,
)

FIRST, SECOND = 1.0, 1 / np.log2(3)


def test_shares_of_exposure_by_hand() -> None:
    exposure, counts = np.array([6.0, 2, 0, 0]), np.array([7, 2, 1, 0])
    figures = exposure_figures(exposure, counts, counts > 0, np.array([False, True, True, True]))
    # 2 of 8 places are of the tail; 2 of 3 candidates are listed; a listed item has (6·7 + 2·2)/8 events, others 10/3
    assert figures["tail_share"] == 0.25
    assert figures["tail_share_of_events"] == pytest.approx(0.3)
    assert figures["coverage"] == pytest.approx(2 / 3)
    assert figures["average_popularity"] == pytest.approx((46 / 8) / (10 / 3))
    # Gini of (0, 2, 6): Σ|xi − xj| = 2·(2 + 6 + 4) over 2·n²·mean = 2·9·8/3
    assert figures["gini"] == pytest.approx(24 / 48)
    assert np.isnan(list(exposure_figures(np.zeros(4), counts, counts > 0, counts < 3).values())).all()


def test_bands_leave_out_what_is_in_none() -> None:
    shares = exposure_by_band(np.array([1.0, 2, 3, 4]), np.array([0, 1, 0, -1]), 3)
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.0])


def test_expected_exposure_by_hand() -> None:
    # two users, three items, lists of two: user 0 wants item 0; user 1 wants items 1 and 2
    ideal = ideal_exposure(np.array([0, 1, 3]), np.array([0, 1, 2], dtype=np.int32), 2, 3)
    # user 0: item 0 the first place, items 1 and 2 share the second; user 1: items 1 and 2 share both places
    wanted = np.array([FIRST, SECOND / 2 + (FIRST + SECOND) / 2, SECOND / 2 + (FIRST + SECOND) / 2])
    np.testing.assert_allclose(ideal, wanted)
    assert ideal.sum() == pytest.approx(2 * (FIRST + SECOND))  # as much as two lists have
    exposure = np.array([2 * FIRST, 2 * SECOND, 0])  # both lists are (0, 1)
    assert exposure_disparity(exposure) == pytest.approx(4 + 4 * SECOND**2)
    assert exposure_relevance(exposure, ideal) == pytest.approx(2 * wanted[0] + 2 * SECOND * wanted[1])


def test_more_wanted_items_than_places_share_all_places() -> None:
    ideal = ideal_exposure(np.array([0, 3]), np.array([0, 1, 2], dtype=np.int32), 2, 4)
    np.testing.assert_allclose(ideal, [(FIRST + SECOND) / 3] * 3 + [0])


def test_miscalibration_is_stecks() -> None:
    history = np.array([[7.0, 3], [1, 1], [0, 0], [1, 0]])
    listed = np.array([[1.0, 1], [2, 2], [1, 1], [0, 0]])
    divergence = miscalibration(history, listed)
    p, q = np.array([0.7, 0.3]), 0.99 * 0.5 + 0.01 * np.array([0.7, 0.3])
    assert divergence[0] == pytest.approx(special.rel_entr(p, q).sum())
    assert divergence[1] == pytest.approx(0.0)
    assert np.isnan(divergence[2:]).all()
    opposite = miscalibration(np.array([[1.0, 0]]), np.array([[0.0, 1]]))
    assert opposite[0] == pytest.approx(np.log(100))  # q̃ = .01: the most there is
