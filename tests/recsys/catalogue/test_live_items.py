from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.catalogue.content import ContentMap
from recsys.catalogue.live_items import ItemChange, LiveItems
from recsys.model.items import ItemTable
from recsys.model.scoring import score, top_k
from recsys.search import index as index_build
from recsys.search import selection
from recsys.search.retrieval import ItemIndex
from tests.shop import make_bundle

N, DIM = 40, 4


def start(folder: Path, n_items: int = N, *, trend: bool = True, whole: bool = True) -> LiveItems:
    """Live items of a small shop; whole: embeddings are small integers, so that sums are exact and ties are many."""
    rng = np.random.default_rng(0)
    V = rng.integers(-1, 2, (n_items, DIM)).astype(np.float32)
    bundle = make_bundle(
        folder / "bundle",
        n_items=n_items,
        dim=DIM,
        unavailable=[2, 5],
        embeddings=V if whole else rng.normal(size=(n_items, DIM)).astype(np.float32),
        trend=(rng.integers(0, 2, n_items) if trend else np.zeros(n_items)).astype(np.float32),
    )
    index = ItemIndex.build(bundle.table, bundle.catalogue["category"])
    content = ContentMap.fit(bundle.catalogue, bundle.table.item_embeddings, reg=1.0)
    return LiveItems.start(bundle, index, content)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LiveItems:
    return start(tmp_path_factory.mktemp("live"))


def put(item_id: str, sequence: int, number: int = 0, **fields: object) -> ItemChange:
    return ItemChange(item_id, sequence, number, fields)


def table_of(live: LiveItems) -> ItemTable:
    """The extended table, as one."""
    V = live.vectors(np.arange(live.n_items))
    return ItemTable(V, live.trend, live.bundle.table.mean_profile)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["sku-0", "sku-1", "sku-2", "sku-7", "new-a", "new-b", "new-c", "new-d"]),
        st.sampled_from(
            [
                None,
                {"category": "shelf 0"},
                {"category": "shelf 1", "title": "Thing 3"},
                {"available": False},
                {"available": True, "price": 3},
            ]
        ),
    ),
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(
    steps=CHANGES,
    cut=st.integers(0, 10),
    seed=st.integers(0, 1_000),
    k=st.integers(1, 50),
    category=st.sampled_from([(), "shelf 0", "shelf 1", ("shelf 1", "shelf 2")]),
    share=st.sampled_from([None, 0.3, 0.9]),
    hidden=st.lists(st.integers(0, N + 3), max_size=12),
    few=st.sampled_from([0, 2_000]),
)
def test_a_list_is_the_top_k_of_the_extended_table(shop, steps, cut, seed, k, category, share, hidden, few):
    numbers: dict[str, int] = {}
    for item_id, _ in steps:
        if item_id.startswith("new"):
            numbers.setdefault(item_id, len(numbers))
    changes = [
        ItemChange(item_id, sequence, numbers.get(item_id, 0), fields)
        for sequence, (item_id, fields) in enumerate(steps)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "FEW", few)
        patch.setattr(selection, "FEW_SHARE", 0.0)
        patch.setattr(index_build, "MIN_LIST", 3)
        lists = ItemIndex.build(shop.bundle.table, shop.bundle.catalogue["category"])
        first = LiveItems.start(shop.bundle, lists, shop.content)
        live = first.apply(changes[:cut]).apply(changes[cut:])
        at_once = first.apply(changes)
        rng = np.random.default_rng(seed)
        query = rng.integers(-1, 2, DIM).astype(np.float32)
        allowed = None if share is None else rng.random(live.n_items) < share
        chosen = live.select(allowed, category)
        gone = np.array([item for item in hidden if item < live.n_items], dtype=np.int32)
        items, scores = live.search(query, k, trend_weight=1.0, selection=chosen, hidden=gone)
    wanted = (category,) if isinstance(category, str) else category
    rows = live.catalogue.to_dicts()
    out = [
        place
        for place, row in enumerate(rows)
        if not row["available"]
        or (wanted and row["category"] not in wanted)
        or (allowed is not None and not allowed[place])
    ]
    every = score(table_of(live), query[None], 1.0)[0]
    fresh = np.array([item for item in range(N, live.n_items) if item not in out and item not in gone], dtype=np.int64)
    every[fresh] = live.vectors(fresh) @ query  # summed as the search does: they are no integers
    expected = top_k(every, k, np.concatenate([np.array(out, dtype=np.int32), gone]))
    assert items.tolist() == expected[0].tolist()
    np.testing.assert_allclose(scores, expected[1], rtol=1e-6)
    assert chosen.count == live.n_items - len(out)
    assert at_once.catalogue.equals(live.catalogue)
    np.testing.assert_array_equal(at_once.embeddings, live.embeddings)
    np.testing.assert_array_equal(at_once.available, live.available)


def test_a_new_item_is_found_at_once_and_the_old_view_stays(shop):
    live = shop.apply([put("new", 1, title="Thing 8", category="shelf 0", price=10.0)])
    query = live.vectors(np.array([N]))[0]
    items, _ = live.search(query, live.n_items, trend_weight=0.0)
    assert N in items.tolist()
    assert live.index_of(["new", "sku-3", "nothing"]).tolist() == [N, 3, -1]
    assert (shop.n_items, shop.index_of(["new"]).tolist()) == (N, [-1])
    np.testing.assert_allclose(query, shop.content.embed(live.catalogue[N : N + 1])[0])
    assert live.catalogue.row(N, named=True) == {
        "item_id": "new",
        "title": "Thing 8",
        "category": "shelf 0",
        "price": 10.0,
        "available": True,
    }


def test_a_known_item_keeps_its_learned_embedding_whatever_it_is_called(shop):
    live = shop.apply([put("sku-3", 1, title="Something else", price=99.0)])
    np.testing.assert_array_equal(live.vectors(np.array([3]))[0], shop.bundle.table.item_embeddings[3])
    assert live.catalogue["title"][3] == "Something else"
    assert live.catalogue["category"][3] == shop.catalogue["category"][3]
    assert live.touched == frozenset()


def test_an_unavailable_or_deleted_item_never_appears_and_comes_back(shop):
    def listed(live: LiveItems) -> set[int]:
        return set(live.search(np.ones(DIM, np.float32), live.n_items, trend_weight=0.0)[0].tolist())

    assert listed(shop) == set(range(N)) - {2, 5}
    off = shop.apply(
        [put("sku-1", 1, available=False), put("sku-2", 2, available=True), ItemChange("sku-4", 3, 0, None)]
    )
    assert listed(off) == set(range(N)) - {1, 4, 5}
    assert off.index_of(["sku-1", "sku-4"]).tolist() == [1, -1]
    assert off.catalogue.row(4, named=True) == {
        "item_id": "sku-4",
        "title": None,
        "category": None,
        "price": None,
        "available": False,
    }
    back = off.apply([put("sku-4", 4, category="shelf 1")])
    assert listed(back) == set(range(N)) - {1, 5}
    assert 4 in back.search(np.ones(DIM, np.float32), N, trend_weight=0.0, selection=back.select(None, "shelf 1"))[0]


def test_an_item_that_is_put_again_is_the_bundles_own_with_what_was_put_since(shop):
    """Whoever looked before, between or after the deletion ends with the same row."""
    steps = [put("sku-1", 1, title="X"), ItemChange("sku-1", 2, 0, None), put("sku-1", 3, price=3.0)]
    last = replace(steps[2], whole=True)  # as a store tells it
    own = shop.bundle.catalogue.row(1, named=True)
    for seen in ([*steps[:2], last], [steps[0], last], [last], steps):
        live = shop
        for one in seen:
            live = live.apply([one])
        row = live.catalogue.row(1, named=True)
        assert row == own | {"price": 3.0}
        assert live.index_of(["sku-1"]).tolist() == [1]
        assert shop.apply(seen).catalogue.row(1, named=True) == row


def test_item_idx_follow_the_numbers_and_a_deleted_item_keeps_its_place(shop):
    changes = [put("b", 5, 1, title="Thing 1"), put("a", 9, 0, title="Thing 2"), ItemChange("c", 7, 2, None)]
    live = shop.apply(changes).apply([put("d", 10, 5, title="Thing 3")])
    assert [live.places[name] for name in "abcd"] == [N, N + 1, N + 2, N + 3]
    assert live.index_of(["a", "b", "c", "d"]).tolist() == [N, N + 1, -1, N + 3]
    with pytest.raises(ModelError, match="number=4 of 'e': must be above those of older items"):
        live.apply([put("e", 11, 4)])


def test_changes_that_are_known_are_passed_over(shop):
    first = [put("new", 3, 0, title="Thing 1"), put("sku-0", 4, price=1.0)]
    live = shop.apply(first)
    assert live.apply(first) is live
    assert live.sequence == 4
    late = live.apply([put("sku-0", 2, price=7.0), put("sku-0", 5, price=8.0)])
    assert (late.catalogue["price"][0], late.sequence) == (8.0, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"colour": "red"}, "fields: 'colour' of item 'sku-0': must be a column of the catalogue"),
        ({"item_id": "x"}, "fields: 'item_id' of item 'sku-0'"),
        ({"price": "cheap"}, "price='cheap': must be Float64"),
        ({"price": float("nan")}, "price=nan: must be Float64"),
        ({"price": True}, "price=True: must be Float64"),
        ({"available": "yes"}, "available='yes': must be Boolean"),
        ({"title": 3}, "title=3: must be String"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(shop, fields, message):
    with pytest.raises(ModelError, match=message):
        shop.apply([ItemChange("sku-0", 1, 0, fields)])


def test_arrays_that_are_served_cannot_be_written_to(shop):
    live = shop.apply([put("new", 1, title="Thing 8")])
    for array in (live.available, live.deleted, live.embeddings, live.numbers, shop.available):
        assert not array.flags.writeable


def test_a_handful_of_changes_is_quick_at_a_hundred_thousand_items(tmp_path):
    live = start(tmp_path, 100_000, whole=False)
    live.index_of(["sku-0"])  # the vocabulary's own table is made once
    changes = [put(f"sku-{item}", item, price=1.0, available=False) for item in range(5)]
    changes += [put(f"new-{item}", 10 + item, item, title="Thing 9", category="shelf 1") for item in range(5)]
    spent = []
    for turn in range(5):
        begun = time.process_time()
        live.apply(changes[turn:])
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.02


def test_an_item_that_changes_its_category_is_found_in_the_new_one_only(tmp_path, monkeypatch):
    monkeypatch.setattr(selection, "FEW", 0)
    monkeypatch.setattr(selection, "FEW_SHARE", 0.0)
    monkeypatch.setattr(index_build, "MIN_LIST", 1)
    first = start(tmp_path, trend=False)
    assert len(first.index.names) == 4
    live = first.apply([put("sku-0", 1, category="shelf 3")])
    assert live.touched == {"shelf 0", "shelf 3"}

    def listed(name: str) -> list[int]:
        return sorted(live.search(np.ones(DIM, np.float32), N, trend_weight=0.0, selection=live.select(None, name))[0])

    assert listed("shelf 0") == list(range(4, N, 4))
    assert listed("shelf 3") == [0, *range(3, N, 4)]
    assert listed("shelf 1") == [item for item in range(1, N, 4) if item != 5]


def test_without_an_available_column_everything_is_available_until_told(shop):
    bare = shop.bundle.catalogue.drop("available", "category")
    bundle = replace(shop.bundle, catalogue=bare)
    live = LiveItems.start(bundle, ItemIndex.build(bundle.table), ContentMap.fit(bare, bundle.table.item_embeddings))
    assert live.available.all()
    live = live.apply([put("sku-3", 1, available=False)])
    assert np.flatnonzero(~live.available).tolist() == [3]
    assert live.catalogue.schema["available"] == pl.Boolean
    with pytest.raises(ModelError, match="category='a': this catalogue has no categories"):
        live.select(None, "a")
