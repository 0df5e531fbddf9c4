"""Team-draft interleaving by hand, by all coins, and as properties."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import DataError
from recsys.experiments.device.interleaving import (
    CHALLENGER,
    INCUMBENT,
    NOBODY,
    coins,
    preference,
    team_draft,
    team_drafts,
)

A, B, N = INCUMBENT, CHALLENGER, NOBODY
LISTS = st.lists(st.integers(0, 9), unique=True, max_size=6)


def draft(a, b, k, *heads):
    made = team_draft(np.array(a, np.int32), np.array(b, np.int32), k, np.array(heads, bool))
    return made.items.tolist(), made.picked_by.tolist()


def every_draft(a, b, k):
    return [draft(a, b, k, *heads) for heads in product([False, True], repeat=(k + 1) // 2)]


def test_by_hand():
    assert draft([1, 2, 3, 4], [5, 6, 7, 8], 4, False, True) == ([1, 5, 6, 2], [A, B, B, A])
    # 5 is picked by the incumbent, so the challenger's next is 6
    assert draft([5, 1, 2], [6, 5, 7], 4, False, True) == ([5, 6, 7, 1], [A, B, B, A])


def test_what_both_would_have_picked_speaks_for_nobody():
    assert draft([1, 2, 3], [1, 5, 6], 3, False, True) == ([1, 5, 6], [N, B, B])
    assert draft([1, 2, 3], [1, 2, 6], 4, False, True) == ([1, 2, 6, 3], [N, N, B, A])
    for heads in product([False, True], repeat=3):
        assert draft([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 5, *heads) == ([1, 2, 3, 4, 5], [N] * 5)


def test_a_longer_list_wins_nothing_by_its_length():
    assert draft([1, 2, 3, 4], [5], 4, False, False) == ([1, 5, 2, 3], [A, B, N, N])
    assert draft([1, 2], [1], 4, True, True) == ([1, 2], [N, N])
    assert draft([1, 2, 3], [], 3, True, True) == ([1, 2, 3], [N, N, N])
    assert draft([5, 1, 2], [1, 5], 4, True, True) == ([1, 5, 2], [B, A, N])
    # 5 is the challenger's only item: behind 7 it can be its answer, in front of 7 it would have none to 5
    assert draft([7, 5], [5], 3, True, True) == ([5, 7], [B, A])
    assert draft([5, 7], [5], 3, True, True) == ([5, 7], [N, N])


@given(LISTS, LISTS, st.integers(1, 8))
def test_a_draft_is_the_items_of_both_once_and_captains_pick_equally_often_in_the_mean(a, b, k):
    drafts = every_draft(a, b, k)
    picks = np.zeros(2)
    for items, picked_by in drafts:
        assert len(items) == min(k, len(set(a) | set(b)))
        assert len(set(items)) == len(items)
        assert set(items) <= set(a) | set(b)
        picks += [picked_by.count(A), picked_by.count(B)]
        assert abs(picked_by.count(A) - picked_by.count(B)) <= (len(items) + 1) // 2
    assert picks[0] == picks[1]


@given(LISTS, LISTS, st.integers(1, 8))
def test_each_position_is_as_often_one_teams_as_the_others(a, b, k):
    """So clicks that look at positions only, not at items, prefer nobody: exactly, over all coins."""
    by_position = np.zeros((k, 2))
    for _, picked_by in every_draft(a, b, k):
        for place, team in enumerate(picked_by):
            if team != N:
                by_position[place, team] += 1
    assert (by_position[:, 0] == by_position[:, 1]).all()


@given(LISTS, LISTS, st.integers(1, 7))
def test_changing_places_changes_the_sign(a, b, k):
    one = sorted((items, picked_by) for items, picked_by in every_draft(a, b, k))
    other = sorted((items, [t if t == N else 1 - t for t in picked_by]) for items, picked_by in every_draft(b, a, k))
    assert one == other


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7))
def test_many_at_once_are_the_same_as_one_by_one(seed, k):
    rng = np.random.default_rng(seed)
    a, b = (np.array([rng.permutation(k + 3)[:k] for _ in range(8)], dtype=np.int32) for _ in range(2))
    heads = coins(k, rng, 8)
    items, picked_by = team_drafts(a, b, heads)
    for row in range(8):
        one = team_draft(a[row], b[row], k, heads[row])
        assert items[row].tolist() == one.items.tolist()
        assert picked_by[row].tolist() == one.picked_by.tolist()


def test_a_known_blind_spot_of_team_draft():
    """Only item 3 is liked. The challenger has it second, the incumbent third, and no preference is ever expected.

    The case of Radlinski and Craswell (2013): what both put third in the draft is anybody's.
    """
    total = sum(
        int(preference(np.array(picked_by), np.array(items) == 3))
        for items, picked_by in every_draft([1, 2, 3], [2, 3, 1], 3)
    )
    assert total == 0


def test_a_ranker_that_has_the_liked_item_first_is_preferred():
    total = [
        int(preference(np.array(picked_by), np.array(items) == 9))
        for items, picked_by in every_draft([1, 2, 3], [9, 2, 3], 3)
    ]
    assert total == [1] * 4


def test_preference_is_the_sign_of_clicks():
    picked_by = np.array([[A, B, N, B], [A, B, A, B], [A, B, N, N]], dtype=np.int8)
    clicked = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    assert preference(picked_by, clicked).tolist() == [1, -1, 0]


def test_mistakes():
    with pytest.raises(DataError, match="no item twice"):
        draft([1, 1], [2], 2, True)
    with pytest.raises(DataError, match="k=0"):
        draft([1], [2], 0)
    with pytest.raises(DataError, match=r"k=4, 1 coins: .* a coin for each pair"):
        draft([1], [2], 4, True)
