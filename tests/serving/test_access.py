from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.routing import Route as StarletteRoute

from serving.access import ANYBODY, NOBODY, ROUTES, SCOPES, Access, Caller, RouteTable
from serving.http.app import create_app
from serving.refusal import Refusal
from tests.federation.service.a_lineage import stop
from tests.serving.http.resources.test_federation_routes import make
from tests.serving.keyed import Keyed, keyed_service

TABLE = RouteTable()
NEEDS = {
    "GET /": "",
    "GET /docs": "",
    "POST /v1/recommendations": "app device",
    "POST /v1/recommendations/batch": "app device",
    "GET /v1/placements": "app device",
    "PUT /v1/placements": "catalogue",
    "DELETE /v1/placements": "catalogue",
    "POST /v1/rank": "app device",
    "GET /v1/items/a/similar": "app device",
    "POST /v1/items/a%2Fb/similar": "app device",
    "GET /v1/items/a": "app device",
    "PUT /v1/items": "catalogue",
    "DELETE /v1/items/a/b": "catalogue",
    "GET /v1/catalogue/0123": "app device",
    "GET /v1/catalogue/0123/changes": "app device",
    "GET /v1/clusters/0123": "app device",
    "GET /v1/clusters/0123/candidates": "app device",
    "GET /v1/bundles": "app analyst admin",
    "POST /v1/bundles/0123/activate": "admin",
    "DELETE /v1/bundles/0123": "admin",
    "GET /v1/keys": "admin",
    "POST /v1/keys": "admin",
    "DELETE /v1/keys/abc": "admin",
    "GET /v1/device-tokens": "app",
    "POST /v1/device-tokens": "app",
    "GET /metrics": "analyst admin",
    "GET /v1/federation/rounds": "analyst",
    "GET /v1/dashboard": "analyst",
    "GET /v1/experiments": "app analyst admin device",
    "PUT /v1/experiments": "analyst admin",
    "GET /v1/experiments/e1": "analyst admin",
    "POST /v1/experiments/e1/start": "analyst admin",
    "POST /v1/experiments/e1/stop": "analyst admin",
    "GET /v1/experiments/e1/results": "analyst admin",
    "GET /v1/experiments/e1/task": "app device",
    "POST /v1/experiments/e1/reports": "",
    "GET /dashboard": "",
    "GET /shop": "",
    "GET /shop/shop.css": "",
    "GET /sdk/index.js": "",
    "GET /v1/federation/task": "",
    "GET /v1/federation/log/training-7": "",
    "GET /v1/federation/log/clusters/v1": "",
    "GET /v1/federation/no-answers": "",
    "GET /v1/federation/log/issuer-keys/0123": "",
    "GET /ohttp-keys": "",
    "POST /ohttp": "",
    "POST /v1/federation/reports": "",
    "GET /healthz": "",
    "GET /readyz": "",
    "GET /openapi.json": "",
}
"""Written by hand beside the table: a route that opens wider by a slip of the pen fails here."""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("keyed")) as made:
        yield made


@pytest.mark.parametrize("asked", NEEDS)
def test_each_route_is_opened_by_its_scopes_and_no_others(asked: str) -> None:
    method, path = asked.split()
    route = TABLE.find(method, path)
    assert route is not None
    assert route.scopes == frozenset(NEEDS[asked].split())


def test_every_line_of_the_table_is_spelled_out_above() -> None:
    told = {TABLE.find(*asked.split()) for asked in NEEDS}  # type: ignore[arg-type]
    assert {route.pattern for route in ROUTES} == {route.pattern for route in told if route}


def declared(app: FastAPI) -> set[tuple[str, str]]:
    return {(m, r.path) for r in app.routes if isinstance(r, StarletteRoute) for m in (r.methods or ())} - {
        ("HEAD", "/openapi.json")
    }


def test_every_route_of_the_app_has_a_line(keyed: Keyed, tmp_path: Path) -> None:
    live = make(tmp_path)
    lines = {(route.method, route.pattern) for route in ROUTES}
    found = {(m, path.replace(":path}", "}")) for app in (keyed.app, live.app) for m, path in declared(app)}
    stop(live.line)
    assert len(found) >= 15
    assert found <= lines


def test_a_route_without_a_line_is_not_answered(keyed: Keyed, tmp_path: Path) -> None:
    app = create_app([keyed.bundle])
    app.add_route("/v1/forgotten", lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    found = Keyed(app, keyed.book, keyed.bundle, {}).bare()
    assert found.get("/v1/forgotten").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "OPTIONS"])
@pytest.mark.parametrize("path", ["", "/v1", "/v1/items/", "/v1/catalogue/a/b", "/v1/keys/a/b", "//healthz", "/docs/"])
def test_what_is_in_no_line_matches_none(method: str, path: str) -> None:
    assert TABLE.find(method, path) is None
    assert TABLE.methods(path) == []


def book(empty: bool) -> Any:
    class Held:
        def __init__(self) -> None:
            self.empty = empty

        def caller_of(self, key: str) -> Caller | None:
            return Caller("shop-a", "k", frozenset({"app"})) if key == "good" else None

    return Held()


RECOMMEND = TABLE.find("POST", "/v1/recommendations")
TOKENS = TABLE.find("POST", "/v1/device-tokens")
HEALTH = TABLE.find("GET", "/healthz")
METRICS = TABLE.find("GET", "/metrics")


@pytest.mark.parametrize(
    ("access", "route", "authorization", "found"),
    [
        (Access(), RECOMMEND, None, ANYBODY),
        (Access(), RECOMMEND, b"Bearer whatever", ANYBODY),
        (Access(), TOKENS, None, "api_key_invalid"),
        (Access(book(empty=True)), RECOMMEND, None, ANYBODY),
        (Access(book(empty=True)), RECOMMEND, b"Bearer wrong", "api_key_invalid"),
        (Access(book(empty=False)), RECOMMEND, None, "api_key_invalid"),
        (Access(book(empty=False)), RECOMMEND, b"Bearer good", "shop-a"),
        (Access(book(empty=False)), RECOMMEND, b"bearer good", "shop-a"),
        (Access(book(empty=False)), RECOMMEND, b"Basic good", "api_key_invalid"),
        (Access(book(empty=False)), RECOMMEND, b"good", "api_key_invalid"),
        (Access(book(empty=False)), RECOMMEND, b"", "api_key_invalid"),
        (Access(book(empty=False)), METRICS, b"Bearer good", "scope_missing"),
        (Access(book(empty=False)), HEALTH, b"Bearer wrong", NOBODY),
        (Access(book(empty=False), needs_no_key=True), RECOMMEND, None, ANYBODY),
        (Access(book(empty=False), needs_no_key=True), RECOMMEND, b"Bearer wrong", "api_key_invalid"),
        (Access(book(empty=False), needs_no_key=True), METRICS, b"Bearer good", "scope_missing"),
        (Access(book(empty=False), needs_no_key=True), TOKENS, None, "api_key_invalid"),
        (Access(book(empty=False), needs_no_key=True), TOKENS, b"Bearer good", "shop-a"),
    ],
)
def test_who_asks(access: Access, route: Any, authorization: bytes | None, found: Any) -> None:
    if isinstance(found, str) and found.endswith(("_invalid", "_missing")):
        with pytest.raises(Refusal) as refused:
            access.admit(route, authorization)
        assert refused.value.code == found
        assert (refused.value.headers.get("www-authenticate") == "Bearer") == (found == "api_key_invalid")
    else:
        got = access.admit(route, authorization)
        assert found in (got, got.app)


def test_a_route_is_opened_by_known_scopes_only() -> None:
    assert set(SCOPES) == {scope for route in ROUTES for scope in route.scopes}


def test_a_path_is_what_its_longest_pattern_says_with_every_method() -> None:
    assert TABLE.methods("/v1/items/a/b/similar") == ["GET", "POST"]
    assert TABLE.find("DELETE", "/v1/items/a/b/similar") is None
    assert TABLE.methods("/v1/items/a/b") == ["DELETE", "GET"]
