"""A device's tally is bounded over all windows, sums say what rows said, and the tests are those of scipy."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from data.errors import DataError, SumsTooSmall
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.preferences import (
    COLUMN,
    preference_sums,
    preference_test,
    sessions_needed,
)
from recsys.experiments.device.interleaving import Tally, preference
from tests.recsys.experiments.an_experiment import an_interleaving
from tests.vectors import interleaving

LAYOUT = layout_of(an_interleaving())
SESSIONS = st.lists(st.sampled_from([-1, 0, 1]), max_size=20)


@given(st.lists(SESSIONS, min_size=1, max_size=6), st.integers(1, 4))
def test_windows_add_up_to_one_shopper_within_one_bound(sessions, cap):
    layout = layout_of(an_interleaving(cap=cap))
    sent = interleaving.contributions(layout, sessions, cap)
    every = [one for window in sessions for one in window]
    x = min(every.count(1), cap) - min(every.count(-1), cap)
    assert (sum(sent) == np.array([1, x, x * x]) * layout.steps).all()
    assert sum(int((one.astype(object) ** 2).sum()) for one in sent) <= layout.bound_squared
    assert (interleaving.contributions(layout, [every], cap)[0] == sum(sent)).all()


def test_the_example_of_the_guide():
    sent = interleaving.contributions(LAYOUT, [[], [1, 0, 1], [-1], []], 3)
    assert [(one / LAYOUT.steps).tolist() for one in sent] == [[1, 0, 0], [0, 2, 4], [0, -1, -3], [0, 0, 0]]


def test_the_written_vectors_are_what_the_code_says():
    written = json.loads(interleaving.PATH.read_text())
    assert written == interleaving.vectors()


def test_a_browsers_code_drafts_credits_and_counts_the_same():
    program = ["node", str(interleaving.PATH.with_suffix(".mjs"))]
    found = json.loads(subprocess.run(program, capture_output=True, check=True, timeout=60).stdout)
    written = json.loads(interleaving.PATH.read_text())
    assert found["drafts"] == [{"items": one["items"], "teams": one["teams"]} for one in written["drafts"]]
    assert found["tallies"] == [one["contributions"] for one in written["tallies"]]
    picked_by, clicked = np.array([[1, 1, 0], [0, -1, 1], [0, 1, 1]]), np.array([True, True, False])
    assert found["preferences"] == preference(picked_by, clicked).tolist() == [1, -1, 0]
    tossed, heads, tails = found["heads"]
    assert tossed == heads + tails == 1_000
    assert min(heads, tails) > 420  # five standard deviations
    assert {team for draft in written["drafts"] for team in draft["teams"]} == {-1, 0, 1}


def test_a_device_without_sessions_reports_zeros_after_its_first_report():
    sent = interleaving.contributions(LAYOUT, [[], [], [1], []], 3)
    assert [one.any() for one in sent] == [True, False, True, False]
    assert (sent[0] == np.array([LAYOUT.steps[0], 0, 0])).all()


def test_a_tally_says_nothing_when_printed_and_stays_within_its_cap():
    tally = Tally(cap=2)
    for _ in range(5):
        tally = tally.after(1)
    assert (tally.wins, tally.losses) == (2, 0)
    assert repr(tally) == "Tally(…)"
    with pytest.raises(DataError, match="must be -1, 0 or 1"):
        tally.after(2)
    with pytest.raises(DataError, match="cap=0"):
        Tally(cap=0)


@given(st.lists(st.integers(-3, 3), min_size=3, max_size=40).filter(lambda x: len(set(x)) > 1))
def test_the_t_test_from_sums_is_that_of_scipy_from_rows(rows):
    x = np.array(rows, dtype=float)
    found = preference_test(preference_sums(len(x), x.sum(), (x**2).sum()))
    theirs = stats.ttest_1samp(x, 0.0)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.sign_p_value is None


def test_wins_losses_and_the_sign_test_follow_from_sums_of_single_sessions():
    x = np.array([1] * 30 + [-1] * 14 + [0] * 56)
    found = preference_test(preference_sums(100, x.sum(), (x**2).sum()), single_sessions=True)
    assert (found.wins, found.losses) == (30, 14)
    assert found.sign_p_value == pytest.approx(stats.binomtest(30, 44).pvalue)
    assert found.mean == pytest.approx(0.16)
    with pytest.raises(DataError, match="are not of single sessions"):
        preference_test(preference_sums(10, 5.0, 4.0), single_sessions=True)


def test_noise_widens_the_interval_by_its_own_variance_and_false_positives_stay_nominal():
    """2,000 times 3,000 devices that prefer nobody, summed over 2 windows with the noise of both parties."""
    rng = np.random.default_rng(0)
    sigma = int(14.6 * LAYOUT.bound_squared**0.5)
    n, rejected, means, variances = 3000, 0, [], []
    for _ in range(2000):
        x = rng.integers(0, 4, n) - rng.integers(0, 4, n)
        exact = (np.array([n, x.sum(), (x * x).sum()]) * LAYOUT.steps).astype(np.int64)
        noisy = exact + np.rint(rng.normal(0, sigma * 2, 3)).astype(np.int64)  # √(2 windows · 2 parties)
        (sums,) = LAYOUT.sums(noisy, sigma=sigma, windows=2)["both"]
        test = preference_test(sums)
        rejected += test.p_value < 0.05
        means.append(test.mean)
        variances.append(sums.mean_cov(COLUMN, COLUMN))
    assert 0.035 <= rejected / 2000 <= 0.065
    assert np.std(means) == pytest.approx(np.sqrt(np.mean(variances)), rel=0.06)
    (plain,) = LAYOUT.sums(exact)["both"]
    assert np.std(means) > 1.3 * np.sqrt(plain.mean_cov(COLUMN, COLUMN))
    assert preference_test(sums, single_sessions=True).sign_p_value is None


def test_sums_that_say_nothing_are_refused():
    with pytest.raises(SumsTooSmall, match="all shoppers have one value"):
        preference_test(preference_sums(50, 0.0, 0.0))


def test_the_sessions_needed_have_the_power_they_should():
    rng = np.random.default_rng(1)
    chances = [0.18, 0.6, 0.22]
    n = int(np.ceil(sessions_needed(0.04, 0.4 - 0.04**2)))
    counts = rng.multinomial(n, chances, size=2000)
    found = [
        preference_test(preference_sums(n, float(win - loss), float(win + loss))).p_value < 0.05
        for loss, _, win in counts.tolist()
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)
    with pytest.raises(DataError, match="mean=0"):
        sessions_needed(0, 1)
