"""Splits: hand-made logs with the arithmetic beside them, and properties over random logs with cancellations."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.interactions import MICROS_PER_DAY, Interactions, interactions
from data.split import leave_last_out, parse_time, sliding, temporal

NEVER = np.iinfo(np.int64).max


@st.composite
def logs(draw) -> Interactions:
    """Up to 5 users and 6 items, times 0..9 with many ties, some events undone later."""
    rows = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40))
    user, item, time = zip(*rows, strict=True)
    log = interactions(user, item, time, n_users=5, n_items=6)
    undone = sorted(draw(st.sets(st.integers(0, len(rows) - 1), max_size=6)))
    later = [int(log.time[row]) + draw(st.integers(0, 5)) for row in undone]
    return replace(log, undone_row=np.array(undone, dtype=np.int64), undone_time=np.array(later, dtype=np.int64))


def undone_at(log: Interactions) -> np.ndarray:
    moments = np.full(log.n_events, NEVER)
    moments[log.undone_row] = log.undone_time
    return moments


def events(log: Interactions) -> list[tuple[int, int, int]]:
    return list(zip(log.user_idx.tolist(), log.item_idx.tolist(), log.time.tolist(), strict=True))


@given(logs(), st.integers(1, 9))
def test_temporal_train_is_what_was_known_and_test_is_what_lasted(log, at):
    undone = undone_at(log)
    train = [e for e, u in zip(events(log), undone, strict=True) if e[2] < at and u >= at]
    test = [e for e, u in zip(events(log), undone, strict=True) if e[2] >= at and u == NEVER]
    if not train or not test:
        with pytest.raises(DataError, match="is empty"):
            temporal(log, at)
        return
    split = temporal(log, at)
    assert events(split.train) == train
    assert events(split.test) == test
    assert split.at == at
    for side in (split.train, split.test):
        assert (side.n_users, side.n_items) == (log.n_users, log.n_items)
        assert len(side.undone_row) == 0


@given(logs())
def test_leave_last_out_tests_the_last_standing_event_of_each_user(log):
    undone = undone_at(log)
    rows = [list(range(log.offsets[u], log.offsets[u + 1])) for u in range(log.n_users)]
    standing = [[r for r in of_user if undone[r] == NEVER] for of_user in rows]
    if all(len(of_user) < 2 for of_user in standing):
        with pytest.raises(DataError, match="two standing events"):
            leave_last_out(log)
        return
    split = leave_last_out(log)
    train, test = [], []
    for of_user, lasting in zip(rows, standing, strict=True):
        last = lasting[-1] if len(lasting) > 1 else None
        test += [] if last is None else [last]
        for row in of_user:
            if last is None:
                train += [row] if undone[row] == NEVER else []
            elif row < last and undone[row] > log.time[last]:
                train.append(row)
    everything = events(log)
    assert events(split.train) == [everything[row] for row in train]
    assert events(split.test) == [everything[row] for row in test]
    assert split.at is None


def test_ties_keep_the_order_of_the_log():
    log = interactions([0, 0, 0], [4, 2, 3], [7, 7, 7], n_users=1, n_items=5)
    split = leave_last_out(log)
    assert split.train.item_idx.tolist() == [4, 2]
    assert split.test.item_idx.tolist() == [3]


def test_a_cancellation_after_the_split_is_not_yet_known_in_train():
    # User 0 buys item 0 on day 1 and item 1 on day 2; item 0 is cancelled on day 3, item 1 on day 6. Split on day 5.
    day = MICROS_PER_DAY
    log = interactions([0, 0, 0], [0, 1, 2], [1 * day, 2 * day, 5 * day], n_users=1, n_items=3)
    log = replace(log, undone_row=np.array([0, 1]), undone_time=np.array([3 * day, 6 * day]))
    assert temporal(log, 5 * day).train.item_idx.tolist() == [1]
    assert temporal(log, 2 * day).train.item_idx.tolist() == [0]
    assert temporal(log, 2 * day).test.item_idx.tolist() == [2]


def test_sliding_windows_follow_each_other_and_see_only_the_past():
    # Ten days, one event a day at noon; windows of two days from day 4: [4, 6), [6, 8); [8, 10) ends after the log.
    day = MICROS_PER_DAY
    times = [k * day + day // 2 for k in range(10)]
    log = interactions([0] * 10, list(range(10)), times, n_users=1, n_items=10)
    splits = sliding(log, window_us=2 * day, step_us=2 * day, first_us=4 * day)
    assert [split.test.item_idx.tolist() for split in splits] == [[4, 5], [6, 7]]
    assert [split.train.item_idx.tolist() for split in splits] == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5]]
    recent = sliding(log, window_us=2 * day, step_us=2 * day, first_us=4 * day, train_us=3 * day)
    assert [split.train.item_idx.tolist() for split in recent] == [[1, 2, 3], [3, 4, 5]]
    assert all((split.train.time < split.at).all() and (split.test.time >= split.at).all() for split in splits)


@given(logs(), st.integers(1, 4))
def test_windows_of_one_step_test_no_event_twice(log, window):
    try:
        splits = sliding(log, window_us=window, step_us=window, first_us=2)
    except DataError:
        return
    tested = Counter(event for split in splits for event in events(split.test))
    assert tested <= Counter(events(log.where(undone_at(log) == NEVER)))


def test_impossible_splits_say_why():
    log = interactions([0, 0], [0, 0], [0, MICROS_PER_DAY], n_users=1, n_items=1)
    with pytest.raises(DataError, match=r"test is empty, the log runs from 1970-01-01.* to 1970-01-02"):
        temporal(log, 5 * MICROS_PER_DAY)
    with pytest.raises(DataError, match="window_us=0: must be > 0"):
        sliding(log, window_us=0, step_us=1)
    with pytest.raises(DataError, match="step_us=-1: must be > 0"):
        sliding(log, window_us=1, step_us=-1)
    with pytest.raises(DataError, match="train_us=0: must be > 0"):
        sliding(log, window_us=1, step_us=1, train_us=0)
    with pytest.raises(DataError, match="no full window"):
        sliding(log, window_us=9 * MICROS_PER_DAY, step_us=1)


def test_times_without_offset_are_utc():
    assert parse_time("1970-01-02") == MICROS_PER_DAY
    assert parse_time("1970-01-01T00:00:00.000001") == 1
    assert parse_time("1970-01-01T02:00:00+02:00") == 0
    with pytest.raises(DataError, match="time='soon'"):
        parse_time("soon")
