from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle
from serving.http.app import create_app
from serving.state.stores import Stores
from tests.serving.http.resources.test_listing import ok, put
from tests.serving.keyed import APPS, keyed_service
from tests.shop import InProcess, make_bundle, service


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", n_items=39 * 4)


def path(bundle: Bundle) -> str:
    return f"/v1/clusters/{bundle.version}/candidates"


def test_it_answers_what_the_post_answers(bundle: Bundle) -> None:
    client = service(bundle)
    sent = {"mode": "cluster", "bundle_version": bundle.version, "clusters": [1, 3], "candidates": 20}
    got = client.get(path(bundle), params={"clusters": [1, 3], "candidates": 20})
    assert ok(got) == ok(client.post("/v1/recommendations", json=sent))
    assert len(got.json()["candidates"]["item_id"]) == 20


def test_a_cache_keeps_it_and_asks_whether_it_still_holds(bundle: Bundle) -> None:
    client, asked = service(bundle), {"clusters": 2, "candidates": 30}
    first = client.get(path(bundle), params=asked)
    assert first.headers["cache-control"] == "public, no-cache"
    held = {"if-none-match": first.headers["etag"]}
    again = client.get(path(bundle), params=asked, headers=held)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert client.get(path(bundle), params=asked | {"candidates": 31}, headers=held).status_code == 200
    assert client.get(path(bundle), params=asked | {"clusters": 1}, headers=held).status_code == 200


def test_what_is_sold_out_is_in_no_answer_of_a_cache(bundle: Bundle) -> None:
    client, asked = service(bundle), {"clusters": 0, "candidates": 10}
    first = client.get(path(bundle), params=asked)
    gone = first.json()["candidates"]["item_id"][0]
    put(client, {"item_id": gone, "available": False})
    now = client.get(path(bundle), params=asked, headers={"if-none-match": first.headers["etag"]})
    assert now.status_code == 200
    assert gone not in now.json()["candidates"]["item_id"]
    assert now.headers["etag"] != first.headers["etag"]


def test_workers_of_one_state_answer_for_each_others_caches_and_others_do_not(bundle: Bundle, tmp_path: Path) -> None:
    stores = [Stores.open(sqlite_url(tmp_path / name)) for name in ("a", "a", "b")]
    clients = [
        httpx.Client(transport=InProcess(create_app([bundle], stores=one)), base_url="http://shop.test")
        for one in stores
    ]
    tags = [client.get(path(bundle), params={"clusters": 0}).headers["etag"] for client in clients]
    for one in stores:
        one.close()
    assert tags[0] == tags[1] != tags[2]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"clusters": 4},
        {"clusters": -1},
        {"clusters": "x"},
        {"clusters": [0, 0]},
        {"clusters": [0, 1, 2, 3, 0]},
        {"clusters": 0, "candidates": 2_001},
        {"clusters": 0, "candidates": 0},
        {"clusters": 0, "profile": "x"},
    ],
)
def test_a_question_that_cannot_be_is_refused_with_its_place(bundle: Bundle, asked: dict[str, object]) -> None:
    answer = service(bundle).get(path(bundle), params=asked)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert "etag" not in answer.headers


def test_another_apps_clusters_are_none(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        url = f"/v1/clusters/{keyed.bundle.version}/candidates"
        assert keyed.client(APPS[0], "device").get(url, params={"clusters": 0}).status_code == 200
        for asks in (keyed.client(APPS[1], "device"), keyed.client(APPS[0], "device")):
            never = asks.get("/v1/clusters/0123456789abcdef/candidates", params={"clusters": 0})
            assert (never.status_code, never.json()["error"]["code"]) == (404, "unknown_bundle")
        assert keyed.client(APPS[1], "device").get(url, params={"clusters": 0}).status_code == 404
        assert keyed.bare().get(url, params={"clusters": 0}, headers={"if-none-match": "*"}).status_code == 401
