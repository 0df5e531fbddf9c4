from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.candidates import (
    MAX_CANDIDATES,
    Candidates,
    QuantizedRows,
    decode_candidates,
    encode_candidates,
    rerank,
)
from tests.shop import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", unavailable=(5,))


def travelled(bundle: Bundle, items: list[int]) -> Candidates:
    sent = json.dumps(encode_candidates(QuantizedRows.of(bundle), np.array(items, dtype=np.int32)))
    found = decode_candidates(json.loads(sent), bundle.table.dim)
    assert found is not None
    return found


def test_candidates_arrive_in_the_order_of_item_idx_to_half_a_step(bundle: Bundle) -> None:
    found = travelled(bundle, [9, 3, 30])
    assert found.item_ids == ["sku-3", "sku-9", "sku-30"]
    V = bundle.table.item_embeddings[[3, 9, 30]]
    step = np.abs(V).max(axis=1, keepdims=True) / 127
    assert (np.abs(found.table.item_embeddings - V) <= step / 2 + 1e-7).all()
    np.testing.assert_array_equal(found.table.trend, bundle.table.trend[[3, 9, 30]])
    expected = bundle.catalogue[[3, 9, 30]].select("item_id", "title", "category", "price")
    assert found.shown.equals(expected)
    assert found.shown["price"].to_list() == [None, 11.25, 37.5]


def test_no_candidate_is_none(bundle: Bundle) -> None:
    empty = encode_candidates(QuantizedRows.of(bundle), np.empty(0, np.int32))
    assert decode_candidates(empty, bundle.table.dim) is None


def test_there_is_a_most(bundle: Bundle) -> None:
    with pytest.raises(ModelError, match="candidates=2001: must be at most 2000"):
        encode_candidates(QuantizedRows.of(bundle), np.zeros(MAX_CANDIDATES + 1, np.int32))


@settings(max_examples=40)
@given(
    items=st.lists(st.integers(0, 39), min_size=1, max_size=40, unique=True),
    seed=st.integers(0, 99),
    k=st.integers(1, 45),
    lift=st.dictionaries(st.integers(0, 39), st.floats(0, 3, width=32), max_size=5),
    gone=st.sets(st.integers(0, 45), max_size=5),
)
def test_reranking_is_the_one_score_over_what_came(
    bundle: Bundle, items: list[int], seed: int, k: int, lift: dict[int, float], gone: set[int]
) -> None:
    """Against a loop over the decoded rows."""
    found = travelled(bundle, items)
    u = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    bonus = {f"sku-{item}": value for item, value in lift.items()}
    exclude = {f"sku-{item}" for item in gone}
    best, scores = rerank(found, u, 0.25, k, bonus, exclude)
    expected = []
    for place, item_id in enumerate(found.item_ids):
        if item_id not in exclude:
            value = float(found.table.item_embeddings[place] @ u) + 0.25 * float(found.table.trend[place])
            expected.append((-(value + bonus.get(item_id, 0.0)), place))
    expected.sort()
    np.testing.assert_allclose(scores, [-value for value, _ in expected[:k]], atol=1e-4)
    assert len(set(best.tolist())) == len(best) == min(k, len(expected))
    assert not {found.item_ids[place] for place in best} & exclude


def test_of_equal_scores_the_lower_item_idx_comes_first(bundle: Bundle) -> None:
    found = travelled(bundle, [30, 2, 11])
    best, scores = rerank(found, np.zeros(8, np.float32), 0.0, 3, {})
    assert [found.item_ids[place] for place in best] == ["sku-2", "sku-11", "sku-30"]
    assert scores.tolist() == [0.0, 0.0, 0.0]


def floats(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    "change",
    [
        lambda sent: None,
        lambda sent: [],
        lambda sent: sent | {"more": 1},
        lambda sent: {name: value for name, value in sent.items() if name != "scale"},
        lambda sent: sent | {"dim": 9},
        lambda sent: sent | {"dim": "8"},
        lambda sent: sent | {"item_id": ["a", "a"]},
        lambda sent: sent | {"item_id": ["a", None]},
        lambda sent: sent | {"item_id": ["a"]},
        lambda sent: sent | {"item_id": ["a", 3]},
        lambda sent: sent | {"title": "both"},
        lambda sent: sent | {"price": ["dear", "cheap"]},
        lambda sent: sent | {"rows": sent["rows"][:-4]},
        lambda sent: sent | {"rows": "é" + sent["rows"]},
        lambda sent: sent | {"rows": [1, 2]},
        lambda sent: sent | {"scale": floats(1.0, -1.0)},
        lambda sent: sent | {"scale": floats(1.0, np.inf)},
        lambda sent: sent | {"trend": floats(1.0, np.nan)},
        lambda sent: sent | {"trend": floats(1.0)},
    ],
)
def test_anything_else_is_refused(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    sent = encode_candidates(QuantizedRows.of(bundle), np.array([1, 2], dtype=np.int32))
    with pytest.raises(ModelError, match=r"^candidates: "):
        decode_candidates(change(sent), 8)
