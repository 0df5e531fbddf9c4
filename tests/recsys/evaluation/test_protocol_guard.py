"""Every protocol the project prints puts a model that knows nothing at chance, and popularity in a row of its own.

A protocol that fails here (training negatives that avoid the held-out item, targets the user had before beside
negatives the user never touched, ties that favour the target) lets a model without any learning look good.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from scipy import stats

from data.errors import DataError, ModelError
from data.interactions import MICROS_PER_DAY, interactions
from data.sessions import split_sessions
from data.split import Split, leave_last_out, temporal
from recsys.evaluation.evaluation import evaluate
from recsys.evaluation.sampled import _lowest, draw_negatives, evaluate_sampled, target_position
from recsys.model.fold_in import fold_in
from tests.recsys.logs import distinct_log, tastes_log

K = 10
sampled = partial(evaluate_sampled, accept_sampled=True)


@dataclass(frozen=True, eq=False)
class RandomScores:
    """A fresh random score for every user and item."""

    seed: int
    name: str = "random"

    def scores(self, histories, users, now):
        rng = np.random.default_rng([self.seed, int(users[0])])
        return rng.random((len(users), histories.n_items), dtype=np.float32)


class RandomItems:
    """Random item embeddings, never trained; each user's profile folded in from the user's real history."""

    name = "random_items"

    def __init__(self, n_items, seed, dim=16):
        self.table = np.random.default_rng(seed).normal(size=(n_items, dim)).astype(np.float32)
        self.gram = self.table.T @ self.table

    def scores(self, histories, users, now):
        profiles = []
        for user in users:
            rows = self.table[histories.item_idx[histories.of(int(user))]]
            ones = np.ones(len(rows), dtype=np.float32)
            profiles.append(fold_in(rows, self.gram, ones, ones, n_items=len(self.table), alpha=0.1, reg=0.05))
        return np.stack(profiles) @ self.table.T


@dataclass(frozen=True)
class Constant:
    """Everything scores alike."""

    name: str = "constant"

    def scores(self, histories, users, now):
        return np.zeros((len(users), histories.n_items), dtype=np.float32)


def by_time(log):
    split = temporal(log, 80 * MICROS_PER_DAY)
    return split, split.train


def last_out(log):
    split = leave_last_out(log)
    return split, split.train


def by_session(log):
    """Half of the users begin after the cut, so that they are sessions that training never sees."""
    later = (log.user_idx % 2 == 1) * (1_000 * MICROS_PER_DAY)
    return split_sessions(replace(log, time=log.time + later), 1_000 * MICROS_PER_DAY)


def z_of_mean(values, expected):
    """Standard errors between the mean over users and what chance gives each of them."""
    gap = (values - expected)[~np.isnan(values)]
    return gap.mean() / (gap.std(ddof=1) / np.sqrt(len(gap)))


@pytest.mark.parametrize("split_by", [by_time, last_out, by_session])
@pytest.mark.parametrize("log", [tastes_log(0, n_users=1500), distinct_log(0, n_users=1500)])
def test_random_scores_are_at_chance_in_full_ranking(split_by, log):
    split, histories = split_by(log)
    found = evaluate([RandomScores(1)], split, histories=histories, k=K, bootstrap=10)
    candidates = int(found.protocol["candidates"])
    # A target is in the first K of N equally likely places: recall K / N, whatever the user.
    assert abs(z_of_mean(found.column("random", f"recall@{K}"), K / candidates)) < 4
    # No hit: all R relevant items among the N − K places behind.
    relevant = np.array([len(set(split.test.item_idx[split.test.of(int(u))].tolist())) for u in found.users])
    hit = 1 - stats.hypergeom.pmf(0, candidates, relevant, K)
    assert abs(z_of_mean(found.column("random", f"hit@{K}"), hit)) < 4
    # New items: N less the user's own history.
    own = np.array([len(set(histories.item_idx[histories.of(int(u))].tolist())) for u in found.users])
    assert abs(z_of_mean(found.column("random", f"recall@{K}", "new"), K / (candidates - own))) < 4


def test_the_chance_bound_has_power():
    # A model that lifts a user's targets a little, by a tenth of the score's range, is far outside the bound of 4.
    split = leave_last_out(distinct_log(0, n_users=1500))

    class Leaky(RandomScores):
        def scores(self, histories, users, now):
            scores = super().scores(histories, users, now)
            own = split.test.users(users)
            scores[own.user_idx, own.item_idx] += 0.1
            return scores

    found = evaluate([Leaky(1)], split, k=K, bootstrap=10)
    assert z_of_mean(found.column("random", f"recall@{K}"), K / float(found.protocol["candidates"])) > 8
    ranked = sampled([Leaky(1)], split, k=K, bootstrap=10)
    assert z_of_mean(ranked.column("random", f"hit@{K}"), 0.1) > 4


def test_random_scores_are_at_one_in_ten_among_99_negatives():
    split = leave_last_out(distinct_log(1, n_users=3000))
    found = sampled([RandomScores(2)], split, k=K, bootstrap=10)
    assert found.protocol["chance_hit"] == 0.1
    hits = found.column("random", f"hit@{K}")
    assert abs(hits.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 3000)  # .022
    ndcg = (1 / np.log2(np.arange(2, K + 2))).sum() / 100  # each of 100 places is equally likely
    assert abs(z_of_mean(found.column("random", f"ndcg@{K}"), ndcg)) < 4


def test_random_items_without_federation_are_at_chance_on_every_protocol():
    # One random table serves all users, so users are not independent: the unit here is the table, 20 of them.
    log = distinct_log(2, n_users=300)
    protocols = {"temporal": by_time(log), "leave last out": last_out(log), "sessions": by_session(log)}
    gaps = {name: [] for name in (*protocols, "sampled")}
    for seed in range(20):
        for name, (split, histories) in protocols.items():
            model = RandomItems(log.n_items, seed)
            found = evaluate([model], split, histories=histories, k=K, bootstrap=10)
            own = histories.counts[found.users]  # distinct items, by construction of the log
            values = found.column(model.name, f"recall@{K}", "new")
            gaps[name].append(np.nanmean(values - K / (float(found.protocol["candidates"]) - own)))
        ranked = sampled([RandomItems(log.n_items, seed)], leave_last_out(log), k=K, seed=seed, bootstrap=10)
        gaps["sampled"].append(ranked.column("random_items", f"hit@{K}").mean() - 0.1)
    for name, gap in gaps.items():
        assert abs(stats.ttest_1samp(gap, 0.0).statistic) < 4, name


def test_a_target_the_user_had_before_is_left_out_of_the_sampled_protocol():
    # Beside 99 items never touched, random items with a fold-in would find what the user already has.
    log = tastes_log(3)
    split = leave_last_out(log)
    had = [int(split.test.item_idx[split.test.of(u)][0]) in split.train.item_idx[split.train.of(u)] for u in range(300)]
    found = sampled([RandomItems(log.n_items, 0)], split, k=K, bootstrap=10)
    assert sum(had) > 30
    assert found.protocol["targets_had_before"] == sum(had)
    assert found.users.tolist() == np.flatnonzero(~np.array(had)).tolist()
    assert found.column("random_items", f"hit@{K}").mean() < 0.2


def test_equal_scores_gain_nothing_among_sampled_negatives():
    split = leave_last_out(distinct_log(4, n_users=3000))
    found = sampled([Constant()], split, k=K, bootstrap=10)
    assert abs(found.column("constant", f"hit@{K}").mean() - 0.1) < 0.022


def test_where_the_target_stands_among_the_candidates_says_nothing():
    # The protocol never lists target and negatives together, so there is no first place to gain from: the order of
    # the negatives is irrelevant, and a target of the lowest or highest item_idx ties like any other.
    rng = np.random.default_rng(5)
    scores = rng.integers(0, 4, (200, 150)).astype(np.float32)
    negatives = np.stack([rng.choice(np.arange(1, 149), 99, replace=False) for _ in range(200)])
    luck = rng.random(200)
    first = target_position(scores, np.zeros(200, np.int32), negatives, luck)
    np.testing.assert_array_equal(first, target_position(scores, np.zeros(200, np.int32), negatives[:, ::-1], luck))
    mirrored = target_position(scores[:, ::-1], np.full(200, 149, np.int32), 149 - negatives, luck)
    np.testing.assert_array_equal(first, mirrored)


def test_a_tied_target_stands_anywhere_among_its_equals():
    # 99 equals: positions 0..99 by luck alone
    luck = (np.arange(100) + 0.5) / 100
    alike = np.zeros((100, 100), dtype=np.float32)
    negatives = np.tile(np.arange(1, 100), (100, 1))
    positions = target_position(alike, np.zeros(100, np.int32), negatives, luck)
    assert positions.tolist() == list(range(100))


def test_equal_scores_show_everybody_the_same_list_in_full_ranking():
    # Ties go by item_idx, which knows nothing of the targets: the list is items 0..K−1 for all.
    log = distinct_log(6)
    split = leave_last_out(log)
    found = evaluate([Constant()], split, k=K, bootstrap=10)
    target = split.test.item_idx[np.argsort(split.test.user_idx)]
    np.testing.assert_array_equal(found.column("constant", f"hit@{K}"), target < K)


def test_negatives_are_uniform_over_the_items_never_touched():
    log = interactions(np.zeros(5), [0, 1, 2, 3, 4], range(5), n_users=1, n_items=40)
    many = log.users(np.zeros(3000, dtype=np.int64))
    drawn = draw_negatives(many, np.full(3000, 5, np.int32), 10, np.random.default_rng(7))
    counts = np.bincount(drawn.ravel(), minlength=40)
    assert (counts[:6] == 0).all()
    assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
    # each of 34 items 3000 · 10 / 34 times; the negative correlation of draws without replacement only lowers chi²
    assert stats.chisquare(counts[6:]).pvalue > 0.001


def test_popularity_has_its_row_in_every_protocol():
    log = distinct_log(8)
    sessions, known = by_session(log)
    for found in (
        evaluate([], by_time(log)[0], bootstrap=10),
        evaluate([Constant()], leave_last_out(log), bootstrap=10),
        evaluate([Constant()], sessions, histories=known, bootstrap=10),
        sampled([Constant()], leave_last_out(log), bootstrap=10),
    ):
        rows = {row["model"]: row for row in found.to_dict()["models"]}
        assert rows["popularity"]["all"]["ci95"]


def test_the_sampled_protocol_says_what_it_is_and_all_models_meet_the_same_negatives():
    split = leave_last_out(distinct_log(9))
    found = sampled([RandomScores(1, "a"), RandomScores(1, "b")], split, bootstrap=10)
    assert found.protocol["ranking"] == "sampled, 99 negatives: only to repeat published tables"
    np.testing.assert_array_equal(found.column("a", "mrr@10"), found.column("b", "mrr@10"))


def test_the_sampled_protocol_refuses_several_targets_and_too_few_items():
    log = distinct_log(10)
    with pytest.raises(DataError, match="the sampled protocol takes one"):
        sampled([], temporal(log, 40 * MICROS_PER_DAY))
    with pytest.raises(DataError, match="n_negatives=290: a user has only 288"):
        sampled([], leave_last_out(log), n_negatives=290)
    train, test = log.where(log.user_idx < 200), log.where(log.user_idx >= 200)
    alone = test.where(np.arange(test.n_events) % 12 == 0)
    with pytest.raises(DataError, match="no user has both"):
        sampled([], Split(train, alone, "cold only", None))


def test_sampled_metrics_are_refused_unless_accepted():
    with pytest.raises(ModelError, match="accept_sampled=False: sampled metrics can order models differently"):
        evaluate_sampled([Constant()], leave_last_out(distinct_log(9)), bootstrap=10)


def test_of_negatives_whose_lots_tie_the_first_items_are_drawn() -> None:
    """The reference sorts, stable: which of equal lots are drawn is no matter of the processor."""
    lots = np.random.default_rng(0).integers(0, 6, (200, 40)).astype(np.float32) / 8
    lots[:, ::7] = np.inf
    lowest = _lowest(lots, 11)
    expected = np.argsort(lots, axis=1, kind="stable")[:, :11]
    assert (np.sort(lowest, axis=1) == np.sort(expected, axis=1)).all()
