from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from data.interactions import interactions
from data.vocabulary import Vocabulary
from recsys.fairness.groups import NOBODY, by_activity, by_niche_taste, declared, in_thirds, tail_items


def test_the_tail_is_what_is_left_of_the_head_that_has_its_share() -> None:
    counts = np.array([6, 1, 2, 1])  # 6 of 10 are below .8, so item 2 (6 + 2 = 8) is still head
    np.testing.assert_array_equal(tail_items(counts), [False, True, False, True])
    np.testing.assert_array_equal(tail_items(counts, 0.5), [False, True, True, True])
    np.testing.assert_array_equal(tail_items(np.array([3, 3, 3]), 0.5), [False, False, True])  # ties by item_idx


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_head_of_nothing_or_of_all_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="head_share"):
        tail_items(np.array([1, 2]), share)


def test_thirds_never_cut_equal_values_apart_and_leave_the_unknown_out() -> None:
    grouping = in_thirds("x", np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, np.nan]))
    assert grouping.level_of.tolist() == [0, 0, 1, 1, 2, 2, NOBODY]
    assert set(in_thirds("x", np.ones(9)).level_of.tolist()) == {0}
    assert in_thirds("x", np.full(3, np.nan)).level_of.tolist() == [NOBODY] * 3


def test_activity_and_niche_taste_read_the_history_of_the_asked_shoppers_alone() -> None:
    # user 0 has the tail item 2 in 2 of 4 events, user 1 in 1 of 1, user 2 in 0 of 2, user 3 has no history
    log = interactions([0, 0, 0, 0, 1, 2, 2], [0, 2, 2, 1, 2, 0, 1], range(7), n_users=4, n_items=3)
    users, tail = np.array([3, 2, 1, 0]), np.array([False, False, True])
    activity = by_activity(log, users)
    assert [activity.levels[level] for level in activity.level_of] == ["none", "middle", "low", "high"]
    assert by_niche_taste(log, users, tail).level_of.tolist() == [NOBODY, 0, 2, 1]


def test_declared_attributes_are_in_the_logs_order_and_the_undeclared_are_in_no_group() -> None:
    users = Vocabulary(["b", "a", "c"])
    frame = pl.DataFrame({"user_id": ["a", "b", "x"], "age": ["19-24", "65+", "25-34"], "sex": [None, "f", "m"]})
    age, sex = declared(frame, users)
    assert (age.name, age.levels, age.level_of.tolist()) == ("age", ("19-24", "65+"), [1, 0, NOBODY])
    assert (sex.levels, sex.level_of.tolist()) == (("f",), [0, NOBODY, NOBODY])


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        (pl.DataFrame({"age": ["1"]}), "user_id"),
        (pl.DataFrame({"user_id": ["a"]}), "user_id"),
        (pl.DataFrame({"user_id": ["a", "a"], "age": ["1", "2"]}), "twice"),
        (pl.DataFrame({"user_id": [f"u{n}" for n in range(30)], "name": [f"n{n}" for n in range(30)]}), "at most"),
    ],
)
def test_a_users_file_that_says_nothing_usable_is_refused(frame: pl.DataFrame, match: str) -> None:
    with pytest.raises(DataError, match=match):
        declared(frame, Vocabulary([f"u{n}" for n in range(30)]))
