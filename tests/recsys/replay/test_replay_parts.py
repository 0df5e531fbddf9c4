"""The parts of a replay by hand: positions without a ranking, buckets, changes of taste, what lists are like."""

from __future__ import annotations

import doctest
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsys.replay.cuts
from data.errors import ModelError
from data.interactions import MICROS_PER_DAY, Interactions
from recsys.evaluation.baselines import FixedList
from recsys.model.profile import ProfileConfig
from recsys.replay import Publication, ReplayConfig, replay
from recsys.replay.answering import diversity, top_lists
from recsys.replay.cuts import head_items, price_bands
from recsys.replay.guards import inspect_replay
from recsys.replay.ranks import UNLISTED, positions
from recsys.replay.replay_arms import NamedArm, TimedRecommender
from recsys.search.ranking import rank
from tests.recsys.replay.replay_logs import dataset_of, small_dataset, with_log

VALUES = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 0.5, 2.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=7, max_size=7), min_size=1, max_size=6), st.booleans())
def test_positions_are_those_of_the_ranking_ties_and_minus_zero_included(rows: list[list[float]], one: bool) -> None:
    scores = np.array(rows, dtype=np.float32)
    scores = np.broadcast_to(scores[0], scores.shape) if one else scores
    row, item = (axis.ravel() for axis in np.indices(scores.shape))
    found = positions(scores, row, item.astype(np.int32)).reshape(scores.shape)
    for own, ranked in zip(found, rank(np.array(scores), 7), strict=True):
        listed = ranked[ranked >= 0]
        assert own[listed].tolist() == list(range(len(listed)))
        assert (np.delete(own, listed) == UNLISTED).all()


def test_a_row_of_nan_is_no_answer_and_a_nan_among_numbers_is_an_error() -> None:
    scores = np.array([[np.nan, np.nan], [1.0, 2.0]], dtype=np.float32)
    row, item = np.array([0, 1]), np.array([0, 0], dtype=np.int32)
    assert positions(scores, row, item).tolist() == [UNLISTED, 1]
    assert top_lists(scores, np.arange(2), 3).tolist() == [[-1, -1, -1], [1, 0, -1]]
    for wrong in ([np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(ModelError, match="NaN or"):
            positions(np.array([wrong, [0, 1]], dtype=np.float32), row, item)


def test_an_arm_without_an_answer_misses() -> None:
    class Shy:
        name = "shy"

        def publish(self, at: Publication) -> TimedRecommender:
            return FixedList(self.name, np.full(len(at.counts), np.nan, dtype=np.float32))

    found = replay(small_dataset(0), [Shy()], ReplayConfig(k=3, bootstrap=100))
    overall = found.cuts.filter(cut="all", metric="ndcg@3")
    assert overall["value"].to_list() == [0.0]
    assert found.events["rank"].null_count() == found.events.height


def test_the_head_is_the_fewest_items_with_half_of_the_events_and_bands_hold_as_many_items() -> None:
    assert head_items(np.array([5.0, 1.0, 3.0, 1.0])).tolist() == [True, False, False, False]
    assert head_items(np.array([4.0, 1.0, 4.0, 1.0])).tolist() == [True, False, True, False]
    assert not head_items(np.zeros(2)).any()
    labels, codes = price_bands(np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, np.nan]))
    assert np.bincount(codes[:-1]).tolist() == [2, 2, 2, 2, 2]
    assert codes[-1] == -1
    assert len(labels) == 5
    assert price_bands(np.array([np.nan]))[0] == ()
    assert doctest.testmod(recsys.replay.cuts).failed == 0


def test_hours_past_events_and_repeats_by_hand() -> None:
    hour = MICROS_PER_DAY // 24
    time = np.array([0, 1, 2.5, 9, 30]) * hour
    dataset = dataset_of(np.zeros(5, int), np.array([0, 1, 0, 1, 0]), np.full(5, 2), time.astype(np.int64), 1, 2)
    gone = pl.Series([2 * hour, None, None, None, None], dtype=pl.Int64).cast(dataset.log["undone_time"].dtype)
    dataset = with_log(dataset, dataset.log.with_columns(undone_time=gone))
    found = replay(dataset, [NamedArm("local", ProfileConfig(), "local", np.eye(2, dtype=np.float32))],
                   ReplayConfig(k=2, bootstrap=100, every_us=hour))  # fmt: skip
    shown = found.events.select("event", "hours", "past", "history")
    assert shown.rows() == [
        (1, "1", "1", "new"),  # the first event was undone only an hour later
        (2, "2-3", "1", "new"),  # by now it is forgotten, and its item is new again
        (3, "8-15", "2", "repeat"),
        (4, "16-31", "3-4", "repeat"),
    ]


def test_the_adaptation_curve_rises_when_the_device_turns_to_another_category() -> None:
    # Items 0-9 are of categories c0, c1, c2 in turn (6 of none). Device 1 takes c0 only, then c1 only.
    first, then = [0, 3, 9, 0, 3, 9, 0], [1, 4, 7, 1, 4, 7, 1, 4]
    own = np.array(first + then)
    crowd = np.tile(np.arange(10), 2)
    user = np.concatenate((np.zeros(len(crowd), int), np.ones(len(own), int)))
    item = np.concatenate((crowd, own))
    time = np.concatenate((np.arange(len(crowd)), 30 + 2 * np.arange(len(own)))) * (MICROS_PER_DAY // 24)
    dataset = dataset_of(user, item, np.zeros(len(user), int), time.astype(np.int64), 2, 10)
    table = np.eye(3, dtype=np.float32)[np.arange(10) % 3]
    config = ProfileConfig(half_life=2.0, half_life_unit="events", floor=0.0, trend_weight=0.0, repeat_weight=0.0)
    found = replay(dataset, [NamedArm("local", config, "local", table)], ReplayConfig(k=3, bootstrap=100))
    assert found.protocol["changes_of_taste"] == 1
    curve = dict(found.adaptation.select("since", "value").rows())
    assert curve[0] == 0.0
    assert curve[3] == 1.0
    assert list(curve) == list(range(8))


def test_diversity_is_one_minus_the_mean_cosine_of_all_pairs() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    lists = np.array([[0, 3, 5], [1, 2, -1], [4, -1, -1]], dtype=np.int32)
    pairs = [rows[0] @ rows[3], rows[0] @ rows[5], rows[3] @ rows[5]]
    found = diversity(lists, rows)
    np.testing.assert_allclose(found[:2], [1 - np.mean(pairs), 1 - rows[1] @ rows[2]], atol=1e-6)
    assert np.isnan(found[2])


def test_churn_is_what_a_new_bundle_puts_in_and_nothing_when_it_brings_nothing() -> None:
    class Turning:
        """Lists items 0, 1, 2 under even bundles and 2, 3, 4 under odd ones."""

        name = "turning"

        def publish(self, at: Publication) -> TimedRecommender:
            liked = range(3) if at.number % 2 == 0 else range(2, 5)
            return FixedList(self.name, np.isin(np.arange(len(at.counts)), liked).astype(np.float32))

    class Still(Turning):
        name = "still"

        def publish(self, at: Publication) -> TimedRecommender:
            return FixedList(self.name, np.arange(len(at.counts), dtype=np.float32))

    days = np.arange(1, 6) * MICROS_PER_DAY
    time = np.concatenate((np.arange(5), np.repeat(days, 2) + np.tile([5, 9], 5)))
    item = np.concatenate((np.arange(5), np.zeros(10, int)))
    dataset = dataset_of(np.zeros(15, int), item, np.zeros(15, int), time, 1, 5)
    found = replay(dataset, [Turning(), Still()], ReplayConfig(k=3, bootstrap=100))
    churn = found.lists.filter(pl.col("bundle") > 1, metric="churn@3")
    assert churn.filter(arm="turning")["value"].to_list() == pytest.approx([2 / 3] * 4)
    assert churn.filter(arm="still")["value"].to_list() == [0.0] * 4
    assert found.lists.filter(bundle=3, metric="coverage@3")["value"].to_list() == [0.6, 0.6]


def test_a_sample_asks_some_of_the_questions_and_answers_them_the_same() -> None:
    dataset = small_dataset(2, n_events=400)
    arms = [
        NamedArm("local", ProfileConfig(), "local", np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32))
    ]
    config = ReplayConfig(k=3, bootstrap=100, lists=False)
    all_, some = replay(dataset, arms, config), replay(dataset, arms, replace(config, sample=0.4))
    kept = all_.events.filter(pl.col("event").is_in(some.events["event"].implode()))
    assert 0.2 < some.events.height / all_.events.height < 0.6
    columns = ["event", "rank", "ndcg@3", "past_events"]
    assert kept.select(columns).equals(some.events.select(columns))


def test_the_guards_find_an_arm_that_kept_the_whole_log_and_trust_one_that_did_not() -> None:
    dataset = small_dataset(3, n_events=600, undone=0.0)

    class Peeks:
        name = "peeks"

        def publish(self, at: Publication) -> TimedRecommender:
            assert at.known.__closure__ is not None
            log = next(cell.cell_contents for cell in at.known.__closure__ if type(cell.cell_contents) is Interactions)
            return FixedList(self.name, np.bincount(log.item_idx, minlength=log.n_items).astype(np.float32))

    class Honest(Peeks):
        name = "honest"

        def publish(self, at: Publication) -> TimedRecommender:
            return FixedList(self.name, at.counts.astype(np.float32))

    found = inspect_replay(dataset, [Honest(), Peeks()])
    assert [(leak.kind, leak.where) for leak in found.certain] == [("model_reads_future", "arm peeks")]
    assert {"future_popularity", "candidates_from_test", "user_alias"} <= set(found.checked)
    with pytest.raises(ModelError, match="one bundle"):
        inspect_replay(dataset, [], ReplayConfig(every_us=10**18))


def test_a_category_called_other_is_not_taken_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recsys.replay.cuts, "CATEGORIES", 3)
    dataset = small_dataset(4, n_items=60, n_events=600)
    names = [f"c{one}" for one in range(59)]
    catalogue = dataset.catalogue.with_columns(category=pl.Series(["other", *names]))
    found = replay(
        replace(dataset, catalogue=catalogue), [NamedArm("popularity")], ReplayConfig(bootstrap=100, lists=False)
    )
    labels = found.cuts.filter(cut="category", metric="ndcg@20")["bucket"].to_list()
    assert "other" in labels
    assert len(set(labels)) == len(labels)
