import json
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from data.errors import DataError, ModelError
from data.interactions import EventKind, interactions
from data.split import Split, leave_last_out, temporal
from recsys.evaluation import evaluation
from recsys.evaluation.baselines import item_knn, popularity
from recsys.evaluation.evaluation import compare, compare_several, evaluate
from recsys.evaluation.metrics import user_metrics
from recsys.model.scoring import top_k
from tests.recsys.logs import tastes_log


@dataclass(frozen=True, eq=False)
class Fixed:
    """The given scores (n_users, n_items)."""

    table: np.ndarray
    name: str = "fixed"

    def scores(self, histories, users, now):
        return self.table[users]


def random_model(log, seed=0, name="fixed"):
    """Few distinct scores, so that ties are everywhere."""
    return Fixed(np.random.default_rng(seed).integers(0, 9, (log.n_users, log.n_items)).astype(np.float32), name)


def small():
    # train: user 0 had 0 and 1, user 1 had 1 and 2, user 2 nothing, user 3 had 0; item 3 is in train by user 3
    # test: user 0: 1 (again), 2, 4 (not in train); user 1: 0; user 2: 1; user 3: 4 only, and a dislike of 1
    train = interactions([0, 0, 1, 1, 3, 3], [0, 1, 1, 2, 0, 3], range(6), n_users=4, n_items=5)
    kind = [EventKind.PURCHASE] * 6 + [EventKind.DISLIKE]
    test = interactions([0, 0, 0, 1, 2, 3, 3], [1, 2, 4, 0, 1, 4, 1], range(10, 17), n_users=4, n_items=5, kind=kind)
    return Split(train, test, "by hand", 10)


def by_hand():
    # everybody's list is 4 3 2 1 0; item 4 is no candidate, so 3 2 1 0
    return evaluate([Fixed(np.tile(np.arange(5, dtype=np.float32), (4, 1)))], small(), k=2, bootstrap=50)


def test_full_ranking_by_hand():
    found = by_hand()
    assert found.users.tolist() == [0, 1, 2]
    # user 0: list 3 2, relevant {1, 2}: one hit at 2, (1/log2(3)) / (1 + 1/log2(3)) = .63093 / 1.63093
    # user 1: relevant {0}: nothing. user 2 has no history: cold
    np.testing.assert_allclose(found.column("fixed", "ndcg@2"), [0.63093 / 1.63093, 0, np.nan], atol=1e-5)
    np.testing.assert_array_equal(found.column("fixed", "recall@2"), [0.5, 0, np.nan])


def test_new_items_leave_the_own_history_out_of_list_and_targets():
    found = by_hand()
    # user 0 without 0 and 1: list 3 2, relevant {2}; user 1 without 1 and 2: list 3 0, relevant {0}
    np.testing.assert_array_equal(found.column("fixed", "mrr@2", "new"), [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(found.column("fixed", "recall@2", "new"), [1, 1, np.nan])


def test_repeat_items_are_ranked_among_all():
    # user 0: relevant {1}, list 3 2: no hit; user 1 has no repeat target
    np.testing.assert_array_equal(by_hand().column("fixed", "recall@2", "repeat"), [0, np.nan, np.nan])


def test_cold_users_are_apart():
    found = by_hand()
    # user 2: relevant {1}, list 3 2
    np.testing.assert_array_equal(found.column("fixed", "hit@2", "cold"), [np.nan, np.nan, 0])
    # popularity: counts 2 2 1 1 0: list 0 1
    np.testing.assert_array_equal(found.column("popularity", "hit@2", "cold"), [np.nan, np.nan, 1])


def test_items_that_only_the_test_has_are_left_out_and_counted():
    protocol = by_hand().protocol
    assert protocol["unseen_test_items"] == 1  # item 4
    assert protocol["unseen_test_targets"] == 2  # of users 0 and 3
    assert protocol["users_with_unseen_targets_only"] == 1  # user 3: the dislike is no target
    assert protocol["targets"] == 4
    assert protocol["candidates"] == 4
    assert (protocol["n_users"], protocol["cold_users"]) == (2, 1)


def test_protocol_says_what_was_measured():
    protocol = by_hand().protocol
    assert protocol["ranking"] == "full"
    assert protocol["split"] == "by hand"
    assert protocol["cut"] == "1970-01-01T00:00:00.000010+00:00"
    assert (protocol["k"], protocol["bootstrap"], protocol["seed"], protocol["n_items"]) == (2, 50, 0, 5)


def test_list_figures_by_hand():
    # users 0 and 1 are both shown 3 2, of candidates 0 1 2 3; users who had them in train: 1 and 1 of 4: 2 bits
    figures = by_hand().lists["fixed"]["all"]
    assert figures["coverage@2"] == 0.5
    assert figures["gini@2"] == pytest.approx(0.5)  # exposures 0 0 2 2: (−3·0 − 1·0 + 1·2 + 3·2) / (4·4)
    assert figures["novelty@2"] == 2.0


def slow_reference(scores, split, user, k, part):
    """One user, plain sets and one list."""
    had = set(split.train.item_idx[split.train.of(user)].tolist())
    candidates = set(split.train.item_idx.tolist())
    relevant = set(split.test.item_idx[split.test.of(user)].tolist()) & candidates
    exclude = set(range(split.train.n_items)) - candidates
    if part == "new":
        relevant, exclude = relevant - had, exclude | had
    if part == "repeat":
        relevant &= had
    listed, _ = top_k(scores, k, np.array(sorted(exclude), dtype=np.int32))
    hits = np.zeros((1, k), dtype=bool)
    hits[0, : len(listed)] = [item in relevant for item in listed.tolist()]
    in_part = bool(had) != (part == "cold")
    figures = user_metrics(hits, np.array([len(relevant) if in_part else 0]), k)
    return {name: values[0] for name, values in figures.items()}


@pytest.mark.parametrize("batch", [1, 7, None])
@pytest.mark.parametrize("make", [lambda log: temporal(log, int(np.median(log.time))), leave_last_out])
def test_equal_to_one_user_at_a_time(make, batch):
    log = tastes_log(3, n_users=60, n_items=40, events=8)
    cold = np.isin(log.user_idx, np.arange(0, 60, 9)) & (log.time < np.median(log.time))
    split = make(log.where(~cold))
    model = random_model(log)
    found = evaluate([model], split, k=6, batch=batch, bootstrap=10)
    for row, user in enumerate(found.users):
        for part in ("all", "new", "repeat", "cold"):
            expected = slow_reference(model.table[user], split, int(user), 6, part)
            for metric, value in expected.items():
                assert found.column("fixed", metric, part)[row] == pytest.approx(value, nan_ok=True)


def test_users_sees_only_those_users_and_leaves_their_figures_alone():
    log = tastes_log(4)
    split = leave_last_out(log)
    some = np.array([5, 3, 200])
    part, whole = (evaluate([random_model(log)], split, users=u, bootstrap=10) for u in (some, None))
    assert part.users.tolist() == [3, 5, 200]
    rows = np.searchsorted(whole.users, part.users)
    np.testing.assert_array_equal(part.column("fixed", "ndcg@20"), whole.column("fixed", "ndcg@20")[rows])


def test_histories_later_than_train_make_sessions_never_trained_on_warm():
    # train knows users 0 and 1 only; users 2 and 3 bring the first events of their session
    train = interactions([0, 0, 1, 1], [0, 1, 1, 2], range(4), n_users=4, n_items=3)
    histories = interactions([2, 3], [0, 1], [10, 11], n_users=4, n_items=3)
    test = interactions([2, 3], [1, 2], [12, 13], n_users=4, n_items=3)
    split = Split(train, test, "sessions", 5)
    assert evaluate([], split, bootstrap=10).protocol["cold_users"] == 2
    found = evaluate([item_knn(train, shrink=0.0)], split, histories=histories, k=1, bootstrap=10)
    assert (found.protocol["n_users"], found.protocol["cold_users"]) == (2, 0)
    # with 0, item 1 is the only neighbour; 1 is between 0 and 2 (equally near): the lower, 0, is listed
    np.testing.assert_array_equal(found.column("item_knn", "hit@1"), [1, 0])


def test_popularity_stands_in_every_evaluation_once():
    log = tastes_log(5)
    split = leave_last_out(log)
    assert evaluate([random_model(log)], split, bootstrap=10).models == ("fixed", "popularity")
    assert evaluate([popularity(split.train)], split, bootstrap=10).models == ("popularity",)


def test_a_model_that_knows_the_tastes_beats_popularity_which_beats_chance():
    log = tastes_log(6)
    split = temporal(log, int(np.quantile(log.time, 0.8)))
    found = evaluate([item_knn(split.train), random_model(log)], split, k=10, bootstrap=400)
    assert compare(found, "item_knn", "popularity", "ndcg@10").low > 0
    assert compare(found, "popularity", "fixed", "ndcg@10").low > 0


def test_scores_of_minus_infinity_are_never_listed():
    split = small()
    table = np.full((4, 5), -np.inf, dtype=np.float32)
    table[:, 2] = 1.0
    found = evaluate([Fixed(table)], split, k=5, bootstrap=10)
    assert found.lists["fixed"]["all"]["coverage@5"] == 0.25
    np.testing.assert_array_equal(found.column("fixed", "recall@5"), [0.5, 0, np.nan])


def test_nothing_is_written_to_log_or_scores():
    log = tastes_log(7)
    split = leave_last_out(log)
    model = random_model(log)
    model.table.flags.writeable = False
    for part in (split.train, split.test):
        for array in (part.item_idx, part.offsets, part.time, part.kind):
            array.flags.writeable = False
    assert evaluate([model], split, bootstrap=10).models == ("fixed", "popularity")


def test_the_dictionary_is_json_and_has_the_agreed_keys():
    found = by_hand().to_dict()
    table = json.loads(json.dumps(found, allow_nan=False))
    assert set(table) == {"protocol", "models"}
    assert [row["model"] for row in table["models"]] == ["fixed", "popularity"]
    row = table["models"][0]
    assert row["users"] == 2
    assert row["all"]["users"] == 2
    assert row["all"]["recall@2"] == 0.25
    assert set(row["all"]["ci95"]) == {"ndcg@2", "recall@2", "hit@2", "mrr@2", "map@2"}
    assert all(len(bounds) == 2 for bounds in row["new"]["ci95"].values())
    assert row["cold"]["users"] == 1


def test_a_model_without_an_answer_for_cold_users_has_null_there():
    split = small()
    row = evaluate([item_knn(split.train)], split, bootstrap=10).to_dict()["models"][0]
    assert row["cold"] is None
    assert row["all"]["users"] == 2


def test_intervals_cover_the_mean_and_shrink_with_users():
    log = tastes_log(8)
    split = leave_last_out(log)
    widths = []
    for users in (np.arange(50), np.arange(300)):
        found = evaluate([], split, users=users, bootstrap=500)
        low, high = found.intervals["popularity", "all", "ndcg@20"]
        assert low < np.nanmean(found.column("popularity", "ndcg@20")) < high
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]  # √(50 / 300) = .41


def test_frame_and_dictionary_say_the_same():
    found = by_hand()
    frame = found.to_frame()
    assert frame.columns == ["model", "part", "metric", "value", "low", "high", "users"]
    for row in found.to_dict()["models"]:
        for part in ("all", "new", "repeat", "cold"):
            for metric, (low, high) in row[part]["ci95"].items():
                line = frame.row(by_predicate=line_of(row["model"], part, metric), named=True)
                assert (line["value"], line["low"], line["high"]) == (row[part][metric], low, high)
                assert line["users"] == row[part]["users"]


def line_of(model, part, metric):
    return (pl.col.model == model) & (pl.col.part == part) & (pl.col.metric == metric)


def test_comparison_is_of_the_same_users_and_several_are_corrected_by_holm():
    log = tastes_log(9)
    split = temporal(log, int(np.quantile(log.time, 0.7)))
    models = [item_knn(split.train), random_model(log, 1, "random a"), random_model(log, 2, "random b")]
    found = evaluate(models, split, bootstrap=500)
    pairs = [("item_knn", "popularity"), ("random a", "random b"), ("item_knn", "random a")]
    several = compare_several(found, pairs, "ndcg@20")
    for one, (a, b) in zip(several, pairs, strict=True):
        assert one.found == compare(found, a, b, "ndcg@20")
        difference = found.column(a, "ndcg@20") - found.column(b, "ndcg@20")
        assert one.found.difference == pytest.approx(np.nanmean(difference))
        assert one.p_holm >= one.found.p_value
    assert several[0].p_holm == pytest.approx(3 * several[0].found.p_value)
    assert several[1].p_holm > 0.05


def test_memory_is_bounded_by_the_batch(monkeypatch):
    seen = []

    class Watching(Fixed):
        def scores(self, histories, users, now):
            seen.append(len(users))
            return super().scores(histories, users, now)

    monkeypatch.setattr(evaluation, "CELLS_AT_ONCE", 2_000)
    log = tastes_log(10)  # 200 items: ten users at a time
    evaluate([Watching(random_model(log).table)], leave_last_out(log), bootstrap=10)
    assert max(seen) == 10
    assert sum(seen) == 300


def test_now_is_the_cut_or_just_after_the_last_event():
    asked = []

    class Watching(Fixed):
        def scores(self, histories, users, now):
            asked.append(now)
            return super().scores(histories, users, now)

    log = tastes_log(11)
    model = Watching(random_model(log).table)
    split = leave_last_out(log)
    evaluate([model], split, bootstrap=10)
    evaluate([model], temporal(log, 5_000_000_000_000), bootstrap=10)
    evaluate([model], split, now=7, bootstrap=10)
    assert asked == [int(split.train.time.max()) + 1, 5_000_000_000_000, 7]


def test_unusable_scores_and_settings_are_errors():
    split = small()
    good = np.zeros((4, 5), dtype=np.float32)
    with pytest.raises(ModelError, match="fixed: scores of shape"):
        evaluate([Fixed(good[:, :4])], split)
    partly, wholly = good.copy(), good.copy()
    partly[2, 3] = np.nan
    wholly[0] = np.nan  # user 0 has a history
    for table in (partly, wholly):
        with pytest.raises(ModelError, match="fixed: nan scores"):
            evaluate([Fixed(table)], split)
    with pytest.raises(ModelError, match="names must be distinct"):
        evaluate([Fixed(good), Fixed(good)], split)
    with pytest.raises(ModelError, match="k=0"):
        evaluate([], split, k=0)
    with pytest.raises(DataError, match=r"users 9\.\.9: must be in 0\.\.3"):
        evaluate([], split, users=np.array([9]))
    with pytest.raises(DataError, match=r"no item of these users' test events is in train \(1 are new\)"):
        evaluate([], split, users=np.array([3]))
    with pytest.raises(DataError, match="histories: 300 users"):
        evaluate([], split, histories=tastes_log(0))
    with pytest.raises(ModelError, match="metric='ndcg@20'"):
        evaluate([], split, k=2, bootstrap=10).column("popularity", "ndcg@20")
