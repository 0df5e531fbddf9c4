"""A log with propensities is read whole or refused by line; it never becomes Interactions."""

from __future__ import annotations

import polars as pl
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.log_reading.ingest import ingest
from data.logged_feedback import open_logged_feedback, read_logged_feedback

PUBLISHED = (
    ",timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user-item_affinity_0\n"
    "0,2019-11-24 00:00:34.762830+00:00,14,3,0,0.0125,81ce,03a5,0.0\n"
    "1,2019-11-24 00:00:53.965065+00:00,27,1,1,0.0125,81ce,03a5,1.0\n"
)


def test_the_published_shape_of_open_bandit_is_read(tmp_path):
    (tmp_path / "all.csv").write_text(PUBLISHED)
    log = read_logged_feedback(tmp_path / "all.csv", preset="open-bandit")
    assert log.rounds.select("line", "item_idx", "slot_idx", "unit_idx", "reward", "propensity").rows() == [
        (2, 0, 1, 0, 0.0, 0.0125),
        (3, 1, 0, 1, 1.0, 0.0125),
    ]
    assert log.items.ids.to_list() == ["14", "27"]
    assert log.slots.ids.to_list() == ["1", "3"]
    assert log.rounds.columns[7:] == ["timestamp", "user_feature_0", "user_feature_1"]
    assert not log.by_user
    assert log.policies == []
    told = read_logged_feedback(tmp_path / "all.csv")
    assert told.rounds.equals(log.rounds)  # affinities are left out, as the preset says and generic would not


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u2,b,1,0", r"line 3: propensity=0.0: must be above 0 and at most 1; what was shown had a chance to be"),
        ("u2,b,1,-0.2", r"line 3: propensity=-0.2: must be above 0"),
        ("u2,b,1,1.01", r"line 3: propensity=1.01: must be above 0 and at most 1"),
        ("u2,b,1,nan", r"line 3: propensity=(nan|None|NaN): must be above 0"),
        ("u2,b,1,", r"line 3: propensity=None: must be above 0"),
        ("u2,b,inf,0.5", r"line 3: reward=inf: must be a finite number"),
        ("u2,b,often,0.5", r"line 3: reward=None: must be a finite number"),
        ("u2,,1,0.5", r"line 3: item is missing"),
        (",b,1,0.5", r"line 3: user is missing"),
        ("u2,b,1,0.5,9", r"line 3: has more fields"),
    ],
)
def test_a_row_that_cannot_be_used_refuses_the_log_by_its_line(tmp_path, row, message):
    (tmp_path / "log.csv").write_text(f"user,item,reward,propensity\nu1,a,0,0.5\n{row}\n{row}\nu3,a,1,1\n")
    with pytest.raises(DataError, match=rf"{message}.* \(and 1 more lines\); no row may be left out"):
        read_logged_feedback(tmp_path / "log.csv")


def test_users_are_units_and_context_columns_are_kept():
    frame = pl.DataFrame(
        {"user_id": ["z", "y", "z"], "item": [7, 8, 7], "reward": [0, 1, 0], "propensity": [0.5, 0.25, 1.0]}
    ).with_columns(country=pl.lit("PL"), line=pl.lit(9))
    log = read_logged_feedback(frame)
    assert log.by_user
    assert log.unit_idx.tolist() == [1, 0, 1]
    assert log.n_units == 2
    assert log.slots.ids.to_list() == ["all"]
    assert log.rounds.columns[7:] == ["country", "source_line"]
    assert log.where(pl.col("country") == "PL").reward.tolist() == [0, 1, 0]
    assert log.take(slice(0, 1)).unit_idx.tolist() == [0]
    with pytest.raises(DataError, match="no round is left of 3"):
        log.where(pl.col("country") == "US")


def test_the_bundled_log_is_what_its_publisher_says():
    log = open_logged_feedback("sample:open-bandit")
    assert (len(log), log.reward.sum(), log.policies) == (60_000, 287, ["bts", "random"])
    assert (len(log.items), len(log.slots)) == (80 + 34 + 46, 9)
    uniform = log.of_policy("random").rounds.group_by("campaign").agg(pl.col("propensity").unique().implode())
    chances = {row[0]: 1 / row[1][0] for row in uniform.rows()}
    assert chances == pytest.approx({"all": 80, "men": 34, "women": 46})


def test_mistakes_say_what_to_do(tmp_path):
    frame = pl.DataFrame({"item": ["a"], "click": [1], "chance": [0.5]})
    with pytest.raises(DataError, match=r"no one column for propensity \(known as .*found item, click, chance"):
        read_logged_feedback(frame)
    assert read_logged_feedback(frame, mapping={"propensity": "chance"}).propensity.tolist() == [0.5]
    with pytest.raises(DataError, match="mapping propensity=p: no column 'p'; found item, click, chance"):
        read_logged_feedback(frame, mapping={"propensity": "p"})
    with pytest.raises(DataError, match="the role must be one of item, reward"):
        read_logged_feedback(frame, mapping={"chance": "chance"})
    with pytest.raises(DataError, match="must be one of auto, open-bandit, generic"):
        read_logged_feedback(frame, preset="otto")
    with pytest.raises(DataError, match="was logged by one policy"):
        read_logged_feedback(frame, mapping={"propensity": "chance"}).of_policy("bts")
    with pytest.raises(DataError, match="has no rows"):
        read_logged_feedback(frame.clear(), mapping={"propensity": "chance"})
    (tmp_path / "all.csv").write_text(PUBLISHED)
    with pytest.raises(DataError, match="names no shoppers; read it with `ownshelf off-policy`"):
        ingest(tmp_path / "all.csv", preset="open-bandit")
    with pytest.raises(DataError, match=r"no column for user .* it has propensities: such a log is read by"):
        ingest(tmp_path / "all.csv")
    with pytest.raises(DataError, match="read it with `ownshelf off-policy`"):
        Dataset.open("sample:open-bandit")
    with pytest.raises(DataError, match="is sample:open-bandit"):
        open_logged_feedback("sample:online-retail")
