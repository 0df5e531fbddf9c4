"""Folds: every device is asked once a window and never trains for its own answer; windows never see what follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import FederationError
from data.interactions import interactions
from federation.lab.folds import Folds, windows_of
from tests.federation.simulation.test_training import tastes

LOG = tastes()


@settings(deadline=None, max_examples=15)
@given(devices=st.integers(2, 5), windows=st.integers(1, 4), seed=st.integers(0, 5))
def test_in_each_window_every_device_is_asked_once_and_by_a_table_it_did_not_train(
    devices: int, windows: int, seed: int
) -> None:
    folds = Folds(LOG, "temporal", windows=windows_of(LOG, windows), devices=devices, seed=seed)
    made = list(folds)
    assert len(made) == len(folds) == devices * windows
    for window in range(windows):
        some = made[window * devices : (window + 1) * devices]
        asked = np.sum([fold.measured for fold in some], axis=0)
        np.testing.assert_array_equal(asked, some[0].question.split.test.counts > 0)
        for fold in some:
            assert fold.new_devices
            assert not fold.training.counts[fold.users].any()
            assert fold.training.n_events == fold.question.split.train.counts[fold.trains].sum()


def test_a_window_is_foretold_from_what_came_before_it_and_ends_where_the_next_begins() -> None:
    folds = Folds(LOG, "temporal", windows=windows_of(LOG, 3), devices=1)
    tested = 0
    for fold, (start, end) in zip(folds, folds.windows, strict=True):
        assert fold.training.time.max() < start == fold.question.now
        assert start <= fold.question.split.test.time.min() <= fold.question.split.test.time.max() < end
        tested += fold.question.split.test.n_events
    assert tested == (LOG.time >= folds.windows[0][0]).sum()
    assert [before[1] for before in folds.windows[:-1]] == [after[0] for after in folds.windows[1:]]


def test_windows_have_about_equally_many_events_and_merge_where_all_happens_at_once() -> None:
    for start, end in windows_of(LOG, 4):
        assert ((LOG.time >= start) & (LOG.time < end)).sum() == pytest.approx(LOG.n_events / 8, rel=0.02)
    daily = interactions([0, 0, 1, 1], [0, 1, 0, 1], [0, 5, 5, 5], n_users=2, n_items=2)
    assert windows_of(daily, 4) == ((5, 6),)


def test_every_window_begins_with_an_event() -> None:
    """Ten days without hours: a window from noon on would begin with nothing to foretell."""
    days = interactions(np.arange(200) % 20, np.zeros(200), np.arange(200) // 20 * 24, n_users=20, n_items=1)
    assert windows_of(days, 90) == ((120, 144), (144, 168), (168, 192), (192, 216), (216, 217))
    assert all((LOG.time == start).any() for start, _ in windows_of(LOG, 7))


def test_at_most_so_many_devices_are_asked_and_the_others_still_do_not_train() -> None:
    whole, some = Folds(LOG, "temporal"), Folds(LOG, "temporal", at_most=11)
    for all_asked, few in zip(whole, some, strict=True):
        assert len(few.users) == 11
        assert set(few.users) < set(all_asked.users)
        np.testing.assert_array_equal(few.trains, all_asked.trains)


def test_a_digest_knows_what_a_figure_depends_on() -> None:
    items = LOG.item_idx.copy()
    items[-1] = (items[-1] + 1) % LOG.n_items
    logs = [Folds(LOG, "temporal"), Folds(LOG, "temporal", seed=1), Folds(replace(LOG, item_idx=items), "temporal")]
    digests = [fold.digest for folds in logs for fold in folds]
    assert len(set(digests)) == len(digests)
    assert [fold.digest for fold in Folds(LOG, "temporal")] == digests[:3]


def test_sessions_are_asked_about_the_rest_of_themselves() -> None:
    start = int(np.median(LOG.time[LOG.offsets[:-1]]))
    fold = next(iter(Folds(LOG, "sessions", windows=((start, int(LOG.time.max()) + 1),), devices=2, given=0.5)))
    known, later = fold.question.histories, fold.question.split.test
    assert (known.counts[fold.users] > 0).all()
    assert (later.counts[fold.users] > 0).all()


def test_impossible_folds_are_clear_errors() -> None:
    for wrong in ({"devices": 0}, {"at_most": 0}):
        with pytest.raises(FederationError, match="must be 1 or more"):
            Folds(LOG, "temporal", **wrong)
    with pytest.raises(FederationError, match="windows=0"):
        windows_of(LOG, 0)
    with pytest.raises(FederationError, match="no events"):
        windows_of(LOG.where(np.zeros(LOG.n_events, dtype=np.bool_)), 1)
