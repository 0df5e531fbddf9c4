from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.interactions import Interactions, interactions
from data.sessions import split_sessions

AT = 100


def log_of(*sessions: list[int]) -> Interactions:
    """One user a session, given by its times; item_idx counts the events."""
    users = [user for user, times in enumerate(sessions) for _ in times]
    times = [time for times in sessions for time in times]
    return interactions(users, range(len(times)), times, n_users=len(sessions), n_items=max(len(times), 1))


EARLY, LATE = [1, 2], [200, 201, 202, 203]


def test_earlier_sessions_are_train_and_later_ones_known_then_asked():
    split, known = split_sessions(log_of(EARLY, LATE), AT)
    assert split.train.item_idx.tolist() == [0, 1]
    assert known.item_idx.tolist() == [2, 3]
    assert split.test.item_idx.tolist() == [4, 5]
    assert (split.name, split.at) == ("sessions, first 0.5 given", AT)


def test_all_sides_have_the_same_axes():
    split, known = split_sessions(log_of(EARLY, LATE), AT)
    for part in (split.train, split.test, known):
        assert (part.n_users, part.n_items) == (2, 6)
    assert split.train.counts.tolist() == [2, 0]
    assert split.test.counts.tolist() == known.counts.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("length", "given", "known"),
    [(2, 0.5, 1), (3, 0.5, 2), (5, 0.5, 3), (4, 0.25, 1), (4, 0.01, 1), (4, 0.99, 3), (2, 0.99, 1), (10, 0.3, 3)],
)
def test_the_known_share_is_rounded_up_and_leaves_something_to_ask(length, given, known):
    split, first = split_sessions(log_of(EARLY, list(range(200, 200 + length))), AT, given)
    assert (first.n_events, split.test.n_events) == (known, length - known)


def test_a_later_session_of_one_event_is_asked_nothing():
    split, known = split_sessions(log_of(EARLY, LATE, [300]), AT)
    assert split.test.counts[2] == 0
    assert known.counts[2] == 1


def test_what_an_earlier_session_adds_after_the_moment_is_in_no_part():
    split, known = split_sessions(log_of([1, 99, 100, 150], LATE), AT)
    assert split.train.time.tolist() == [1, 99]
    assert split.test.counts[0] == known.counts[0] == 0


def test_a_session_that_begins_at_the_moment_is_a_later_one():
    split, known = split_sessions(log_of(EARLY, [AT, AT + 1]), AT)
    assert (known.time.tolist(), split.test.time.tolist()) == ([AT], [AT + 1])


def test_users_without_events_are_in_no_part():
    split, known = split_sessions(log_of(EARLY, [], LATE), AT)
    assert split.train.counts[1] + split.test.counts[1] + known.counts[1] == 0


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(0, 199), max_size=6), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_no_event_of_a_test_session_is_trained_on_and_none_is_known_after_it_is_asked(sessions, given_share):
    log = log_of([0], *sessions, [150, 151])
    split, known = split_sessions(log, AT, given_share)
    assert not np.intersect1d(split.train.user_idx, split.test.user_idx).size
    assert not np.intersect1d(split.train.user_idx, known.user_idx).size
    assert (split.train.time < AT).all()
    assert (known.time >= AT).all()
    later = [user for user in range(log.n_users) if log.counts[user] and log.time[log.of(user)][0] >= AT]
    for user in later:
        rows = log.item_idx[log.of(user)].tolist()
        first = known.item_idx[known.of(user)].tolist()
        assert first + split.test.item_idx[split.test.of(user)].tolist() == rows
        assert len(first) >= 1


@pytest.mark.parametrize("given", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_that_leaves_nothing_known_or_nothing_asked_is_refused(given):
    with pytest.raises(DataError, match=f"given={given}: must be between 0 and 1"):
        split_sessions(log_of(EARLY, LATE), AT, given)


@pytest.mark.parametrize(("at", "side"), [(0, "train"), (999, "test"), (203, "test")])
def test_a_moment_that_leaves_one_side_empty_is_refused(at, side):
    with pytest.raises(DataError, match=f"{side} has no sessions"):
        split_sessions(log_of(EARLY, LATE), at)
