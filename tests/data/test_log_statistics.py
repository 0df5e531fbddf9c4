"""Statistics of a log, by hand; and that no single event turns one."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, Interactions, interactions
from data.log_statistics import measure_log, visit_starts
from tests.recsys.logs import tastes_log

HOUR = DAY // 24


def three() -> Interactions:
    """User 0: items 0 1 at once, 0 again two days later; user 1: item 2 twice within an hour; user 3: item 1, once."""
    return interactions(
        [0, 0, 0, 1, 1, 3],
        [0, 1, 0, 2, 2, 1],
        [0, 0, 2 * DAY, 5 * HOUR, 6 * HOUR, 3 * DAY],
        n_users=4,
        n_items=5,
        kind=[EventKind.VIEW, EventKind.VIEW, EventKind.PURCHASE, EventKind.VIEW, EventKind.VIEW, EventKind.LIKE],
    )


def test_statistics_by_hand() -> None:
    found = measure_log(three())
    assert (found.devices, found.returning_devices, found.items, found.events) == (3, 2, 5, 6)
    # mean over devices of the shares: views (2/3 + 1 + 0) / 3, purchases (1/3) / 3, likes 1 / 3
    assert found.kind_shares == pytest.approx((5 / 9, 0, 1 / 9, 1 / 3, 0))
    assert (found.purchase_share, found.rating_share) == pytest.approx((1 / 9, 1 / 3))
    assert found.history_length == pytest.approx((2 + 1 + 1) / 3)
    assert found.visits == pytest.approx((2 + 1 + 1) / 3)
    assert found.events_per_visit == pytest.approx(6 / 4)
    assert found.return_share == pytest.approx(1 / 2)  # of users 0 and 1, user 0
    assert found.gap_days == pytest.approx(2.0)
    assert found.repeat_share == 1.0  # user 0 came a second time, for item 0 again
    assert found.days == pytest.approx(3.0)
    assert found.known_share == pytest.approx(1 / 2)  # user 0 comes late with a history, user 3 without
    assert found.timed


def test_a_visit_ends_with_a_pause_of_more_than_eight_hours() -> None:
    times = [0, 8 * HOUR, 16 * HOUR + 1, 17 * HOUR]
    log = interactions([0, 0, 0, 0], [0] * 4, times, n_users=2, n_items=1)
    assert visit_starts(log).tolist() == [True, False, True, False]


def test_a_log_of_one_moment_has_no_times_and_nobody_who_comes_back() -> None:
    found = measure_log(interactions([0, 0, 1], [0, 1, 1], [7, 7, 7], n_users=2, n_items=2))
    assert not found.timed
    assert found.return_share == 0.0
    assert np.isnan(found.gap_days)
    assert np.isnan(found.repeat_share)


def test_a_log_without_events_is_an_error() -> None:
    with pytest.raises(DataError, match="log: has no events"):
        measure_log(interactions([], [], [], n_users=1, n_items=1))


@settings(max_examples=25, deadline=None)
@given(row=st.integers(0, 10_000), kind=st.sampled_from(list(EventKind)), item=st.integers(0, 29))
def test_one_event_moves_no_share_by_more_than_one_device(row: int, kind: EventKind, item: int) -> None:
    log = tastes_log(3, n_users=60, n_items=30)
    row %= log.n_events
    kinds, items = log.kind.copy(), log.item_idx.copy()
    kinds[row], items[row] = kind, item
    before, after = measure_log(log), measure_log(replace(log, kind=kinds, item_idx=items))
    for name in ("return_share", "known_share", "purchase_share", "rating_share"):
        assert abs(getattr(before, name) - getattr(after, name)) <= 1 / before.devices + 1e-12
    assert abs(before.history_length - after.history_length) <= 1 / before.devices + 1e-12


def test_the_order_of_the_users_changes_nothing() -> None:
    log = three()
    other = log.users(np.array([3, 1, 2, 0]))
    found, expected = asdict(measure_log(other)), asdict(measure_log(log))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value)
