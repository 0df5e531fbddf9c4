from __future__ import annotations

import numpy as np
import pytest

from data.errors import ModelError
from recsys.model.items import TASTE, ItemTable, frozen


def table(n_items: int = 3, dim: int = 2, **changed) -> ItemTable:
    rng = np.random.default_rng(0)
    columns = {
        "item_embeddings": rng.normal(size=(n_items, dim)).astype(np.float32),
        "trend": rng.random(n_items).astype(np.float32),
        "mean_profile": rng.normal(size=dim).astype(np.float32),
    }
    return ItemTable(**(columns | changed))


def test_gram_is_the_sum_of_outer_products_of_the_rows():
    V = np.array([[1, 2], [0, 3], [-1, 1]], dtype=np.float32)
    # [1,2]ᵀ[1,2] + [0,3]ᵀ[0,3] + [−1,1]ᵀ[−1,1] = [[1,2],[2,4]] + [[0,0],[0,9]] + [[1,−1],[−1,1]]
    assert table(item_embeddings=V).gram.tolist() == [[2, 1], [1, 14]]


def test_gram_is_of_the_taste_alone():
    """Nothing is folded into other parts: the query of an intent needs no system to solve."""
    V = np.array([[7, 1, 2], [9, -1, 3], [5, 0, 1]], dtype=np.float32)
    one = table(3, 3, item_embeddings=V, parts=(("intent", 1), (TASTE, 2)))
    assert one.gram.tolist() == [[2, -1], [-1, 14]]


def test_gram_is_summed_in_float64():
    # In float32, 4096² + 1 is 4096² already: 1,000 rows of 1 would vanish.
    V = np.ones((1001, 1), dtype=np.float32)
    V[0] = 4096.0
    assert table(1001, 1, item_embeddings=V).gram.item() == 4096.0**2 + 1000


def test_sizes_and_the_default_part():
    one = table(3, 2)
    assert (one.n_items, one.dim, one.parts) == (3, 2, ((TASTE, 2),))
    assert one.part(TASTE) == slice(0, 2)


def test_parts_stand_side_by_side():
    one = table(2, 5, parts=((TASTE, 3), ("intent", 2)))
    assert (one.part(TASTE), one.part("intent")) == (slice(0, 3), slice(3, 5))
    with pytest.raises(ModelError, match=r"part='mood': must be one of \['taste', 'intent'\]"):
        one.part("mood")


@pytest.mark.parametrize("name", ["item_embeddings", "trend", "mean_profile", "gram"])
def test_nobody_can_write_into_a_served_array(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(table(), name)[...] = 0.0


def test_the_callers_own_arrays_stay_writable_and_untouched():
    V = np.ones((3, 2), dtype=np.float32)
    made = table(item_embeddings=V)
    assert V.flags.writeable
    assert np.shares_memory(V, made.item_embeddings)  # a view: mapped bundles are not copied


def test_other_types_become_float32():
    assert frozen([[1, 2]]).dtype == np.float32
    assert table(item_embeddings=np.ones((3, 2))).item_embeddings.dtype == np.float32


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"item_embeddings": np.ones(3, np.float32)}, r"item_embeddings: shape \(3,\)"),
        ({"item_embeddings": np.ones((0, 2), np.float32)}, r"item_embeddings: shape \(0, 2\)"),
        ({"item_embeddings": np.ones((3, 0), np.float32)}, r"item_embeddings: shape \(3, 0\)"),
        ({"trend": np.ones(4, np.float32)}, r"trend: shape \(4,\), must be \(3,\)"),
        ({"mean_profile": np.ones(3, np.float32)}, r"mean_profile: shape \(3,\), must be \(2,\)"),
        ({"parts": ((TASTE, 3),)}, "widths must add up to dim=2"),
        ({"item_embeddings": np.full((3, 2), np.nan, np.float32)}, "item_embeddings: has values that are not finite"),
        ({"trend": np.full(3, np.inf, np.float32)}, "trend: has values that are not finite"),
        ({"mean_profile": np.full(2, -np.inf, np.float32)}, "mean_profile: has values that are not finite"),
    ],
)
def test_a_table_that_cannot_be_is_refused(changed, message):
    with pytest.raises(ModelError, match=message):
        table(**changed)
