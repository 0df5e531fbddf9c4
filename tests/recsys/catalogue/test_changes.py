from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.catalogue.catalogue import Catalogue, decode_catalogue, encode_catalogue
from recsys.catalogue.changes import CatalogueChange, CatalogueChanges, decode_changes
from recsys.model.items import ItemTable
from tests.shop import DIM, N_ITEMS, make_bundle


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return decode_catalogue(encode_catalogue(make_bundle(tmp_path_factory.mktemp("c") / "b", unavailable=(5,))))


def put(item_id: str, row: float | None = None, **fields: object) -> CatalogueChange:
    shown = {"title": "T", "category": "shelf 1", "price": 2.5, "available": True} | fields
    return CatalogueChange(item_id, shown, None if row is None else np.full(DIM, row, dtype=np.float32))


def gone(item_id: str) -> CatalogueChange:
    return CatalogueChange(item_id, None)


def test_a_changed_item_keeps_its_embedding_and_a_new_one_comes_last(catalogue: Catalogue) -> None:
    now = catalogue.with_changes([put("new", 0.5, title="N"), put("sku-3", title="Other", price=None)])
    assert now.items.index_of(["sku-3", "new"]).tolist() == [3, N_ITEMS]
    assert now.shown.row(3) == ("sku-3", "Other", "shelf 1", None, True)
    assert now.shown.row(N_ITEMS) == ("new", "N", "shelf 1", 2.5, True)
    np.testing.assert_array_equal(now.table.item_embeddings[:N_ITEMS], catalogue.table.item_embeddings)
    np.testing.assert_array_equal(now.table.item_embeddings[N_ITEMS], np.full(DIM, 0.5))
    assert now.table.trend[N_ITEMS] == 0
    assert now.unavailable.tolist() == [5]
    assert now.digest == catalogue.digest


def test_the_bundle_s_own_is_kept_beside_it_untouched(catalogue: Catalogue) -> None:
    before = catalogue.shown.clone()
    now = catalogue.with_changes([put("new", 0.5), gone("sku-1")]).with_changes([put("newer", 0.25)])
    assert now.of_bundle is catalogue
    assert catalogue.of_bundle is catalogue
    assert catalogue.shown.equals(before)
    assert catalogue.with_changes([]) is catalogue


def test_the_gram_matrix_is_that_of_the_table_of_now(catalogue: Catalogue) -> None:
    """The file's gram is of exact rows; so only its growth is compared: v·vᵀ of each new item that is there."""
    rows = np.random.default_rng(0).normal(size=(2, DIM)).astype(np.float32)
    new = [CatalogueChange(f"new-{at}", put("x").fields, row) for at, row in enumerate(rows)]
    now = catalogue.with_changes([*new, gone("new-9")])
    np.testing.assert_allclose(now.table.gram - catalogue.table.gram, rows.T @ rows, atol=1e-4)
    alone = ItemTable(now.table.item_embeddings[N_ITEMS:], np.zeros(3, np.float32), np.zeros(DIM, np.float32))
    np.testing.assert_allclose(now.table.gram - catalogue.table.gram, alone.gram, atol=1e-4)


def test_deleted_items_keep_their_place_and_nothing_else(catalogue: Catalogue) -> None:
    now = catalogue.with_changes([put("new", 0.5), gone("sku-2")]).with_changes([gone("new")])
    assert now.shown.row(2) == ("sku-2", None, None, None, False)
    assert now.shown.row(N_ITEMS) == ("new", None, None, None, False)
    assert now.unavailable.tolist() == [2, 5, N_ITEMS]
    np.testing.assert_array_equal(now.table.item_embeddings[2], catalogue.table.item_embeddings[2])
    assert not now.table.item_embeddings[N_ITEMS].any()
    back = now.with_changes([put("new", 0.25)])
    assert back.unavailable.tolist() == [2, 5]
    assert back.table.item_embeddings[N_ITEMS].tolist() == [0.25] * DIM


steps = st.lists(
    st.builds(
        lambda item, kind, price: gone(item) if kind == 0 else put(item, 0.5 * kind, price=price, available=kind != 2),
        st.sampled_from(["sku-0", "sku-7", "new-a", "new-b", "new-c"]),
        st.integers(0, 3),
        st.floats(0, 100),
    ),
    max_size=8,
)


@given(steps, st.integers(0, 8))
def test_in_one_step_or_in_two_it_is_the_same_catalogue(
    catalogue: Catalogue, changes: list[CatalogueChange], cut: int
) -> None:
    once, twice = catalogue.with_changes(changes), catalogue.with_changes(changes[:cut]).with_changes(changes[cut:])
    assert once.shown.equals(twice.shown)
    np.testing.assert_array_equal(once.table.item_embeddings, twice.table.item_embeddings)
    np.testing.assert_allclose(once.table.gram, twice.table.gram)


@pytest.mark.parametrize("row", [None, np.zeros(DIM + 1, dtype=np.float32)])
def test_a_new_item_without_a_row_of_this_bundle_is_refused(catalogue: Catalogue, row: np.ndarray | None) -> None:
    with pytest.raises(ModelError, match=rf"row .* of a new item, must be \({DIM},\)"):
        catalogue.with_changes([CatalogueChange("new", put("x").fields, row)])


def test_rows_of_a_device_come_before_changes(catalogue: Catalogue) -> None:
    with pytest.raises(ModelError, match="has changes already"):
        catalogue.with_changes([gone("sku-0")]).with_rows(np.array([0], np.int32), np.zeros((1, DIM), np.float32))


def test_what_is_kept_is_what_comes_back() -> None:
    changes = CatalogueChanges("v", 7, (put("a", 0.5), gone("b"), put("c", price=None, title=None)))
    back = decode_changes(changes.encode())
    assert (back.bundle_version, back.sequence, len(back.changes)) == ("v", 7, 3)
    for one, other in zip(back.changes, changes.changes, strict=True):
        assert (one.item_id, one.fields) == (other.item_id, other.fields)
    np.testing.assert_array_equal(back.changes[0].row, np.full(DIM, 0.5, np.float32))
    assert back.changes[1].row is None


def test_newer_changes_replace_older_ones_in_their_place() -> None:
    first = CatalogueChanges("v", 2, (put("a", 0.5), put("b", 0.5)))
    then = first.then(CatalogueChanges("v", 4, (put("c", 0.5), gone("a"))))
    assert [(one.item_id, one.fields is None) for one in then.changes] == [("a", True), ("b", False), ("c", False)]
    assert then.sequence == 4


FIELDS = {"title": None, "category": None, "price": 1, "available": True}
ENTRY = {"item_id": "a", "fields": FIELDS, "row": None}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"bundle_version": "v", "sequence": -1, "changes": []},
        {"bundle_version": "v", "sequence": True, "changes": []},
        {"bundle_version": "v", "sequence": 2**53 + 1, "changes": []},
        {"bundle_version": 3, "sequence": 1, "changes": []},
        {"bundle_version": "v", "sequence": 1, "changes": [ENTRY, ENTRY]},
        *(
            {"bundle_version": "v", "sequence": 1, "changes": [ENTRY | changed]}
            for changed in (
                {"item_id": 3},
                {"item_id": ""},
                {"item_id": "\ud800"},
                {"fields": {}},
                {"fields": FIELDS | {"price": float("inf")}},
                {"fields": FIELDS | {"price": True}},
                {"fields": FIELDS | {"title": ["a"]}},
                {"fields": FIELDS | {"title": "\ud800"}},
                {"fields": FIELDS | {"available": "no"}},
                {"row": "!"},
                {"row": ""},
                {"row": base64.b64encode(np.array([np.nan], "<f4").tobytes()).decode()},
                {"row": base64.b64encode(b"abc").decode()},
            )
        ),
    ],
)
def test_changes_that_are_none_are_one_clear_error(answer: object) -> None:
    with pytest.raises(ModelError, match=r"^changes: "):
        decode_changes(json.dumps(answer).encode())


def test_nested_changes_are_one_clear_error() -> None:
    with pytest.raises(ModelError, match="RecursionError"):
        decode_changes(b"[" * 200_000)
