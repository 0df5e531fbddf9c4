"""The dial against a loop written out, by hand, and what it does to lists on the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.lists.diversity import LIKENESS, diversify, intra_list_similarity, pool_size


def pool(seed: int, m: int, dim: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(3, 2, m).astype(np.float32))[::-1].copy()
    return scores, (rng.normal(size=(m, dim)) + 0.4).astype(np.float32)


def written_out(scores: np.ndarray, rows: np.ndarray, k: int, diversity: float) -> list[int]:
    """Carbonell and Goldstein's formula, one item after the other, nothing remembered."""
    spread = float(np.std(scores.astype(np.float64)))
    z = [(float(value) - float(np.mean(scores.astype(np.float64)))) / spread if spread else 0.0 for value in scores]

    def cosine(a: int, b: int) -> float:
        lengths = float(np.linalg.norm(rows[a])) * float(np.linalg.norm(rows[b]))
        return float(rows[a].astype(np.float64) @ rows[b]) / lengths if lengths else 0.0

    chosen = [max(range(len(scores)), key=lambda item: (scores[item], -item))]
    while len(chosen) < min(k, len(scores)):
        left = [item for item in range(len(scores)) if item not in chosen]

        def worth(item: int) -> float:
            likest = max(cosine(item, other) for other in chosen)
            return (1 - diversity) * z[item] / float(LIKENESS) - diversity * likest

        chosen.append(max(left, key=lambda item: (worth(item), -item)))
    return chosen


# Derandomized where float32 is compared with float64: a near tie must not depend on the day.
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 25), st.integers(1, 30), st.sampled_from([0.0, 0.1, 0.35, 0.5, 0.8, 1.0]))
def test_the_fast_order_is_the_formula_written_out(seed: int, m: int, k: int, diversity: float) -> None:
    scores, rows = pool(seed, m)
    assert diversify(scores, rows, k, diversity).tolist() == written_out(scores, rows, k, diversity)


def test_by_hand() -> None:
    # z = (1.342, .447, -.447, -1.342); item 1 lies in item 0's direction, item 2 and 3 across it, in one direction
    scores = np.array([4, 3, 2, 1], dtype=np.float32)
    rows = np.array([[2, 0], [1, 0], [0, 1], [0, 3]], dtype=np.float32)
    # dial .2: item 1: .8·.447/4 − .2·1 = −.111; item 2: .8·(−.447)/4 − 0 = −.089; item 3: −.268. So 2 comes second;
    # then item 1: −.111; item 3: −.268 − .2 = −.468
    assert diversify(scores, rows, 4, 0.2).tolist() == [0, 2, 1, 3]
    # dial .1: item 1: .9·.447/4 − .1 = .001; item 2: −.101
    assert diversify(scores, rows, 4, 0.1).tolist() == [0, 1, 2, 3]
    assert intra_list_similarity(rows) == pytest.approx((1 + 0 + 0 + 0 + 0 + 1) / 6)
    assert intra_list_similarity(rows[[0, 2]]) == 0
    assert math.isnan(intra_list_similarity(rows[:1]))


def test_the_dial_at_zero_changes_nothing() -> None:
    scores, rows = pool(1, 50)
    assert diversify(scores, rows, 50, 0.0).tolist() == list(range(50))
    tied = np.array([2, 1, 1, 1], dtype=np.float32)
    assert diversify(tied, rows[:4], 4, 0.0).tolist() == [0, 1, 2, 3]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([0.01, 7.0, 3000.0]), st.sampled_from([-5.0, 0.0, 2.0]))
def test_the_dial_means_the_same_on_any_scale_of_scores(seed: int, factor: float, shift: float) -> None:
    scores, rows = pool(seed, 40)
    order = diversify(scores, rows, 10, 0.4)
    other = (scores.astype(np.float64) * factor + shift * factor).astype(np.float32)
    lengths = np.random.default_rng(seed).uniform(0.1, 9, (40, 1)).astype(np.float32)
    assert diversify(other, rows * lengths, 10, 0.4).tolist() == order.tolist()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.6, 1.0]))
def test_a_longer_list_begins_with_the_shorter_one(seed: int, diversity: float) -> None:
    scores, rows = pool(seed, 30)
    whole = diversify(scores, rows, 30, diversity)
    assert sorted(whole.tolist()) == list(range(30))
    assert diversify(scores, rows, 7, diversity).tolist() == whole[:7].tolist()


def test_lists_grow_less_alike_and_lose_score_with_every_step_of_the_dial() -> None:
    dials = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    alike, worth = np.zeros(len(dials)), np.zeros(len(dials))
    for seed in range(60):
        scores, rows = pool(seed, 100, dim=16)
        for place, dial in enumerate(dials):
            order = diversify(scores, rows, 20, dial)
            alike[place] += intra_list_similarity(rows[order]) / 60
            worth[place] += scores[order].mean() / 60
    assert (np.diff(alike) < 0).all()
    assert (np.diff(worth) < 0).all()
    assert alike[0] > alike[5] + 0.05  # the middle of the dial is felt


def test_degenerate_pools() -> None:
    rows = np.zeros((4, 3), dtype=np.float32)
    assert diversify(np.ones(4, np.float32), rows, 9, 0.5).tolist() == [0, 1, 2, 3]
    assert diversify(np.empty(0, np.float32), rows[:0], 3, 0.5).tolist() == []
    assert diversify(np.ones(1, np.float32), rows[:1], 3, 1.0).tolist() == [0]


def test_arguments_are_only_read() -> None:
    scores, rows = pool(3, 20)
    scores.flags.writeable = rows.flags.writeable = False
    diversify(scores, rows, 5, 0.7)


@pytest.mark.parametrize("diversity", [-0.1, 1.1, math.nan])
def test_a_dial_out_of_bounds_is_refused(diversity: float) -> None:
    scores, rows = pool(3, 5)
    with pytest.raises(ModelError, match=rf"diversity={diversity}: must be 0\.\.1"):
        diversify(scores, rows, 5, diversity)


def test_other_mistakes() -> None:
    scores, rows = pool(3, 5)
    with pytest.raises(ModelError, match="top_k=0: must be 1 or more"):
        diversify(scores, rows, 0, 0.5)
    with pytest.raises(ModelError, match="rows: 4, must be one for each of the 5 scores"):
        diversify(scores, rows[:4], 2, 0.5)


def test_a_pool_is_five_lists_deep() -> None:
    assert [pool_size(top_k) for top_k in (1, 20, 50, 1000, 3000)] == [100, 100, 250, 2000, 3000]


@pytest.mark.parametrize("diversity", [5e-324, 1e-60, 1e-44, 1 - 1e-16])
@pytest.mark.parametrize("size", [1e-44, 1e-20, 1.0, 1e30])
def test_extreme_dials_and_scores_repeat_nothing(diversity: float, size: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    chosen = diversify((rng.normal(size=40) * size).astype(np.float32), rows, 40, diversity)
    assert sorted(chosen.tolist()) == list(range(40))
