import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from data.errors import ModelError
from recsys.model.scoring import top_k
from recsys.search.ranking import rank, sort_keys

# Few distinct values, so that most scores tie; both signs and both zeros.
TIED = st.sampled_from([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-30, 1.0, 3.5])


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=TIED), st.integers(1, 14))
def test_a_batch_is_ranked_as_each_list_alone_by_top_k(scores, k):
    ranked = rank(scores, k)
    for row, expected in zip(ranked, scores, strict=True):
        alone, _ = top_k(expected, k)
        assert row[row >= 0].tolist() == alone.tolist()
        assert (row[len(alone) :] == -1).all()


def test_equal_scores_stand_in_order_of_item_idx():
    scores = np.array([[1.0, 2.0, 1.0, 2.0, 1.0]], dtype=np.float32)
    assert rank(scores, 4).tolist() == [[1, 3, 0, 2]]


def test_the_two_zeros_tie():
    assert rank(np.array([[-0.0, 0.0, -0.0]], dtype=np.float32), 3).tolist() == [[0, 1, 2]]


def test_order_of_the_sort_keys_is_the_order_of_the_scores():
    """Ties included: an unstable sort leaves their order to the processor's vector instructions."""
    scores = np.random.default_rng(0).normal(size=(50, 1000)).astype(np.float32)
    assert sum(len(row) - len(np.unique(row)) for row in scores) == 1
    best_first = np.argsort(-scores, axis=1, kind="stable")
    assert (np.argsort(-sort_keys(scores), axis=1) == best_first).all()


def test_scores_are_not_written_to():
    scores = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    scores.flags.writeable = False
    assert rank(scores, 5).shape == (3, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_positive_infinity_are_errors(bad):
    with pytest.raises(ModelError, match="NaN or"):
        rank(np.array([[0.0, bad]], dtype=np.float32), 1)


def test_k_below_one_is_an_error():
    with pytest.raises(ModelError, match="k=0: must be 1 or more"):
        rank(np.zeros((1, 2), dtype=np.float32), 0)
