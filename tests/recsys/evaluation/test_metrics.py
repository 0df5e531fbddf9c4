import numpy as np
import pytest
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from data.errors import ModelError
from recsys.evaluation.metrics import (
    METRICS,
    coverage,
    gini,
    novelty,
    ranked_hits,
    self_information,
    user_metrics,
)
from recsys.search.ranking import rank

RANX = {"ndcg": "ndcg", "recall": "recall", "hit": "hit_rate", "mrr": "mrr", "map": "map"}


def one(hits, n_relevant, k):
    found = user_metrics(np.array([hits], dtype=bool), np.array([n_relevant]), k)
    return {name: values[0] for name, values in found.items()}


def csr(sets):
    offsets = np.cumsum([0] + [len(s) for s in sets])
    return offsets, np.array([i for s in sets for i in s], dtype=np.int32)


def test_hits_at_positions_two_and_three_of_three_relevant_items():
    found = one([0, 1, 1, 0], 3, 4)
    # DCG = 1/log2(3) + 1/log2(4) = 0.63093 + 0.5; ideal = 1 + 0.63093 + 0.5 for min(4, 3) = 3 hits
    assert found["ndcg@4"] == pytest.approx(1.1309297536 / 2.1309297536, abs=1e-9)
    assert found["recall@4"] == pytest.approx(2 / 3)
    assert found["hit@4"] == 1.0
    assert found["mrr@4"] == pytest.approx(1 / 2)
    assert found["map@4"] == pytest.approx((1 / 2 + 2 / 3) / 3)


def test_cut_at_k_forgets_later_hits_and_caps_the_ideal():
    found = one([1, 0, 1, 1], 5, 2)
    # DCG = 1; the ideal list of length 2 holds min(2, 5) = 2 hits: 1 + 0.63093
    assert found["ndcg@2"] == pytest.approx(1 / 1.6309297536, abs=1e-9)
    assert found["recall@2"] == pytest.approx(1 / 5)
    assert found["map@2"] == pytest.approx(1 / 5)


def test_a_perfect_list_has_ndcg_one_even_with_more_relevant_items_than_places():
    assert one([1, 1], 7, 2)["ndcg@2"] == 1.0


def test_a_miss_is_zero_and_no_relevant_item_is_nan():
    assert set(one([0, 0, 0], 2, 3).values()) == {0.0}
    assert all(np.isnan(value) for value in one([0, 0, 0], 0, 3).values())


def test_an_empty_list_of_a_user_with_relevant_items_is_zero():
    found = user_metrics(np.zeros((2, 0), dtype=bool), np.array([3, 0]), 5)
    for values in found.values():
        assert values[0] == 0.0
        assert np.isnan(values[1])


def test_a_list_shorter_than_k_loses_the_missing_places():
    # one hit at position 1 of a one-item list, two relevant: ideal at k=10 is 1 + 0.63093
    assert one([1], 2, 10)["ndcg@10"] == pytest.approx(1 / 1.6309297536, abs=1e-9)


@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaTypeSafetyWarning")  # ranx, when it compiles
def test_equal_to_ranx_on_a_thousand_random_lists():
    """Lists of 1..25 items, with tied scores and without, short ones, and users with 0..14 relevant items."""
    rng = np.random.default_rng(0)
    cases, n_items, longest = 1000, 40, 25
    sets = [sorted(rng.choice(n_items, rng.integers(0, 15), replace=False)) for _ in range(cases)]
    tied = rng.integers(0, 6, (cases, n_items)).astype(np.float32)  # six values for forty items: ties everywhere
    distinct = rng.permuted(np.tile(np.arange(n_items, dtype=np.float32), (cases, 1)), axis=1)
    ranked = rank(np.where((np.arange(cases) % 2 == 0)[:, None], tied, distinct), longest)
    for row, length in zip(ranked, rng.integers(1, longest + 1, cases), strict=True):
        row[length:] = -1
    offsets, items = csr(sets)
    # ranx wants an entry for everybody: grade 0 of an item that no list holds is no relevant item.
    qrels = Qrels({f"u{u}": {f"i{i}": 1 for i in s} or {"none": 0} for u, s in enumerate(sets)})
    # Surrogate scores, distinct and falling along our list: ranx then has no ties left to break its own way.
    run = Run({f"u{u}": {f"i{i}": 100.0 - p for p, i in enumerate(row) if i >= 0} for u, row in enumerate(ranked)})
    run.sort()
    nothing = np.diff(offsets) == 0
    assert 30 < nothing.sum() < 120
    for k in (1, 3, 10, 25):
        ours = user_metrics(ranked_hits(ranked, offsets, items), np.diff(offsets), k)
        for name, theirs in RANX.items():
            ranx_evaluate(qrels, run, f"{theirs}@{k}")
            expected = np.array([run.scores[f"{theirs}@{k}"][f"u{u}"] for u in range(cases)])
            # Where nothing is relevant ranx says 0 and counts the user in its mean; here that is no figure at all.
            np.testing.assert_array_equal(expected[nothing], 0.0)
            expected[nothing] = np.nan
            np.testing.assert_allclose(ours[f"{name}@{k}"], expected, rtol=0, atol=1e-9)


def test_every_metric_of_the_table_is_compared_with_ranx():
    assert set(RANX) == set(METRICS)


def test_a_batch_is_its_users_one_by_one():
    rng = np.random.default_rng(1)
    hits = rng.random((60, 12)) < 0.2
    n_relevant = hits.sum(axis=1) + rng.integers(0, 4, 60)
    together = user_metrics(hits, n_relevant, 10)
    for name in together:
        alone = [user_metrics(hits[[u]], n_relevant[[u]], 10)[name][0] for u in range(60)]
        np.testing.assert_array_equal(together[name], alone)


def test_ranked_hits_is_membership_and_padding_never_hits():
    offsets, items = csr([[4, 0], [], [9]])
    ranked = np.array([[0, 3, 4, -1], [0, 4, 9, -1], [9, 9, -1, -1]], dtype=np.int32)
    expected = [[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0]]
    assert ranked_hits(ranked, offsets, items).astype(int).tolist() == expected


def test_ranked_hits_without_any_relevant_item_is_all_false():
    assert not ranked_hits(np.array([[1, 2]], dtype=np.int32), *csr([[]])).any()


def test_wrong_k_and_wrong_offsets_are_errors():
    with pytest.raises(ModelError, match="k=0: must be 1 or more"):
        one([1], 1, 0)
    with pytest.raises(ModelError, match="must be batch"):
        ranked_hits(np.zeros((2, 1), dtype=np.int32), np.array([0, 1]), np.array([0], dtype=np.int32))


def test_coverage_is_the_share_of_items_ever_listed():
    assert coverage(np.array([5, 0, 0, 1, 1])) == pytest.approx(3 / 5)


def test_gini_by_hand():
    # sorted 0, 1, 3: Σ (2i − n − 1)·x_i = −2·0 + 0·1 + 2·3 = 6; n·Σx = 3·4 = 12
    assert gini(np.array([3, 0, 1])) == pytest.approx(6 / 12)
    assert np.isnan(gini(np.array([0, 0])))


def test_gini_is_half_the_relative_mean_absolute_difference():
    exposure = np.random.default_rng(2).poisson(3, 50)
    pairs = np.abs(exposure[:, None] - exposure[None, :]).mean()
    assert gini(exposure) == pytest.approx(pairs / (2 * exposure.mean()))


def test_novelty_by_hand():
    information = self_information(np.array([8, 4, 1]), 8)  # 0, 1 and 3 bits
    lists = np.array([[0, 2, -1], [1, 1, 1], [-1, -1, -1]], dtype=np.int32)
    found = novelty(lists, information)
    assert found[:2].tolist() == [(0 + 3) / 2, 1.0]
    assert np.isnan(found[2])
