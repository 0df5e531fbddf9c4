"""What a target policy may say, and what is refused of it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from data.logged_feedback import read_logged_feedback
from recsys.off_policy import policies
from recsys.off_policy.policies import SlotPolicy, chance_of_shown, in_chunks
from tests.recsys.off_policy.world import World

LOG = read_logged_feedback(
    pl.DataFrame({"item": list("abab"), "slot": [1, 1, 2, 1], "reward": [0, 1, 0, 1], "propensity": [0.5] * 4})
)


def test_uniform_and_frequencies_by_hand():
    assert SlotPolicy.uniform(LOG).table.tolist() == [[0.5, 0.5], [1, 0]]
    found = SlotPolicy.frequencies(LOG, "own")
    assert found.table == pytest.approx(np.array([[1 / 3, 2 / 3], [1, 0]]))
    assert chance_of_shown(found, LOG).tolist() == pytest.approx([1 / 3, 2 / 3, 1, 2 / 3])
    half = found.mixed(SlotPolicy.uniform(LOG), 0.5)
    assert half.name == "own+0.5·uniform"
    assert half.table[0] == pytest.approx([5 / 12, 7 / 12])
    with pytest.raises(DataError, match=r"share=2: must be 0..1"):
        found.mixed(found, 2)


def test_a_policy_from_a_frame():
    frame = pl.DataFrame({"slot": [1, 1, 2], "item": ["a", "b", "a"], "probability": [0.25, 0.75, 1.0]})
    assert SlotPolicy.from_frame(frame, LOG, "file").table.tolist() == [[0.25, 0.75], [1, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": [0.25, 0.7, 1.0]}, "chances of slot '1' sum to 0.95, not 1"),
        ({"probability": [0.25, -0.75, 1.0]}, r"probability=-0.75: must be 0..1"),
        ({"probability": [0.25, None, 1.0]}, r"probability=None: must be 0..1"),
        ({"item": ["a", "c", "a"]}, "item='c': the log never shows it"),
        ({"slot": [1, 1, 3]}, "slot='3': the log never shows it"),
        ({"slot": [1, 1, 1]}, "slot='1', item='a' occurs twice"),
    ],
)
def test_a_frame_that_is_no_policy_is_refused(change, message):
    frame = {"slot": [1, 1, 2], "item": ["a", "b", "a"], "probability": [0.25, 0.75, 1.0]}
    with pytest.raises(DataError, match=message):
        SlotPolicy.from_frame(pl.DataFrame(frame | change), LOG, "file")


def test_a_frame_needs_its_columns():
    with pytest.raises(DataError, match="no column 'slot'; needs item, probability, slot"):
        SlotPolicy.from_frame(pl.DataFrame({"item": ["a"], "probability": [1.0]}), LOG, "file")


def test_chances_that_are_none_are_refused_by_line():
    silent = SlotPolicy("silent", np.array([[0.5, 0.5], [0, 0]]))
    with pytest.raises(DataError, match="policy=silent: chances at line 3 sum to 0"):
        chance_of_shown(silent, LOG)
    with pytest.raises(DataError, match=r"probabilities of shape \(4, 3\), must be \(4, 2\)"):
        chance_of_shown(SlotPolicy("wide", np.full((2, 3), 1 / 3)), LOG)
    with pytest.raises(DataError, match=r"sum to 1 \(smallest -0.5\)"):
        chance_of_shown(SlotPolicy("negative", np.array([[1.5, -0.5], [1, 0]])), LOG)
    with pytest.raises(DataError, match="sum to nan"):
        chance_of_shown(SlotPolicy("nan", np.full((2, 2), np.nan)), LOG)


def test_chunks_change_nothing(monkeypatch):
    world = World()
    log = world.log(500, 0)
    whole = chance_of_shown(world.target(), log)
    monkeypatch.setattr(policies, "CELLS_AT_ONCE", 42)
    assert sum(1 for _ in in_chunks(world.target(), log)) > 50
    assert np.array_equal(chance_of_shown(world.target(), log), whole)
