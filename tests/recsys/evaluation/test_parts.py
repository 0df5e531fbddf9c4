"""The parts `again`, `head` and `tail` of an evaluation, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import ModelError
from data.interactions import interactions
from data.split import temporal
from recsys.evaluation.baselines import FixedList
from recsys.evaluation.evaluation import PARTS, evaluate, head_items


def log():
    """Before 10, user 0: items 0 1, user 1: 0 0 0 2 3; from 10 on, user 0: items 1 4, user 1: items 3 2, user 2: 0."""
    return interactions(
        [0, 0, 1, 1, 1, 1, 1, 0, 0, 1, 1, 2],
        [0, 1, 0, 0, 0, 2, 3, 1, 2, 3, 2, 0],
        [1, 2, 1, 2, 3, 4, 5, 11, 12, 11, 12, 13],
        n_users=3,
        n_items=5,
    )


SCORES = FixedList("fixed", np.array([5, 1, 4, 3, 0], dtype=np.float32))


def test_again_ranks_the_own_items_alone() -> None:
    found = evaluate([SCORES], temporal(log(), 10), k=2, bootstrap=2)
    # user 0 has 0 1: the list 0 1, target 1 at place 2 → log 2 / log 3; user 1 has 0 2 3: list 0 2, targets 3 2 →
    # (1 / log₂ 3) / (1 + 1 / log₂ 3); user 2 has no history
    second = 1 / np.log2(3)
    np.testing.assert_allclose(found.column("fixed", "ndcg@2", "again"), [second, second / (1 + second), np.nan])
    # among all items the list is 0 2 for everybody: user 0's target 1 is not on it
    np.testing.assert_allclose(found.column("fixed", "ndcg@2", "repeat"), [0, second / (1 + second), np.nan])


def test_head_and_tail_split_the_targets_and_not_the_list() -> None:
    # events before 10: item 0 four, items 1 2 3 one each: item 0 alone has half of the seven
    split = temporal(log(), 10)
    assert head_items(split.train).tolist() == [True, False, False, False, False]
    found = evaluate([SCORES], split, k=2, bootstrap=2, parts=("all", "head", "tail"))
    assert np.isnan(found.column("fixed", "ndcg@2", "head")).all()  # the only head target is of a cold user
    np.testing.assert_allclose(found.column("fixed", "hit@2", "tail"), [1, 1, np.nan])
    assert set(found.values["fixed"]) == {"all", "head", "tail"}


def test_by_default_head_and_tail_are_not_measured_and_unknown_parts_are_refused() -> None:
    split = temporal(log(), 10)
    assert tuple(evaluate([SCORES], split, bootstrap=2).values["fixed"]) == PARTS
    with pytest.raises(ModelError, match=r"parts=\['body'\]: must be among all, new, repeat, again, cold, head, tail"):
        evaluate([SCORES], split, parts=("body",))
