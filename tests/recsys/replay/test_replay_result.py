"""The tables of a replay: their columns, and that every figure can be computed anew from events.parquet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.errors import DataError, ModelError
from recsys.evaluation.statistics import holm
from recsys.model.profile import ProfileConfig
from recsys.replay import Replay, ReplayConfig, replay
from recsys.replay.replay_arms import NamedArm
from recsys.replay.result import FILES, TABLES
from tests.recsys.replay.replay_logs import small_dataset

CONFIG = ReplayConfig(k=5, targets=("next_item", "next_purchase", "session"), bootstrap=100, group="country")


@pytest.fixture(scope="module")
def found() -> Replay:
    dataset = small_dataset(1, n_events=250)
    table = np.random.default_rng(0).normal(size=(len(dataset.items), 4)).astype(np.float32)
    arms = [NamedArm("local", ProfileConfig(), "local", table), NamedArm("global"), NamedArm("popularity")]
    return replay(dataset, arms, CONFIG)


def test_every_figure_of_the_cuts_is_the_mean_over_users_of_the_events_rows(found: Replay, tmp_path: Path) -> None:
    found.write(tmp_path / "out")
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    cuts = pl.read_parquet(tmp_path / "out" / "cuts.parquet")
    events = events.filter(pl.col("relevant") > 0).with_columns(all=pl.lit("all"))
    best = pl.col("ndcg@5").max().over("target", "event")
    events = events.with_columns((best - pl.col("ndcg@5")).alias("regret@5"))
    checked = 0
    for (target, cut, metric), rows in cuts.group_by("target", "cut", "metric"):
        own = events.filter(pl.col("target") == target)
        by_user = own.group_by("arm", pl.col(str(cut)).alias("bucket"), "user_id").agg(
            mean=pl.col(str(metric)).mean(), n=pl.len()
        )
        anew = by_user.group_by("arm", "bucket").agg(
            anew=pl.col("mean").mean(), users_anew=pl.len(), n=pl.col("n").sum()
        )
        both = rows.join(anew, on=["arm", "bucket"], how="left")
        assert both.filter(pl.col("anew").is_null()).is_empty()
        np.testing.assert_allclose(both["value"], both["anew"], rtol=1e-12, atol=1e-15)
        assert (both["users"] == both["users_anew"]).all()
        assert (both["events"] == both["n"]).all()
        assert ((both["low"] <= both["value"] + 1e-12) & (both["value"] <= both["high"] + 1e-12)).mean() > 0.9
        checked += len(both)
    assert checked == len(cuts) > 500


def test_comparisons_are_paired_over_users_and_corrected_by_holm(found: Replay) -> None:
    events = found.events.filter(pl.col("relevant") > 0, target="next_item")
    means = events.group_by("arm", "user_id").agg(pl.col("ndcg@5").mean()).sort("user_id")
    a, b = (means.filter(arm=arm)["ndcg@5"].to_numpy() for arm in ("local", "global"))
    row = found.comparisons.filter(target="next_item", cut="all", a="local", b="global").row(0, named=True)
    assert row["difference"] == pytest.approx((a - b).mean(), abs=1e-12)
    assert row["users"] == len(a)
    for (_, _), family in found.comparisons.group_by("target", "cut"):
        np.testing.assert_allclose(family["p_holm"], holm(family["p_value"].to_numpy()))


def test_the_folder_holds_the_tables_and_strict_json_and_is_not_written_over_other_things(
    found: Replay, tmp_path: Path
) -> None:
    found.write(tmp_path / "out")
    found.write(tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)
    written = json.loads((tmp_path / "out" / "replay.json").read_text())
    assert written == json.loads(json.dumps(found.to_dict()))
    assert [row["arm"] for row in written["summary"][:3]] == ["local", "global", "popularity"]
    for name in TABLES:
        assert pl.read_parquet(tmp_path / "out" / f"{name}.parquet").equals(found.tables[name])
        assert len(found.to_pandas()[name]) == len(found.tables[name])
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(DataError, match=r"letter\.txt"):
        found.write(tmp_path / "out")


def test_rows_are_in_order_of_time_and_every_cut_is_there(found: Replay) -> None:
    for (_, _), rows in found.events.group_by("target", "arm"):
        assert rows["time"].is_sorted()
    assert found.cuts["cut"].unique().sort().to_list() == [
        "all", "category", "day", "group", "history", "hours", "past", "popularity", "price",
    ]  # fmt: skip
    assert set(found.comparisons["cut"]) == set(found.cuts["cut"]) - {"day"}
    assert (found.comparisons["p_holm"] >= found.comparisons["p_value"]).all()


def test_sampled_metrics_are_refused_without_the_flag() -> None:
    with pytest.raises(ModelError, match="allow_sampled"):
        ReplayConfig(negatives=99)
    with pytest.raises(ModelError, match="next_item only"):
        ReplayConfig(negatives=99, allow_sampled=True, targets=("session",))


def test_sampled_negatives_flatter_and_all_candidates_are_the_full_ranking() -> None:
    dataset = small_dataset(2)
    full = replay(dataset, [NamedArm("popularity")], ReplayConfig(k=5, bootstrap=100, lists=False))
    few, all_ = (
        replay(
            dataset,
            [NamedArm("popularity")],
            ReplayConfig(k=5, bootstrap=100, lists=False, negatives=n, allow_sampled=True),
        )
        for n in (3, 1000)
    )
    assert few.events["rank"].max() <= 4
    assert few.protocol["ranking"] == "among 3 sampled items"
    assert all_.events.equals(full.events)
