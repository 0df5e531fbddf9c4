"""Items over HTTP: what is put is shown at once, in every list, after a restart and beside other apps."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle, save_bundle
from serving.http.app import create_app
from serving.state.stores import Stores
from tests.serving.http.resources.test_listing import ALL, PROFILE, ask, body, coarse, every_list, ids, ok, put, similar
from tests.serving.keyed import keyed_service
from tests.shop import DIM, InProcess, make_bundle, service

RECOMMEND = "/v1/recommendations"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Titles and categories say where an item is: all of a category look one way, so that content can be learned."""
    plain = make_bundle(tmp_path_factory.mktemp("plain") / "b")
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4, DIM))
    rows = directions[np.arange(40) % 4] + 0.1 * rng.normal(size=(40, DIM))
    catalogue = plain.catalogue.with_columns(
        title=pl.Series([f"Word{item % 4} number{item}" for item in range(40)]),
        colour=pl.Series(["red" if item < 10 else None for item in range(40)], dtype=pl.String),
        size=pl.Series([float(item) for item in range(40)]),
        pieces=pl.Series(list(range(40)), dtype=pl.Int32),
        new=pl.Series([False] * 40),
    )
    return save_bundle(
        tmp_path_factory.mktemp("bundle") / "b",
        name="shop",
        table=type(plain.table)(rows.astype(np.float32), plain.table.trend, plain.table.mean_profile),
        catalogue=catalogue,
        config=plain.config,
        seed=0,
        data_hash="test",
        privacy="none: random numbers",
    )


@pytest.fixture
def client(bundle: Bundle) -> httpx.Client:
    return service(bundle)


def item(client: httpx.Client, item_id: str) -> dict[str, Any]:
    return ok(client.get(f"/v1/items/{item_id}"))


def test_what_is_put_is_shown_at_once_and_other_fields_stay(client: httpx.Client, bundle: Bundle) -> None:
    before = item(client, "sku-4")
    put(client, {"item_id": "sku-4", "price": 3.5})
    assert item(client, "sku-4") == before | {"price": 3.5}
    put(client, {"item_id": "sku-4", "title": "New “name”", "attributes": {"colour": "blue", "size": 41}})
    after = before | {"price": 3.5, "title": "New “name”"}
    after["attributes"] = before["attributes"] | {"colour": "blue", "size": 41.0}
    assert item(client, "sku-4") == after
    assert ask(client, bundle, filter={"attributes.colour": "blue"}) == ["sku-4"]
    assert ask(client, bundle, filter={"attributes.size": {"min": 41}}) == ["sku-4"]
    shown = ok(client.post(RECOMMEND, json=body(bundle, filter={"item_id": "sku-4"})))["recommendations"][0]
    assert (shown["title"], shown["price"], shown["category"]) == ("New “name”", 3.5, before["category"])
    assert before["row"] == item(client, "sku-4")["row"]  # a learned embedding stays


def test_null_clears_a_field(client: httpx.Client, bundle: Bundle) -> None:
    put(client, {"item_id": "sku-1", "price": None, "category": None, "attributes": {"colour": None}})
    cleared = item(client, "sku-1")
    assert (cleared["price"], cleared["category"], cleared["attributes"]["colour"]) == (None, None, None)
    assert "sku-1" not in ask(client, bundle, top_k=1_000, filter={"category": "shelf 1"})
    assert "sku-1" not in ask(client, bundle, top_k=1_000, filter={"price": {"min": 0}})
    put(client, {"item_id": "sku-2", "available": False})
    put(client, {"item_id": "sku-2", "available": None})  # not known not to be
    assert item(client, "sku-2")["available"] is True


def test_a_deleted_item_is_nowhere_until_it_is_put_again(client: httpx.Client, bundle: Bundle) -> None:
    before = item(client, "sku-7")
    put(client, {"item_id": "sku-7", "title": "Passing"})
    ok(client.delete("/v1/items/sku-7"))
    for listed in every_list(client, bundle):
        assert sorted(listed) == sorted(set(ALL) - {"sku-7"})
    for path in ("/v1/items/sku-7", "/v1/items/sku-7/similar"):
        assert client.get(path).status_code == 404
    assert client.delete("/v1/items/sku-7").status_code == 404
    assert ok(client.post(RECOMMEND, json=body(bundle, exclude=["sku-7"])))["unknown_exclude"] == ["sku-7"]
    put(client, {"item_id": "sku-7", "price": 2.0})
    assert item(client, "sku-7") == before | {"price": 2.0}
    for listed in every_list(client, bundle):
        assert sorted(listed) == sorted(ALL)


def test_a_new_item_is_placed_by_its_content_and_is_in_every_list(client: httpx.Client, bundle: Bundle) -> None:
    put(client, {"item_id": "new/1", "title": "Word2 brandnew", "category": "shelf 2", "price": 30.0})
    for listed in every_list(client, bundle):
        assert sorted(listed) == sorted([*ALL, "new/1"])
    row = np.frombuffer(base64.b64decode(item(client, "new/1")["row"]), dtype="<f4")
    V = bundle.table.item_embeddings
    cosine = V @ row / np.linalg.norm(V, axis=1) / np.linalg.norm(row)
    assert {int(place) % 4 for place in np.argsort(-cosine)[:8]} == {2}
    assert {int(name.split("-")[1]) % 4 for name in similar(client, "new/1", top_k=8)} == {2}
    assert "new/1" in similar(client, "sku-2", top_k=11)
    assert "new/1" in ask(client, bundle, (V[2] * 5).tolist(), top_k=11)
    assert ask(client, bundle, filter={"price": {"min": 30, "max": 30.5}, "category": "shelf 2"}) == ["new/1"]
    assert coarse(client, bundle, filter={"item_id": "new/1"}) == ["new/1"]
    assert "new/1" in ask(client, bundle, None, context="sku-2", top_k=12)
    assert {int(name.split("-")[1]) % 4 for name in ask(client, bundle, None, context="new/1", top_k=3)} == {2}
    assert "new/1" not in ask(client, bundle, None, cart=["new/1"], top_k=1_000)
    ok(client.delete("/v1/items/new%2F1"))
    for listed in every_list(client, bundle):
        assert sorted(listed) == sorted(ALL)


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        ({"price": "dear"}, "items.1.price"),
        ({"price": -1}, "items.1.price"),
        ({"price": 1e13}, "items.1.price"),
        ({"price": True}, "items.1.price"),
        ({"title": 3}, "items.1.title"),
        ({"title": "x" * 1_001}, "items.1.title"),
        ({"available": "no"}, "items.1.available"),
        ({"available": 1}, "items.1.available"),
        ({"item_id": ""}, "items.1.item_id"),
        ({"item_id": "a\x00b"}, "items.1.item_id"),
        ({"colour": "red"}, "items.1.colour"),
        ({"attributes": {"colour": 3}}, "items.1.attributes.colour"),
        ({"attributes": {"size": "large"}}, "items.1.attributes.size"),
        ({"attributes": {"pieces": 2.5}}, "items.1.attributes.pieces"),
        ({"attributes": {"pieces": 2**40}}, "items.1.attributes.pieces"),
        ({"attributes": {"new": 1}}, "items.1.attributes.new"),
        ({"attributes": {"price": -5}}, "items.1.attributes.price"),
        ({"attributes": {"item_id": "sku-9"}}, "items.1.attributes.item_id"),
        ({"attributes": {"weight": 3}}, "items.1"),
        ({"score": 9}, "items.1.score"),
    ],
)
def test_a_wrong_field_is_one_clear_error_that_names_its_place_and_changes_nothing(
    client: httpx.Client, changed: dict[str, Any], at: str
) -> None:
    before = [item(client, name) for name in ("sku-1", "sku-2")]
    items = [{"item_id": "sku-1", "price": 77.0}, {"item_id": "sku-2"} | changed]
    answer = client.put("/v1/items", json={"items": items})
    assert answer.status_code == 422
    [problem, *_] = answer.json()["error"]["details"]["problems"]
    assert problem["at"] == at
    for value in ("dear", "large", "sku-9"):
        assert value not in answer.text
    assert [item(client, name) for name in ("sku-1", "sku-2")] == before


def test_an_unknown_attribute_is_answered_with_those_there_are(client: httpx.Client) -> None:
    answer = client.put("/v1/items", json={"items": [{"item_id": "sku-1", "attributes": {"my-weight": 3}}]})
    message = answer.json()["error"]["message"]
    assert message == (
        "items.0: a field that is not one of available, category, colour, new, pieces, price, size, title"
    )


def test_a_thousand_items_go_in_one_request_and_one_more_does_not(client: httpx.Client, bundle: Bundle) -> None:
    many = [{"item_id": f"n-{at}", "title": f"Word{at % 4} new", "category": "heap"} for at in range(1_000)]
    put(client, *many)
    assert sorted(ask(client, bundle, top_k=1_000, filter={"category": "heap"})) == sorted(
        str(one["item_id"]) for one in many
    )
    refused = client.put("/v1/items", json={"items": [*many, {"item_id": "n-1000"}]})
    assert refused.status_code == 422
    assert client.get("/v1/items/n-1000").status_code == 404


def test_an_item_named_twice_gets_both_the_later_one_winning(client: httpx.Client) -> None:
    put(client, {"item_id": "sku-1", "price": 1.0, "title": "A"}, {"item_id": "sku-1", "price": 2.0})
    assert (item(client, "sku-1")["price"], item(client, "sku-1")["title"]) == (2.0, "A")


def on(stores: Stores, *bundles: Bundle) -> httpx.Client:
    return httpx.Client(transport=InProcess(create_app(bundles, stores=stores)), base_url="http://shop.test")


def test_changes_survive_a_restart_and_another_bundle(bundle: Bundle, tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "state.sqlite")
    stores = Stores.open(url)
    client = on(stores, bundle)
    put(client, {"item_id": "sku-1", "available": False}, {"item_id": "new", "title": "Word1", "category": "shelf 1"})
    put(client, {"item_id": "sku-2", "title": "Gone and back"}, {"item_id": "sku-3", "attributes": {"size": 99}})
    ok(client.delete("/v1/items/sku-2"))
    put(client, {"item_id": "sku-2", "price": 9.0})
    ok(client.delete("/v1/items/sku-4"))
    names = ("sku-2", "sku-3", "new")
    lists, items = every_list(client, bundle), [item(client, name) for name in names]
    changes = ok(client.get("/v1/catalogue/current/changes".replace("current", bundle.version)))
    stores.close()
    again = on(Stores.open(url), bundle)
    assert every_list(again, bundle) == lists
    assert [item(again, name) for name in names] == items
    assert ok(again.get(f"/v1/catalogue/{bundle.version}/changes")) == changes
    # a bundle with other columns, and of another type, takes what it can hold
    other = make_bundle(tmp_path / "other", seed=5, n_items=45)
    narrow = save_bundle(
        tmp_path / "narrow",
        name="shop",
        table=other.table,
        catalogue=other.catalogue.with_columns(size=pl.lit("large")),
        config=other.config,
        seed=0,
        data_hash="test",
        privacy="none: random numbers",
    )
    switched = on(Stores.open(url), narrow, bundle)
    shown = set(ask(switched, narrow, top_k=1_000))
    assert {f"sku-{at}" for at in range(45)} - shown == {"sku-1", "sku-4"}
    assert "new" in shown
    assert item(switched, "sku-2")["price"] == 9.0
    assert item(switched, "sku-3")["attributes"] == {"size": "large"}
    assert every_list(switched, bundle) == lists  # the older one is still answered


def test_two_apps_on_one_store_never_see_each_other(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        a, b = (keyed.client(app, "catalogue") for app in ("shop-a", "shop-b"))
        ask_a, ask_b = (keyed.client(app, "app") for app in ("shop-a", "shop-b"))
        put(a, {"item_id": "only-a", "title": "Thing"}, {"item_id": "sku-1", "available": False})
        ok(a.delete("/v1/items/sku-2"))
        version_b = ok(ask_b.get("/v1/bundles"))["bundles"][0]["version"]
        shown_b = ids(ok(ask_b.post(RECOMMEND, json=keyed.ask(bundle_version=version_b, top_k=1_000))))
        assert {"sku-1", "sku-2"} <= set(shown_b)
        assert "only-a" not in shown_b
        assert ask_b.get("/v1/items/only-a").status_code == 404
        assert b.delete("/v1/items/only-a").status_code == 404
        told_b = ok(ask_b.get(f"/v1/catalogue/{version_b}/changes"))
        epoch_b = told_b.pop("epoch")
        assert told_b == {"bundle_version": version_b, "sequence": 0, "changes": [], "placements": None}
        shown_a = ids(ok(ask_a.post(RECOMMEND, json=keyed.ask(top_k=1_000))))
        assert not {"sku-1", "sku-2"} & set(shown_a)
        assert "only-a" in shown_a
        told_a = ok(ask_a.get(f"/v1/catalogue/{keyed.bundle.version}/changes"))
        assert told_a["epoch"] != epoch_b
        told = told_a["changes"]
        assert [one["item_id"] for one in told] == ["sku-1", "sku-2", "only-a"]  # in the order of their places


def test_devices_are_told_what_changed_since(client: httpx.Client, bundle: Bundle) -> None:
    path = f"/v1/catalogue/{bundle.version}/changes"
    put(client, {"item_id": "sku-1", "price": 5.0}, {"item_id": "new", "title": "Word1"})
    first = ok(client.get(path))
    assert [one["item_id"] for one in first["changes"]] == ["sku-1", "new"]
    assert [one["row"] is None for one in first["changes"]] == [True, False]
    ok(client.delete("/v1/items/new"))
    second = ok(client.get(path, params={"since": first["sequence"]}))
    assert second["changes"] == [{"item_id": "new", "fields": None, "row": None}]
    assert ok(client.get(path, params={"since": second["sequence"]}))["changes"] == []
    assert len(PROFILE) == DIM


def test_the_epoch_of_changes_outlives_a_restart_and_not_the_state(tmp_path: Path, bundle: Bundle) -> None:
    path = f"/v1/catalogue/{bundle.version}/changes"

    def told(state: str) -> dict[str, Any]:
        stores = Stores.open(sqlite_url(tmp_path / state))
        app = create_app([bundle], stores=stores)
        try:
            with httpx.Client(transport=InProcess(app), base_url="http://shop.test") as client:
                put(client, {"item_id": "sku-1", "price": 5.0})
                return ok(client.get(path))
        finally:
            stores.close()

    first, again, other = told("a.sqlite"), told("a.sqlite"), told("b.sqlite")
    assert first["epoch"] == again["epoch"] != other["epoch"]
    assert (first["sequence"], again["sequence"], other["sequence"]) == (1, 2, 1)
