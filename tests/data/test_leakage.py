"""Guards of a cut on logs of a few rows: each leak by hand, and beside it what looks like one and is none."""

from collections import Counter

import numpy as np
import pytest

from data.interactions import Interactions, interactions
from data.leakage import (
    HOUR,
    MINUTE,
    REMEDIES,
    CoreFilter,
    Leak,
    cold_filter,
    first_seen,
    future_events,
    future_items,
    per_user_cut,
    time_zone_shift,
)
from data.leakage_twins import RARE, aliases, duplicates, near_duplicates, straddling_sessions
from data.split import temporal

AT = 1_000 * 24 * HOUR


def log(rows, n_users=30, n_items=40):
    """Rows of (user, item, time)."""
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return interactions(*columns, n_users=n_users, n_items=n_items)


def random_rows(seed, n, first, last):
    rng = np.random.default_rng(seed)
    return list(zip(rng.integers(0, 30, n), rng.integers(0, 40, n), rng.integers(first, last, n), strict=True))


def test_an_event_at_the_cut_is_of_the_future_and_one_just_before_is_not():
    assert future_events(log([(0, 1, AT - 1)]), AT) is None
    found = future_events(log([(0, 1, AT - 1), (0, 1, AT)]), AT)
    assert (found.kind, found.n, found.certain) == ("future_event", 1, True)
    assert "1 of 2 events are not before the cut 1972-09-27" in str(found)
    assert str(found).endswith("data.split.temporal")


def test_the_same_events_two_hours_apart_are_a_zone_and_shoppers_who_come_back_are_not():
    test = random_rows(1, 40, AT, AT + 2 * HOUR)
    shifted = [(user, item, time - 2 * HOUR) for user, item, time in test]
    assert time_zone_shift(log(shifted), log(test), AT).what.startswith("40 events are in train and test, exactly 2 h")
    back = [(user, item, time - 2 * HOUR - 7 * MINUTE * (row % 11) - 1) for row, (user, item, time) in enumerate(test)]
    assert time_zone_shift(log(back), log(test), AT) is None


def test_a_train_that_goes_on_as_busily_for_some_hours_is_a_zone():
    usual = random_rows(2, 2_000, AT - 10 * 24 * HOUR, AT)
    test = random_rows(3, 50, AT + 5 * HOUR, AT + 9 * HOUR)
    more = random_rows(4, 40, AT, AT + 4 * HOUR + 30 * MINUTE)
    assert "goes on for 4.5 hours after the cut" in time_zone_shift(log(usual + more), log(test), AT).what
    a_trickle = log(usual + more[:6])
    assert time_zone_shift(a_trickle, log(test), AT) is None
    assert future_events(a_trickle, AT).n == 6


def test_an_item_before_it_existed():
    whole = log([(0, 1, AT), (1, 2, AT - 5)])
    assert first_seen(whole)[[1, 2]].tolist() == [AT, AT - 5]
    assert future_items(log([(1, 2, AT - 5)]), first_seen(whole)) is None
    assert future_items(log([(0, 1, AT - 9)]), first_seen(whole)).n == 1


def test_leave_one_out_warns_of_others_later_events_and_one_cut_for_all_does_not():
    train, test = log([(0, 1, 10), (1, 1, 50)]), log([(0, 2, 20), (1, 3, 60)])
    found = per_user_cut(train, test)
    assert (found.n, found.certain) == (1, False)  # user 0 is tested at 20, user 1 trains on 50
    assert per_user_cut(log([(0, 1, 10), (1, 1, 19)]), test) is None
    assert per_user_cut(log([(0, 1, 10), (0, 1, 90)]), log([(0, 2, 20)])) is None  # the user's own


def test_a_core_that_needs_the_test_and_one_that_does_not():
    train = [(user, item, user + item) for user in range(6) for item in range(3)]
    test = [(user, 5, AT + user) for user in range(6)]
    assert cold_filter(log(train), log(test), CoreFilter(3, 3)) is None
    found = cold_filter(log(train), log(test), CoreFilter(4, 0))
    assert found.what == "6 users have fewer than 4 events in train and reach 4 with the test"
    # In test, items and users that train never had are cold, not filtered.
    assert cold_filter(log(train), log([(9, 9, AT + row) for row in range(8)]), CoreFilter(3, 3)) is None


def test_an_event_on_both_sides_unless_the_log_has_it_twice():
    train, test = log([(0, 1, 5), (0, 2, 7)]), log([(0, 1, 5), (0, 3, 9)])
    assert duplicates(train, test, None).n == 1
    assert duplicates(train, test, log([(0, 1, 5), (0, 2, 7), (0, 3, 9)])).n == 1
    twice_at_once = log([(0, 1, 5), (0, 1, 5), (0, 2, 7), (0, 3, 9)])
    assert duplicates(train, test, twice_at_once) is None


def test_repeat_purchases_around_the_cut_are_no_twins_and_jittered_copies_are():
    habits = [(user, user, AT - day * 24 * HOUR + minute * MINUTE)
              for user in range(20) for day in range(15) for minute in (-10, 10)]  # fmt: skip
    train = log([row for row in habits if row[2] < AT])
    assert near_duplicates(train, log([row for row in habits if row[2] >= AT]), AT) is None
    others = random_rows(5, 600, AT - 20 * 24 * HOUR, AT - MINUTE)
    served = [(user, user + 3, AT - 20_000_000 + user) for user in range(12)]
    copies = [(user, item, time + 30_000_000) for user, item, time in served]
    found = near_duplicates(log(others + served), log(copies), AT)
    assert (found.kind, found.n) == ("near_duplicate", 12)


def test_a_session_on_both_sides_and_one_that_ends_just_before():
    train, test = log([(0, 1, AT - MINUTE), (1, 1, AT - 1)]), log([(0, 2, AT + MINUTE), (1, 2, AT + 1)])
    assert straddling_sessions(train, test, None, None).n == 2
    ends = np.array([4, 5])
    assert straddling_sessions(train, test, ends, np.array([4, 6])).n == 1  # user 1's session ended, another began
    later = log([(0, 2, AT + 20 * HOUR)])
    assert straddling_sessions(train, later, ends, np.array([4])) is None  # a number used again the next day
    assert straddling_sessions(train, later, None, None) is None


def test_a_shopper_under_two_ids_and_two_shoppers_of_one_taste():
    own = [(3, item, 100 + 7 * item) for item in range(8)]
    train = log(own + [(user, 20, user) for user in range(10)])
    copies = [(4, item, time) for _, item, time in own]
    found = aliases(train, log([*own, *copies]), log([(4, 30, AT)]))
    assert (found.kind, found.n) == ("user_alias", 1)
    same_taste = [(4, item, time + 1) for _, item, time in own]
    assert aliases(train, log([*own, *same_taste]), log([(4, 30, AT)])) is None
    a_rush = log([(user, item, 100 + item) for user in range(12) for item in range(8)])  # a sale: all at once
    assert aliases(a_rush, a_rush, log([(4, 30, AT)])) is None


@pytest.mark.parametrize("kind", REMEDIES)
def test_every_kind_says_what_to_do(kind):
    assert str(Leak(kind, True, 1, "figures", "place")) == f"{kind} in place: figures; {REMEDIES[kind]}"


def aliased_users(train: Interactions, histories: Interactions, test: Interactions) -> int:
    """How many users of the test are an alias of another: every pair of users compared event by event."""

    def events(*parts: Interactions) -> list[set[tuple[int, int, int]]]:
        return [
            {(p.item_idx[k], p.kind[k], p.time[k]) for p in parts for k in range(*p.of(u).indices(p.n_events))}
            for u in range(test.n_users)
        ]

    known, asked = events(train), events(histories, test)
    asked = [one if test.counts[user] else set() for user, one in enumerate(asked)]
    owners = Counter(event for a, b in zip(known, asked, strict=True) for event in a | b)
    found = set()
    for b, theirs in enumerate(asked):
        for a, mine in enumerate(known):
            both = mine & theirs
            rare = sum(2 <= owners[event] <= RARE for event in both)
            if a != b and rare >= 2 and len(both) >= 5 and 2 * len(both) >= min(len(mine), len(theirs)):
                found.add(b)
    return len(found)


@pytest.mark.parametrize("seed", range(20))
def test_aliases_are_those_of_comparing_every_pair_of_users(seed):
    rng = np.random.default_rng(seed)
    n, n_users = int(rng.integers(60, 300)), int(rng.integers(4, 20))
    rows = np.column_stack([rng.integers(0, top, n) for top in (n_users, 12, int(rng.integers(30, 300)))])
    copied = rows[rows[:, 0] == 0] * [0, 1, 1] + [n_users - 1, 0, 0]
    users, items, times = np.vstack([rows, copied]).T
    whole = interactions(users, items, times, n_users=n_users, n_items=12)
    split = temporal(whole, int(np.quantile(times, 0.7)))
    for histories in (split.train, whole):
        found = aliases(split.train, histories, split.test)
        assert (0 if found is None else found.n) == aliased_users(split.train, histories, split.test)
