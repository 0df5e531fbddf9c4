"""Interactions: selecting rows and users agrees with doing it one event at a time, cancellations included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.interactions import EventKind, Interactions, interactions

N_USERS, N_ITEMS = 5, 7


@st.composite
def logs(draw: st.DrawFn) -> Interactions:
    """Up to 25 events of 5 users, some without any, some events undone."""
    events = st.tuples(
        st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 9), st.integers(0, len(EventKind) - 1)
    )
    drawn = draw(st.lists(events, max_size=25))
    users, items, times, kinds = np.array(drawn, dtype=np.int64).reshape(-1, 4).T
    log = interactions(
        users, items, times, n_users=N_USERS, n_items=N_ITEMS, kind=kinds, quantity=np.arange(len(drawn)) + 1
    )
    marks = np.array(sorted(draw(st.sets(st.integers(0, len(drawn) - 1)))) if drawn else [], dtype=np.int64)
    return replace(log, undone_row=marks, undone_time=log.time[marks] + 100)


def rows_of(log: Interactions) -> list[tuple[float | None, ...]]:
    """(user, item, kind, time, quantity, when undone) of each row, read by offsets alone."""
    undone = dict(zip(log.undone_row.tolist(), log.undone_time.tolist(), strict=True))
    columns = [column.tolist() for column in (log.item_idx, log.kind, log.time, log.quantity)]
    return [
        (user, *(column[row] for column in columns), undone.get(row))
        for user in range(len(log.offsets) - 1)
        for row in range(log.offsets[user], log.offsets[user + 1])
    ]


def check(log: Interactions) -> None:
    """What the docstring of Interactions promises of every one of them."""
    assert log.offsets[0] == 0
    assert (np.diff(log.offsets) >= 0).all()
    assert (np.diff(log.undone_row) > 0).all()
    assert len(log.undone_row) == len(log.undone_time)
    dtypes = [column.dtype for column in (log.offsets, log.item_idx, log.kind, log.time, log.quantity)]
    assert dtypes == [np.int64, np.int32, np.uint8, np.int64, np.float32]
    assert (log.undone_row.dtype, log.undone_time.dtype) == (np.int64, np.int64)


@settings(deadline=None)
@given(logs(), st.data())
def test_where_keeps_the_rows_it_is_told_and_their_cancellations(log, data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=log.n_events, max_size=log.n_events)), dtype=bool)
    kept = log.where(keep)
    check(kept)
    assert rows_of(kept) == [row for row, stays in zip(rows_of(log), keep, strict=True) if stays]
    assert (kept.n_users, kept.n_items) == (log.n_users, log.n_items)


@settings(deadline=None)
@given(logs(), st.lists(st.integers(0, N_USERS - 1), max_size=8))
def test_users_come_in_the_order_asked_and_twice_when_asked_twice(log, asked):
    chosen = log.users(np.array(asked, dtype=np.int64))
    check(chosen)
    assert rows_of(chosen) == [
        (new, *row[1:]) for new, old in enumerate(asked) for row in rows_of(log) if row[0] == old
    ]
    assert (chosen.n_users, chosen.n_items) == (len(asked), N_ITEMS)


@settings(deadline=None)
@given(logs(), st.integers(0, N_USERS - 1))
def test_one_user_is_that_users_rows(log, user):
    own = log.of(user)
    assert log.item_idx[own].tolist() == [row[1] for row in rows_of(log) if row[0] == user]
    assert log.counts[user] == own.stop - own.start == (log.user_idx == user).sum()


@settings(deadline=None)
@given(logs())
def test_selecting_writes_into_nothing(log):
    for column in vars(log).values():
        if isinstance(column, np.ndarray):
            column.flags.writeable = False
    before = rows_of(log)
    log.where(log.kind == EventKind.VIEW)
    log.users(np.arange(N_USERS)[::-1].copy())
    assert rows_of(log) == before


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 5)), min_size=1))
def test_rows_are_sorted_by_user_and_time_and_ties_keep_the_order_of_the_log(rows):
    user, item, time = zip(*rows, strict=True)
    log = interactions(user, item, time, n_users=4, n_items=10)
    expected = sorted(rows, key=lambda row: (row[0], row[2]))
    assert list(zip(log.user_idx, log.item_idx, log.time, strict=True)) == expected
    assert log.counts.tolist() == [sum(row[0] == one for row in rows) for one in range(4)]


def test_kind_and_quantity_have_defaults():
    log = interactions([0], [0], [0], n_users=1, n_items=1)
    assert (log.kind.tolist(), log.quantity.tolist()) == ([EventKind.VIEW], [1.0])


def test_an_empty_log_has_its_users_and_items():
    log = interactions([], [], [], n_users=2, n_items=3)
    assert (log.n_events, log.n_users, log.n_items, log.counts.tolist()) == (0, 2, 3, [0, 0])
    assert log.users(np.array([1, 1, 0])).n_users == 3


@pytest.mark.parametrize(
    ("user", "item", "message"),
    [
        (2, 0, r"user_idx 0\.\.2: must be in 0\.\.1"),
        (-1, 0, r"user_idx -1\.\.0: must be in 0\.\.1"),
        (0, 3, r"item_idx 0\.\.3: must be in 0\.\.2"),
        (0, -1, r"item_idx -1\.\.0: must be in 0\.\.2"),
    ],
)
def test_an_index_outside_its_axis_is_refused(user, item, message):
    with pytest.raises(DataError, match=message):
        interactions([0, user], [0, item], [0, 0], n_users=2, n_items=3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"offsets": np.array([0, 1])}, "offsets: must run from 0 to n_events=2"),
        ({"offsets": np.array([1, 2])}, "offsets: must run from 0"),
        ({"offsets": np.array([], dtype=np.int64)}, "offsets: must run from 0"),
        ({"time": np.array([1])}, "time: 1 rows, item_idx has 2"),
        ({"kind": np.array([1])}, "kind: 1 rows, item_idx has 2"),
        ({"quantity": np.array([1])}, "quantity: 1 rows, item_idx has 2"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changed, message):
    log = interactions([0, 0], [0, 1], [0, 1], n_users=1, n_items=2)
    with pytest.raises(DataError, match=message):
        replace(log, **changed)


def test_event_kinds_keep_their_numbers():
    # They are stored in files: a new kind gets a new number, none is ever given twice.
    numbers = {kind.name: int(kind) for kind in EventKind}
    assert numbers == {"VIEW": 0, "CART": 1, "PURCHASE": 2, "LIKE": 3, "DISLIKE": 4}


def test_a_log_prints_its_size_and_no_history():
    log = interactions([0], [1], [123456789], n_users=1, n_items=2)
    assert repr(log) == "Interactions(n_users=1, n_items=2, n_events=1)"
