"""Fields of items that a question asks for: the same on every route that lists items."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import httpx
import polars as pl
import pytest

from recsys.catalogue.bundle import Bundle, save_bundle
from serving.http.resources.ask_bodies import LISTED_FIELDS, MAX_FIELDS
from serving.http.resources.item_json import plain
from tests.shop import DIM, make_bundle, service

RECOMMEND = "/v1/recommendations"
PROFILE = [0.25] * DIM
FIELDS = ["link", "price", "attributes.size", "available", "attributes.colour", "category"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    made = make_bundle(folder / "plain")
    n = made.table.n_items
    catalogue = made.catalogue.with_columns(
        link=pl.Series([f"https://shop.example/{item}" for item in range(n)]),
        colour=pl.Series(["red", None] * (n // 2)),
        size=pl.Series(range(n), dtype=pl.Int32),
        weight=pl.Series([float("nan")] * n),
        since=pl.Series([date(2026, 1, 1)] * n),
    )
    return save_bundle(folder / "b", name="shop", table=made.table, catalogue=catalogue, config=made.config, seed=0,
                       data_hash="test", privacy="none: random numbers")  # fmt: skip


@pytest.fixture
def client(bundle: Bundle) -> httpx.Client:
    return service(bundle)


def expected(bundle: Bundle, item_id: str) -> dict[str, Any]:
    row = bundle.catalogue.row(by_predicate=pl.col("item_id") == item_id, named=True)
    attributes = {"size": row["size"], "colour": row["colour"]}
    return {name: row[name] for name in ("link", "price", "available", "category")} | {"attributes": attributes}


def lists(client: httpx.Client, bundle: Bundle, **asked: Any) -> list[list[dict[str, Any]]]:
    """Items as every route that lists them has them, without their scores."""
    same = {"top_k": 7} | asked
    posted = {"bundle_version": bundle.version, "profile": PROFILE} | same
    answers = [
        client.post(RECOMMEND, json=posted).json()["recommendations"],
        client.post(RECOMMEND, json=same).json()["recommendations"],
        client.post(RECOMMEND, json=posted | {"diversity": 0.4, "reasons": True}).json()["recommendations"],
        client.post(f"{RECOMMEND}/batch", json={"requests": [same]}).json()["answers"][0]["recommendations"],
        client.post("/v1/items/sku-3/similar", json=same).json()["similar"],
        client.get("/v1/items/sku-3/similar", params=same).json()["similar"],
    ]
    for items in answers:
        assert len(items) == 7
        for item in items:
            del item["score"]
            item.pop("reason", None)
    return answers


def candidates(client: httpx.Client, bundle: Bundle, **asked: Any) -> list[dict[str, Any]]:
    """The columns of candidates, by each way of asking for them."""
    of = {"bundle_version": bundle.version, "candidates": 9} | asked
    return [
        client.post(RECOMMEND, json=of | {"mode": "cluster", "clusters": [0]}).json()["candidates"],
        client.post(RECOMMEND, json=of | {"mode": "noised", "noised": PROFILE}).json()["candidates"],
        client.get(
            f"/v1/clusters/{bundle.version}/candidates", params={"clusters": [0], "candidates": 9} | asked
        ).json()["candidates"],
    ]


def test_every_list_has_the_fields_that_were_asked_for_and_no_other(client: httpx.Client, bundle: Bundle) -> None:
    for items in lists(client, bundle, fields=FIELDS):
        for item in items:
            assert item == {"item_id": item["item_id"]} | expected(bundle, item["item_id"])


def test_candidates_have_the_fields_that_were_asked_for_as_columns(client: httpx.Client, bundle: Bundle) -> None:
    for found in candidates(client, bundle, fields=FIELDS):
        assert set(found) == {"item_id", "link", "price", "available", "category", "attributes", "dim", "rows", "scale",
                              "trend"}  # fmt: skip
        for at, item_id in enumerate(found["item_id"]):
            row = expected(bundle, item_id)
            assert {name: found[name][at] for name in ("link", "price", "available", "category")} == {
                name: row[name] for name in ("link", "price", "available", "category")
            }
            assert {name: values[at] for name, values in found["attributes"].items()} == row["attributes"]


def test_without_fields_everything_is_as_it_was(client: httpx.Client, bundle: Bundle) -> None:
    for items in lists(client, bundle):
        assert {tuple(item) for item in items} == {("item_id", "title", "category", "price")}
    for found in candidates(client, bundle):
        assert set(found) == {"item_id", "title", "category", "price", "dim", "rows", "scale", "trend"}


def test_no_field_at_all_leaves_id_and_score(client: httpx.Client) -> None:
    answer = client.post(RECOMMEND, json={"fields": []}).json()
    assert {tuple(item) for item in answer["recommendations"]} == {("item_id", "score")}


def test_a_field_of_every_catalogue_is_null_where_this_one_lacks_it(client: httpx.Client, bundle: Bundle) -> None:
    for items in lists(client, bundle, fields=["image"]):
        assert {item["image"] for item in items} == {None}


def test_what_json_does_not_have_is_null_or_text(client: httpx.Client, bundle: Bundle) -> None:
    (item, *_) = client.post(RECOMMEND, json={"fields": ["attributes.weight", "attributes.since"]}).json()[
        "recommendations"
    ]
    assert item["attributes"] == {"weight": None, "since": "2026-01-01"}
    assert [plain(value) for value in (float("inf"), 2.5, True, None)] == [None, 2.5, True, None]


def test_a_changed_and_a_new_item_are_shown_as_they_are_now(client: httpx.Client, bundle: Bundle) -> None:
    changed = {"price": 99.5, "attributes": {"colour": "blue"}}
    fresh = {"item_id": "new", "title": "A “new” thing", "category": "shelf 1", "attributes": {"size": 7}}
    client.put("/v1/items", json={"items": [{"item_id": "sku-1"} | changed, fresh]}).raise_for_status()
    only = {"filter": {"item_id": ["sku-1", "new"]}, "fields": ["price", "title", "attributes.colour"], "top_k": 2}
    answer = client.post(RECOMMEND, json=only | {"profile": PROFILE, "bundle_version": bundle.version}).json()
    by_id = {item["item_id"]: item for item in answer["recommendations"]}
    assert (by_id["sku-1"]["price"], by_id["sku-1"]["attributes"]) == (99.5, {"colour": "blue"})
    assert (by_id["new"]["title"], by_id["new"]["attributes"]) == ("A “new” thing", {"colour": None})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["price", "colour"], "fields.1: no such field; must be one of title, category, price, available, image, link"),
        (["attributes.flavour"], "fields.0: no such field"),
        (["attributes.price"], "fields.0: no such field"),
        (["item_id"], "fields.0: no such field"),
        (["__class__"], "fields.0: no such field"),
        (["price", "price"], "fields: one is named twice"),
        ([""], "fields.0: String should have at least 1 character"),
        (["price"] * (MAX_FIELDS + 1), "fields: List should have at most 32 items"),
    ],
)
def test_what_is_no_field_is_refused_everywhere(
    client: httpx.Client, bundle: Bundle, fields: list[str], message: str
) -> None:
    answers = [
        client.post(RECOMMEND, json={"fields": fields}),
        client.post("/v1/items/sku-3/similar", json={"fields": fields}),
        client.post(RECOMMEND, json={"fields": fields, "mode": "cluster", "clusters": [0],
                                     "bundle_version": bundle.version}),
        client.get("/v1/items/sku-3/similar", params={"fields": fields}),
        client.get(f"/v1/clusters/{bundle.version}/candidates", params={"clusters": [0], "fields": fields}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 422, answer.text
        told = answer.json()["error"]
        assert message in told["message"]
        assert "flavour" not in json.dumps(told)


def test_a_cached_answer_is_of_the_fields_that_it_was_asked_for(client: httpx.Client, bundle: Bundle) -> None:
    asked = [{"clusters": [0]}, {"clusters": [0], "fields": ["price"]}, {"clusters": [0], "fields": ["title", "price"]}]
    answers = [client.get(f"/v1/clusters/{bundle.version}/candidates", params=one) for one in asked]
    assert len({answer.headers["etag"] for answer in answers}) == 3


def test_the_document_names_the_fields_there_are(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    described = document["components"]["schemas"]["ProfileRequest"]["properties"]["fields"]["anyOf"][0]
    own = [f"attributes.{name}" for name in ("colour", "image", "link", "since", "size", "weight")]
    assert described["items"]["enum"] == [*LISTED_FIELDS, *(name for name in own if name != "attributes.image")]
    assert (described["maxItems"], described["uniqueItems"]) == (MAX_FIELDS, True)
