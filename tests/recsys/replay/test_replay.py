"""Replay is the obvious one, sees no future, and ends in the same bytes in any number of processes, stopped or not."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from data.dataset import Dataset
from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, Interactions, interactions
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig
from recsys.model.trend import decayed_popularity
from recsys.replay import Publication, Replay, ReplayConfig, replay
from recsys.replay.questions import follow_each_other
from recsys.replay.reference import Reference, replay_slowly
from recsys.replay.replay_arms import NamedArm
from recsys.replay.timeline import ItemPopularity, periods
from recsys.replay.trainer import Arrays
from tests.recsys.replay.replay_logs import dataset_of, small_dataset, with_log

PROFILE = ProfileConfig(half_life=2.0, trend_weight=0.3, repeat_weight=0.4)
ALL = ReplayConfig(k=5, targets=("next_item", "next_purchase", "session"), bootstrap=100, cohort_size=4)


@dataclass(frozen=True)
class CountingTrainer:
    """Moves the rows of the cohort's items by a fixed amount: no federation, but every round shows."""

    step: float = 0.5

    def identity(self) -> str:
        return f'{{"step": {self.step}}}'

    def start(self, n_items: int) -> Arrays:
        return {"rows": np.random.default_rng(1).normal(size=(n_items, 3)).round(1)}

    def round(self, state: Arrays, cohort: Interactions, now: int, number: int) -> Arrays:
        rows = state["rows"].astype(np.float64)
        counts = np.bincount(cohort.item_idx, minlength=len(rows)) / (1 + cohort.n_events)
        return {"rows": rows + self.step * counts[:, None] * np.array([1.0, -1.0, 0.5]) + 1e-3 * (number % 3)}

    def table(self, state: Arrays, trend: npt.NDArray[np.float32]) -> ItemTable:
        return ItemTable(state["rows"].astype(np.float32), trend, np.zeros(3, dtype=np.float32))


ARMS = (NamedArm("personalized", PROFILE), NamedArm("global"), NamedArm("popularity"))


def fast_ranks(found: Replay) -> list[tuple[int, str, int | None, bool]]:
    events = found.events.filter(target="next_item")
    columns = events.select("event", "arm", "rank", pl.col("relevant") > 0)
    return sorted(columns.rows())


@pytest.mark.parametrize(("seed", "ties"), list(itertools.product(range(4), ("together", "in_order"))))
def test_the_fast_replay_is_the_obvious_one(seed: int, ties: str) -> None:
    dataset = small_dataset(seed, n_events=150, undone=0.1)
    config = replace(ALL, ties=ties, lists=False, targets=("next_item",))  # type: ignore[arg-type]
    found = replay(dataset, ARMS, config, trainer=CountingTrainer())
    words = [Reference("personalized", PROFILE), Reference("global"), Reference("popularity")]
    slow = replay_slowly(dataset.interactions(), words, config, CountingTrainer(), in_order=ties == "in_order")
    assert sorted((row, arm, place if ok else None, ok) for row, arm, place, ok in slow) == [
        (row, arm, place if ok else None, ok) for row, arm, place, ok in fast_ranks(found)
    ]
    assert sum(place is not None for _, _, place, _ in slow) > 250


def test_ties_of_scores_rank_by_item_as_everywhere_else() -> None:
    dataset = small_dataset(3, n_events=120)
    same = np.ones((len(dataset.items), 2), dtype=np.float32)  # every profile ties on every item
    flat = replace(PROFILE, trend_weight=0.0, repeat_weight=0.0)
    found = replay(dataset, [NamedArm("local", flat, "tied", same)], replace(ALL, lists=False, targets=("next_item",)))
    with_history = pl.col("past_events") > 0  # who has none gets the trend, whatever the profile's settings are
    events = found.events.filter(pl.col("rank").is_not_null() & with_history).join(
        dataset.catalogue.with_row_index("item"), on="item_id"
    )
    candidates = events.with_columns(day=pl.col("bundle")).sort("event")
    first = {int(n): levels for n, levels in _seen_by_bundle(dataset).items()}
    expected = [int(first[bundle][:item].sum()) + 1 for bundle, item in candidates.select("bundle", "item").rows()]
    assert candidates["rank"].to_list() == expected


def _seen_by_bundle(dataset: Dataset) -> dict[int, npt.NDArray[np.bool_]]:
    log = dataset.interactions()
    levels, rows, seen = ItemPopularity.start(log.n_items), np.empty(0, dtype=np.int64), {}
    for period in periods(log, MICROS_PER_DAY):
        levels = levels.after(log, rows, period.begin)
        seen[period.number], rows = levels.seen, period.rows
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_future_is_the_answers_before_it_are_the_same(seed: int) -> None:
    dataset = small_dataset(seed, n_events=250, undone=0.1)
    rng = np.random.default_rng(seed)
    time = dataset.log["time"].to_physical().to_numpy()
    moment = int(np.quantile(time, 0.3 + 0.4 * rng.random()))
    later = np.flatnonzero(time >= moment)
    item, kind = dataset.log["item_idx"].to_numpy().copy(), dataset.log["kind"].to_numpy().copy()
    item[later], kind[later] = rng.permutation(item[later]), rng.permutation(kind[later])
    gone = dataset.log["undone_time"].to_physical().fill_null(-1).to_numpy().copy()
    news = gone >= moment
    gone[news] += rng.integers(0, MICROS_PER_DAY, news.sum())
    undone = pl.Series(gone).replace(-1, None).cast(dataset.log["undone_time"].dtype)
    other = with_log(
        dataset, dataset.log.with_columns(item_idx=pl.Series(item), kind=pl.Series(kind), undone_time=undone)
    )
    config = replace(ALL, targets=("next_item",), lists=False)
    shown = [
        replay(one, ARMS, config, trainer=CountingTrainer())
        .events.filter(pl.col("time").to_physical() < moment)
        .select("event", "arm", "past_events", "relevant", "rank", "ndcg@5")
        for one in (dataset, other)
    ]
    assert len(shown[0]) > 100
    assert shown[0].equals(shown[1])


def test_arms_are_shown_nothing_at_or_after_the_moment() -> None:
    @dataclass(frozen=True)
    class Watching:
        name: str = "watching"

        def publish(self, at: Publication) -> Watching:
            known = at.known()
            assert known.n_events == 0 or known.time.max() < at.now
            return self

        def scores(
            self, histories: Interactions, users: npt.NDArray[np.int64], now: npt.NDArray[np.int64]
        ) -> npt.NDArray[np.float32]:
            moments = np.repeat(now, histories.counts[users])
            assert (histories.users(users).time < moments).all()
            assert len(histories.undone_row) == 0
            return np.zeros((len(users), histories.n_items), dtype=np.float32)

    found = replay(small_dataset(0), [Watching()], replace(ALL, ties="together"))
    assert found.events.height > 300


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def written(folder: Path, jobs: int = 1) -> dict[str, str]:
    found = replay(
        small_dataset(7, n_events=500), ARMS, replace(ALL, group="country"), trainer=CountingTrainer(), jobs=jobs
    )
    found.write(folder)
    return digest(folder)


def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "one") == written(tmp_path / "two", jobs=2)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_stopped_replay_goes_on_to_the_same_bytes(tmp_path: Path, stop: int) -> None:
    class Pulled(Exception):
        pass

    calls = 0

    def pull(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        assert 0 < done <= total
        if calls == stop:
            raise Pulled

    dataset, config = small_dataset(7, n_events=500), replace(ALL, group="country")
    work = tmp_path / "work"
    with pytest.raises(Pulled):
        replay(dataset, ARMS, config, trainer=CountingTrainer(), work=work, on_period=pull)
    assert (work / "state.npz").exists()
    with pytest.raises(ModelError, match="another log"):
        replay(dataset, ARMS, replace(config, k=6), trainer=CountingTrainer(), work=work)
    replay(dataset, ARMS, config, trainer=CountingTrainer(), work=work).write(tmp_path / "out")
    assert not work.exists()
    assert digest(tmp_path / "out") == written(tmp_path / "whole")


def test_levels_carried_from_day_to_day_are_those_of_the_whole_log() -> None:
    dataset = small_dataset(4, n_events=400, undone=0.2)
    log = dataset.interactions()
    levels, rows = ItemPopularity.start(log.n_items), np.empty(0, dtype=np.int64)
    from data.split import known_at

    for period in periods(log, MICROS_PER_DAY):
        levels = levels.after(log, rows, period.begin)
        rows = period.rows
        known = known_at(log, period.begin)
        np.testing.assert_allclose(levels.recent, decayed_popularity(known, period.begin), atol=1e-12)
        np.testing.assert_allclose(levels.counts, decayed_popularity(known, period.begin, np.inf), atol=1e-12)


def test_dates_without_a_time_of_day_are_taken_in_order() -> None:
    days = np.array([0, 0, 1]) * MICROS_PER_DAY
    assert follow_each_other(days, "auto")
    assert not follow_each_other(days + 1, "auto")
    assert not follow_each_other(days, "together")


def test_targets_by_hand() -> None:
    hour = MICROS_PER_DAY // 24
    # Day 0 makes items 0-3 known. On day 1 device 1 views 0, soon buys 1 and 2 at once, and views 3 the day after.
    user = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    item = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    kind = np.array([0, 0, 0, 0, 0, 2, 2, 0])
    time = np.array([1, 2, 3, 4, 25, 25.4, 25.4, 49]) * hour
    dataset = dataset_of(user, item, kind, time.astype(np.int64), 2, 4)
    ones = np.ones((4, 1), dtype=np.float32)
    arm = NamedArm("local", replace(PROFILE, trend_weight=0.0, repeat_weight=0.0), "by_item", ones)
    found = replay(dataset, [arm], replace(ALL, k=3, start_us=20 * hour))
    # At 25 h device 1 has no history: its list is the trend, 3, 2, 1, 0. From then on the list is 0, 1, 2, 3.
    # Next purchase at 25 h: items 1 and 2, at places 3 and 2; at 25.4 h at places 2 and 3; at 49 h there is none.
    dcg, ideal = 1 / np.log2(3) + 1 / np.log2(4), 1 + 1 / np.log2(3)
    bought = found.events.filter(target="next_purchase")
    assert bought["event"].to_list() == [4, 5]
    np.testing.assert_allclose(bought["ndcg@3"], dcg / ideal)
    assert bought["rank"].to_list() == [2, 2]
    # Rest of the session (30 minutes end it): at 25 h items 0, 1, 2; at 25.4 h items 1, 2; at 49 h item 3, place 4.
    session = found.events.filter(target="session")
    assert session["relevant"].to_list() == [3, 2, 1]
    np.testing.assert_allclose(session["ndcg@3"], [dcg / (1 + dcg), dcg / ideal, 0.0])
    np.testing.assert_allclose(session["recall@3"], [2 / 3, 1.0, 0.0])
    assert found.events.filter(target="next_item")["rank"].to_list() == [4, 2, 3, 4]
    assert found.events.filter(target="next_item")["past_events"].to_list() == [0, 1, 1, 3]


def test_an_empty_log_and_a_window_without_events_are_said_so() -> None:
    nothing = dataset_of(*(np.empty(0, dtype=np.int64) for _ in range(4)), 1, 3)  # type: ignore[misc]
    with pytest.raises(ModelError, match="no events"):
        replay(nothing, [NamedArm("global")], ALL)
    with pytest.raises(ModelError, match="start and until"):
        replay(small_dataset(0), [NamedArm("global")], replace(ALL, start_us=0, until_us=1))
    with pytest.raises(ModelError, match="distinct"):
        replay(small_dataset(0), [NamedArm("global"), NamedArm("global")], ALL)
    assert interactions([], [], [], n_users=1, n_items=1).n_events == 0
