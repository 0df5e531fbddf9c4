"""The zoo at a tiny size: what a change does to a log, what is counted, and that stopped work goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data.errors import DataError, OwnshelfError
from data.interactions import MICROS_PER_DAY as DAY
from data.interactions import EventKind, Interactions
from recsys.evaluation.conclusion import SIMPLE
from tests.benchmarks import zoo, zoo_members
from tests.benchmarks.zoo_members import BASES, Loaded, Member, members
from tests.federation.simulation.test_training import tastes


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Member, ...]]:
    """Two members of a log of 120 devices, and one whose log is not at hand."""

    def missing() -> Loaded:
        raise DataError("elsewhere.csv: not there")

    monkeypatch.setitem(BASES, "tiny", lambda: Loaded(tastes(n_users=120)))
    monkeypatch.setitem(BASES, "gone", missing)
    monkeypatch.setattr(zoo, "FEWEST", 20)
    yield (
        Member("tiny:plain", "tiny", zoo_members.plain, False),
        Member("tiny:once", "tiny", zoo_members.once, True),
        Member("gone:plain", "gone", zoo_members.plain, False),
    )
    zoo_members._base.cache_clear()


def test_its_figures_have_the_agreed_keys_and_stopped_work_goes_on(tiny: tuple[Member, ...], tmp_path: Path) -> None:
    told: list[str] = []
    figures = zoo.run(zoo=tiny, kept=tmp_path, say=told.append)
    json.dumps(figures, allow_nan=False)
    assert figures["members"] == 2
    assert figures["left_out"] == [{"member": "gone:plain", "why": "elsewhere.csv: not there"}]
    assert {"members", "below_simple", "above_central_share", "table"} <= set(figures)
    for row in figures["table"]:
        assert {"member", "part", "default", "best_simple", "best_simple_name", "best_central"} <= set(row)
        assert row["best_simple_name"] in SIMPLE
        assert row["users"] >= 20
        assert row["difference"] == pytest.approx(row["default"] - row["best_simple"], abs=1e-9)
        assert row["held_out"] == (row["member"] == "tiny:once")
    assert {row["part"] for row in figures["table"]} >= {"all", "new"}
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert zoo.run(zoo=tiny, kept=tmp_path, say=told.append) == figures
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert len([line for line in told if line.startswith("tiny:")]) == 2  # nothing was measured again
    one = zoo.run(zoo=tiny, members="tiny:once", kept=tmp_path)
    assert one["members"] == 1


def row(member: str, part: str, difference: float, p: float, **more: Any) -> dict[str, Any]:
    return {
        "member": member, "part": part, "default": 0.2 + difference, "best_simple": 0.2, "best_simple_name": "global",
        "best_central": 0.2, "best_central_name": "ease", "difference": difference, "p_value": p, "users": 400,
        "ci95": [difference - 0.01, difference + 0.01], "held_out": False, "means": {},
    } | more  # fmt: skip


def measured(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    names = dict.fromkeys(one["member"] for one in rows)
    return [
        {"member": name, "reasons": [], "cpu_s": 1.0, "rows": [one for one in rows if one["member"] == name]}
        for name in names
    ]


def test_pairs_are_counted_after_holm_with_repeat_and_with_again_in_its_place() -> None:
    found = zoo.figures_of(
        measured(
            row("a", "all", -0.05, 0.001), row("a", "new", -0.05, 0.03), row("a", "repeat", -0.3, 0.001),
            row("b", "all", +0.05, 0.001), row("b", "cold", 0.0, 1.0), row("b", "again", -0.005, 0.4),
        )
    )  # fmt: skip
    by_count = {
        name: {(one["member"], one["part"]): one["p_holm"][name] for one in found["table"] if name in one["p_holm"]}
        for name in zoo.COUNTS
    }
    # five pairs: .001 · 5, never less for the next: .005, .005, then .03 · 2
    assert by_count["below_simple"] == pytest.approx(
        {("a", "all"): 0.005, ("a", "repeat"): 0.005, ("b", "all"): 0.005, ("a", "new"): 0.06, ("b", "cold"): 1.0}
    )
    # five pairs: .001 · 5, .001 · 4 → .005, .03 · 3 = .09, .4 · 2
    assert by_count["below_simple_again"] == pytest.approx(
        {("a", "all"): 0.005, ("a", "new"): 0.09, ("b", "all"): 0.005, ("b", "cold"): 1.0, ("b", "again"): 0.8}
    )
    assert (found["below_simple"], found["below_simple_again"]) == (2, 1)
    assert found["above_central_share"] == 0.5
    assert "2 members, below the best simple baseline: 2 of 5 pairs over all, new, repeat, cold; 1 of 5 pairs" in (
        zoo.summary(found)
    )


def test_its_table_and_its_picture_show_every_pair(tmp_path: Path) -> None:
    found = zoo.figures_of(measured(row("a", "all", -0.05, 0.001), row("b", "new", 0.05, 0.5, held_out=True)))
    table = zoo.markdown(found)
    assert "| a | all | **0.150** | 0.200 global | -0.050 [-0.060, -0.040] | 0.200 ease | 400 |" in table
    assert "| b * | new | 0.250 |" in table
    zoo.plot(found, tmp_path / "zoo.png")
    assert (tmp_path / "zoo.png").read_bytes().startswith(b"\x89PNG")
    console = Console(record=True, width=160)
    zoo.show(found, console)
    assert "b *" in console.export_text()


def test_the_rival_is_chosen_on_the_train_side_alone(tiny: tuple[Member, ...]) -> None:
    log, at = tiny[0].load()
    asked = zoo.question(log, "temporal", at)
    test = asked.split.test
    shuffled = zoo.replace(test, item_idx=np.random.default_rng(0).permutation(test.item_idx))
    other = zoo.replace(asked, split=zoo.replace(asked.split, test=shuffled))
    assert zoo.best_on_holdout(asked, "temporal", 7.0, 0) == zoo.best_on_holdout(other, "temporal", 7.0, 0)


def test_there_are_enough_members_and_a_third_of_them_is_held_out() -> None:
    every = members()
    assert len(every) >= 40
    assert len({one.name for one in every}) == len(every)
    assert sum(one.held_out for one in every) == len(every) // 3
    assert {one.base for one in every} == set(BASES)
    with pytest.raises(OwnshelfError, match="members=nobody: none of that name; there are retail:plain"):
        zoo.run(members="nobody")


def test_a_catalogue_is_read_as_evaluate_reads_it_unless_items_are_others() -> None:
    by_name = {one.name: one for one in members()}
    attributes = by_name["eshop:plain"].attributes
    assert attributes is not None
    assert (attributes.category >= 0).any()
    assert by_name["eshop:once"].attributes is not None
    for name in ("eshop:catalogue-x10", "eshop:fashionable", "shop:plain"):
        assert by_name[name].attributes is None


def changed(change: zoo_members.Change) -> tuple[Interactions, Interactions, int]:
    log = tastes(n_users=60)
    at = int(np.quantile(log.time, 0.8))
    return log, change(log, at, np.random.default_rng(0)), at


@pytest.mark.parametrize("change", [zoo_members.last(1), zoo_members.last(3), zoo_members.last(7)])
def test_histories_are_cut_and_the_future_is_not(change: zoo_members.Change) -> None:
    log, cut, at = changed(change)
    known = np.bincount(cut.user_idx[cut.time < at], minlength=60)
    assert known.max() in (1, 3, 7)
    assert (cut.time >= at).sum() == (log.time >= at).sum()


def test_changes_do_what_they_say() -> None:
    log, large, _ = changed(zoo_members.larger_catalogue)
    assert large.n_items == 10 * log.n_items
    assert (large.item_idx // 10 == log.item_idx).all()
    pairs = set(zip(large.user_idx.tolist(), large.item_idx.tolist(), strict=True))
    assert len(pairs) == len(set(zip(log.user_idx.tolist(), log.item_idx.tolist(), strict=True)))
    _, small, _ = changed(zoo_members.smaller_catalogue)
    assert small.n_items <= log.n_items // 10 + 1
    _, purchases, _ = changed(zoo_members.bought(0.0))
    assert (purchases.kind == EventKind.PURCHASE).sum() == 1
    _, alike, _ = changed(zoo_members.untimed)
    assert len(np.unique(alike.time)) == 1
    assert (alike.item_idx == log.item_idx).all()
    _, day, at = changed(zoo_members.stretched(1.0))
    assert day.time.max() - day.time.min() == pytest.approx(DAY, rel=1e-6)
    assert ((day.time < at) == (log.time < at)).all()
    _, single, _ = changed(zoo_members.once)
    assert len(np.unique(single.user_idx.astype(np.int64) * single.n_items + single.item_idx)) == single.n_events
    _, again, _ = changed(zoo_members.repeating(0.5))
    assert len(np.unique(again.user_idx.astype(np.int64) * again.n_items + again.item_idx)) < single.n_events
    _, robots, _ = changed(zoo_members.with_bots)
    assert robots.n_users == 65
    assert robots.n_events == log.n_events + 5 * (log.n_events // 100)
    _, still, _ = changed(zoo_members.trendless)
    assert sorted(still.item_idx.tolist()) == sorted(log.item_idx.tolist())
    _, sampled, _ = changed(zoo_members.devices(20))
    assert sampled.n_users == 20


def test_a_log_that_is_not_at_hand_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOO_LOGS", str(tmp_path))
    for load in (zoo_members._rees46, partial(zoo_members._journey, 5)):
        with pytest.raises(DataError, match=f"{tmp_path}.*not there"):
            load()
