"""The OWASP API Security Top 10 (2023), each risk as what must not work here.

API10, unsafe consumption: the one API that the service asks is the custodian's, whose unsigned answers are refused in
tests/federation/service/test_custodian_client.py.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recsys.catalogue.bundle import save_bundle
from serving.access import ROUTES, Access, RouteTable
from serving.http.app import ServiceSettings, create_app
from serving.http.hot_path import PATH as HOT_PATH
from serving.http.resources.federation_routes import TokenDesk, add_federation
from serving.state.api_keys import ApiKeys, MintCounter
from serving.state.key_book import KeyBook
from tests.federation.service.a_lineage import a_line, stop
from tests.listening import listening
from tests.privacy.test_service_leaks import imported_by
from tests.serving.keyed import APPS, Keyed, keyed_service
from tests.serving.test_access import declared
from tests.shop import InProcess, make_bundle, service

ROOT = Path(__file__).parents[3]
RECOMMEND = "/v1/recommendations"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with keyed_service(tmp_path_factory.mktemp("keyed")) as made:
        yield made


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def concrete(pattern: str, version: str) -> str:
    return re.sub(r"\{\w+\}", lambda name: version if name[0] == "{version}" else "sku-1", pattern)


def deep(levels: int) -> dict[str, Any]:
    """A filter in a filter in a filter."""
    return {"category": "x"} if levels == 1 else {"not": deep(levels - 1)}


# API1 Broken object level authorization


def test_another_apps_key_does_not_exist(keyed: Keyed) -> None:
    mine, theirs = (keyed.client(app, "admin") for app in APPS)
    listed = [one["key_id"] for one in theirs.get("/v1/keys").json()["keys"]]
    assert {one["app"] for one in mine.get("/v1/keys").json()["keys"]} == {APPS[0]}
    refused = mine.delete(f"/v1/keys/{listed[0]}")
    missing = mine.delete(f"/v1/keys/{'0' * 12}")
    assert (refused.status_code, missing.status_code) == (404, 404)
    assert refused.json() == missing.json()  # nothing tells the two apart
    assert [one["revoked_at"] for one in theirs.get("/v1/keys").json()["keys"]] == [None] * len(listed)


def test_another_apps_bundles_catalogues_clusters_and_items_do_not_exist(keyed: Keyed) -> None:
    """Theirs and what never was are refused alike, on every route that names one."""
    mine, my_admin, my_shop = (keyed.client(APPS[0], scope) for scope in ("app", "admin", "catalogue"))
    theirs = keyed.client(APPS[1]).get("/v1/bundles").json()["bundles"][0]["version"]
    added = keyed.client(APPS[1], "catalogue").put("/v1/items", json={"items": [{"item_id": "only-theirs"}]})
    assert added.status_code == 200
    assert theirs not in mine.get("/v1/bundles").text
    never = "0123456789abcdef"

    def alike(client: httpx.Client, method: str, path: str, status: int, **sent: Any) -> None:
        answers = []
        for name in (theirs, never):
            body = {key: json.loads(json.dumps(value).replace("VERSION", name)) for key, value in sent.items()}
            answers.append(client.request(method, path.replace("VERSION", name), **body))
        assert {answer.status_code for answer in answers} == {status}, path
        assert answers[0].json() == answers[1].json()
        assert theirs not in answers[0].text

    for mode in ({"mode": "profile", "profile": None}, {"mode": "cluster", "clusters": [0]}):
        alike(mine, "POST", RECOMMEND, 409, json=mode | {"bundle_version": "VERSION"})
        alike(mine, "POST", f"{RECOMMEND}/batch", 200, json={"requests": [mode | {"bundle_version": "VERSION"}]})
    for path in ("/v1/catalogue/VERSION", "/v1/clusters/VERSION", "/v1/catalogue/VERSION/changes"):
        alike(mine, "GET", path, 404)
    alike(my_admin, "POST", "/v1/bundles/VERSION/activate", 404)
    alike(my_admin, "POST", "/v1/bundles/previous/activate", 404)
    alike(my_admin, "DELETE", "/v1/bundles/VERSION", 404)
    assert (
        mine.get(f"/v1/catalogue/{keyed.bundle.version}", params={"since": theirs})
        .headers.keys()
        .isdisjoint({"ownshelf-delta-from"})
    )
    assert mine.get("/v1/catalogue/current", params={"since": theirs}).headers["location"] == keyed.bundle.version
    for method, client in (("GET", mine), ("DELETE", my_shop)):
        assert code(client.request(method, "/v1/items/only-theirs")) == "unknown_item"
    asked = keyed.ask(context="only-theirs", exclude=["only-theirs"])
    answer = mine.post(RECOMMEND, json=asked).json()
    assert (answer["unknown_items"], answer["unknown_exclude"]) == (["only-theirs"], ["only-theirs"])
    assert keyed.client(APPS[1]).get("/v1/items/only-theirs").status_code == 200


def test_the_rounds_of_another_app_do_not_exist(keyed: Keyed, tmp_path: Path) -> None:
    """For the app that trains they are there; for any other it is as if there were none."""
    line = a_line(tmp_path, now=int(time.time()))
    book = KeyBook(ApiKeys(line.coordinator.store.engine))
    app = create_app(line.coordinator.bundles(), access=Access(book), coordinator=line.coordinator)
    mints = MintCounter(line.coordinator.store.engine, period_s=3_600, tokens_per_period=10)
    add_federation(app, line.coordinator, TokenDesk(line.issuer, mints))
    keys = {name: book.keys.create(name, ["analyst"], int(time.time())) for name in ("shop", "another")}
    book.refresh()

    def rounds(name: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {keys[name]}"}
        with httpx.Client(transport=InProcess(app), base_url="http://shop.test", headers=headers) as client:
            return client.get("/v1/federation/rounds")

    line.open(int(time.time()))
    try:
        assert len(rounds("shop").json()["rounds"]) == 1
        without = keyed.client(APPS[1], "analyst").get("/v1/federation/rounds")  # a service that trains nothing
        assert (without.status_code, rounds("another").status_code) == (404, 404)
        assert rounds("another").json() == without.json()
    finally:
        stop(line)


def test_the_figures_of_another_app_are_not_shown(keyed: Keyed) -> None:
    for _ in range(3):
        keyed.client(APPS[1]).get("/v1/items/sku-1/similar")
    keyed.app.state.stores.traffic.flush(int(time.time()))
    theirs = keyed.client(APPS[1]).get("/v1/bundles").json()["bundles"][0]["version"]
    page = keyed.client(APPS[0], "analyst").get("/v1/dashboard")
    assert page.status_code == 200
    assert theirs not in page.text
    assert APPS[1] not in page.text
    assert "similar" in keyed.client(APPS[1], "analyst").get("/v1/dashboard").text


def test_the_public_document_names_no_attribute_where_apps_share_the_service(tmp_path: Path) -> None:
    plain = make_bundle(tmp_path / "plain")
    bundle = save_bundle(
        tmp_path / "b", name="shop", table=plain.table, config=plain.config, seed=0, data_hash="test", privacy="none",
        catalogue=plain.catalogue.with_columns(margin=plain.catalogue["price"]))  # fmt: skip
    assert "attributes.margin" in service(bundle).get("/openapi.json").text
    shared = create_app({APPS[0]: [bundle], APPS[1]: [plain]})
    assert "margin" not in json.dumps(shared.openapi())


# API2 Broken authentication


def test_a_wrong_key_is_refused_alike_whichever_part_is_wrong(keyed: Keyed) -> None:
    good = keyed.keys[APPS[0], "app"]
    other = keyed.keys[APPS[1], "app"]
    revoked = keyed.book.keys.create(APPS[0], ["app"], 0)
    keyed.book.keys.revoke(revoked.split("_")[1], 1)
    keyed.book.refresh()
    said = set()
    for header in (
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {good}",
        good,
        f"Bearer {good}x",
        f"Bearer {good[:-2]}xx",
        f"Bearer {good[:17]}{other[17:]}",
        f"Bearer osk_{'0' * 12}_{'x' * 43}",
        f"Bearer {revoked}",
        "Bearer " + "x" * 5_000,
        f"Bearer {good}, Bearer {good}",
    ):
        answer = keyed.bare(**({} if header is None else {"authorization": header})).get("/v1/bundles")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        said.add(answer.text)
    assert len(said) == 1
    assert keyed.bare(authorization=f"Bearer {good}").get("/v1/bundles").status_code == 200


def test_a_key_in_the_address_is_no_key(keyed: Keyed) -> None:
    good = keyed.keys[APPS[0], "app"]
    for query in (f"?key={good}", f"?api_key={good}", f"?access_token={good}"):
        assert keyed.bare().get(f"/v1/bundles{query}").status_code == 401
    assert keyed.bare(cookie=f"authorization=Bearer {good}").get("/v1/bundles").status_code == 401


def test_no_cookie_is_ever_set(keyed: Keyed) -> None:
    for path in ("/v1/bundles", "/healthz", "/nowhere"):
        assert "set-cookie" not in keyed.client().get(path).headers


# API3 Broken object property level authorization: mass assignment


@pytest.mark.parametrize("surplus", ["app", "key_id", "created_at", "admin", "scope", "issuer"])
def test_a_key_cannot_be_made_for_another_app_by_saying_so(keyed: Keyed, surplus: str) -> None:
    admin = keyed.client(APPS[0], "admin")
    before = len(admin.get("/v1/keys").json()["keys"])
    answer = admin.post("/v1/keys", json={"scopes": ["app"], surplus: APPS[1]})
    assert (answer.status_code, code(answer)) == (422, "invalid_request")
    assert len(admin.get("/v1/keys").json()["keys"]) == before


def test_no_undeclared_field_is_taken_anywhere(keyed: Keyed) -> None:
    for surplus in ("user_id", "session", "app", "__class__", "score"):
        answer = keyed.client().post(RECOMMEND, json=keyed.ask(**{surplus: "x"}))
        assert code(answer) == "invalid_request"
        assert code(keyed.client().get("/v1/items/sku-1/similar", params={surplus: "x"})) == "invalid_request"


@pytest.mark.parametrize("surplus", ["app", "sequence", "number", "deleted", "score", "trend", "row", "__class__"])
def test_an_item_has_no_field_but_those_of_a_catalogue(keyed: Keyed, surplus: str) -> None:
    shop = keyed.client(APPS[0], "catalogue")
    before = keyed.client().get("/v1/items/sku-1").json()
    for sent in (
        {"items": [{"item_id": "sku-1", "title": "x", surplus: APPS[1]}]},
        {"items": [{"item_id": "sku-1", "title": "x", "attributes": {surplus: APPS[1]}}]},
        {"items": [{"item_id": "sku-1", "title": "x"}], surplus: APPS[1]},
    ):
        assert code(shop.put("/v1/items", json=sent)) == "invalid_request"
    assert keyed.client().get("/v1/items/sku-1").json() == before


@pytest.mark.parametrize("name", ["item_id", "price", "available", "title", "category"])
def test_a_field_cannot_go_round_its_bounds_as_an_attribute(keyed: Keyed, name: str) -> None:
    sent = {"items": [{"item_id": "sku-1", "attributes": {name: -5}}]}
    assert code(keyed.client(APPS[0], "catalogue").put("/v1/items", json=sent)) == "invalid_request"


def test_an_answer_about_keys_holds_no_secret_and_no_hash(keyed: Keyed) -> None:
    text = keyed.client(APPS[0], "admin").get("/v1/keys").text
    assert set(json.loads(text)["keys"][0]) == {"key_id", "app", "scopes", "created_at", "revoked_at"}
    for key in keyed.keys.values():
        assert key.split("_", 2)[2] not in text


# API4 Unrestricted resource consumption


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{" + b" " * 600_000 + b"}", 413),
        (b"[" * 1_000 + b"]" * 1_000, 422),
        (b'{"a":' * 200 + b"1" + b"}" * 200, 422),
        (b'{"mode": 1e999999}', 422),
        (b'{"mode": ' + b"9" * 400_000 + b"}", 422),
        (b"", 422),
        (b"\xff\xfe", 422),
    ],
)
def test_a_body_that_would_cost_much_costs_little(keyed: Keyed, content: bytes, status: int) -> None:
    client = keyed.client(**{"content-type": "application/json"})
    begun = time.process_time()
    assert client.post(RECOMMEND, content=content).status_code == status
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"top_k": 1_001},
        {"top_k": 10**30},
        {"top_k": -1},
        {"exclude": ["x"] * 1_001},
        {"exclude": ["x" * 129]},
        {"profile": [0.0] * 5_000},
        {"profile": "A" * 30_000},
        {"cursor": "A" * (2**18 + 1)},
        {"cart": ["x"] * 101},
        {"rules": {"pin": [{"item_id": f"sku-{at}", "position": at} for at in range(1, 102)]}},
        {"rules": {"boost": [{"filter": {}, "by": 1}] * 21}},
        {"rules": {"boost": [{"filter": {}, "by": 1e9}]}},
        {"rules": {"cap": [{"by": f"attributes.x{at}", "most": 1} for at in range(6)]}},
        {"filter": deep(9)},
        {"filter": {"any": [{"category": f"{at}"} for at in range(201)]}},
        {"filter": {"item_id": [f"{at}" for at in range(1_001)]}},
        {"mode": "cluster", "clusters": [0, 1, 2, 3, 4]},
    ],
)
def test_no_question_is_larger_than_its_bounds(keyed: Keyed, changes: dict[str, Any]) -> None:
    assert code(keyed.client().post(RECOMMEND, json=keyed.ask(**changes))) == "invalid_request"


def test_a_filter_as_deep_as_it_may_be_is_answered(keyed: Keyed) -> None:
    assert keyed.client().post(RECOMMEND, json=keyed.ask(filter=deep(8))).status_code == 200


@pytest.mark.parametrize("mode", [{"mode": "cluster", "clusters": [0]}, {"mode": "noised", "noised": [0.1] * 8}])
def test_candidates_are_bounded(keyed: Keyed, mode: dict[str, Any]) -> None:
    sent = mode | {"bundle_version": keyed.bundle.version}
    for wanted, status in ((2_000, 200), (2_001, 422), (0, 422), (10**20, 422)):
        assert keyed.client().post(RECOMMEND, json=sent | {"candidates": wanted}).status_code == status


def test_batches_and_items_of_one_request_are_bounded(keyed: Keyed) -> None:
    client, shop = keyed.client(), keyed.client(APPS[0], "catalogue")
    for n, status in ((100, 200), (101, 422), (0, 422)):
        answer = client.post(f"{RECOMMEND}/batch", json={"requests": [keyed.ask(top_k=1)] * n})
        assert answer.status_code == status
    item = {"item_id": "sku-1", "available": True}
    for n, status in ((1_000, 200), (1_001, 422), (0, 422)):
        assert shop.put("/v1/items", json={"items": [item] * n}).status_code == status
    many = {f"a{at}": 1 for at in range(51)}
    for sent in ({"title": "x" * 1_001}, {"attributes": many}, {"item_id": "x" * 129}):
        assert code(shop.put("/v1/items", json={"items": [item | sent]})) == "invalid_request"
    for sent in ({"top_k": 1_001}, {"exclude": ["x"] * 1_001}, {"filter": deep(9)}):
        assert code(client.post("/v1/items/sku-1/similar", json=sent)) == "invalid_request"


def test_a_key_asks_no_more_often_than_it_may(tmp_path: Path) -> None:
    with keyed_service(tmp_path, ServiceSettings(rate_limit="3/hour")) as keyed:
        mine, theirs = keyed.client(APPS[0]), keyed.client(APPS[1])
        assert [mine.get("/v1/bundles").status_code for _ in range(4)] == [200, 200, 200, 429]
        answer = mine.post(RECOMMEND, json=keyed.ask())
        assert (answer.status_code, code(answer)) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 0
        assert theirs.get("/v1/bundles").status_code == 200
        assert keyed.bare().get("/healthz").status_code == 200


def test_many_bodies_that_trickle_are_hung_up_on_while_others_are_answered(tmp_path: Path) -> None:
    with keyed_service(tmp_path, ServiceSettings(request_timeout_s=1.0)) as keyed, listening(keyed.app) as url:
        head = (
            f"POST {RECOMMEND} HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {keyed.keys[APPS[0], 'app']}\r\ncontent-length: 1000\r\n\r\n{{"
        )
        port = int(url.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(50)]
        for one in slow:
            one.sendall(head.encode())
        quick = httpx.get(f"{url}/healthz", timeout=5.0)
        assert quick.status_code == 200
        for one in slow:
            got = b""
            while piece := one.recv(4_096):  # until it is hung up
                got += piece
            assert got.startswith(b"HTTP/1.1 503")
            assert b'"timed_out"' in got
            one.close()


# API5 Broken function level authorization


@pytest.mark.parametrize("scope", ["app", "catalogue", "analyst", "admin", "device"])
def test_a_scope_opens_its_own_routes_and_no_others(keyed: Keyed, scope: str) -> None:
    client = keyed.client(APPS[0], scope)
    here = declared(keyed.app)
    asked = 0
    for route in ROUTES:
        if (route.method, route.pattern) not in {(m, p.replace(":path}", "}")) for m, p in here} or not route.scopes:
            continue
        answer = client.request(route.method, concrete(route.pattern, keyed.bundle.version))
        asked += 1
        if scope in route.scopes:
            assert answer.status_code not in (401, 403), route
        else:
            assert (answer.status_code, code(answer)) == (403, "scope_missing"), route
            assert answer.json()["error"]["details"] == {"scopes": sorted(route.scopes)}
    assert asked >= 8


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/keys/"),
        ("GET", "/v1//keys"),
        ("GET", "//v1/keys"),
        ("GET", "/V1/keys"),
        ("GET", "/v1/keys%2F"),
        ("GET", "/v1/keys;admin"),
        ("GET", "/v1/keys%00"),
        ("GET", "/v1/recommendations/../keys"),
        ("HEAD", "/v1/keys"),
        ("TRACE", "/v1/keys"),
        ("get", "/v1/keys"),
    ],
)
def test_no_other_spelling_of_a_path_gets_around_the_table(keyed: Keyed, method: str, path: str) -> None:
    for client in (keyed.client(), keyed.bare()):
        assert client.request(method, path).status_code in (401, 403, 404, 405)


def test_a_method_cannot_be_overridden(keyed: Keyed) -> None:
    client = keyed.client(
        **{"x-http-method-override": "DELETE", "x-original-url": "/v1/keys", "x-forwarded-for": "::1"}
    )
    assert client.get("/v1/bundles").status_code == 200
    assert client.get("/v1/keys").status_code == 403


# API6 Unrestricted access to sensitive business flows


def test_what_a_published_key_may_do_is_ask_and_nothing_else() -> None:
    opened = {f"{route.method} {route.pattern}" for route in ROUTES if "device" in route.scopes}
    assert all(
        line.startswith(("GET /v1/", "POST /v1/recommendations", "POST /v1/rank", "POST /v1/items/{item_id}/sim"))
        for line in opened
    )
    assert not {"GET /v1/device-tokens", "POST /v1/device-tokens"} & opened


# API7 Server side request forgery


def test_no_route_fetches_an_address_that_a_caller_names(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def connects(*_: object, **__: object) -> None:
        pytest.fail("the service connected somewhere")

    monkeypatch.setattr(socket.socket, "connect", connects)
    monkeypatch.setattr(socket, "getaddrinfo", connects)
    url = "http://169.254.169.254/latest/meta-data"
    client = keyed.client(**{"host": "169.254.169.254", "x-forwarded-host": "evil.example", "referer": url})
    client.post(RECOMMEND, json=keyed.ask(exclude=[url]))
    client.post(RECOMMEND, json=keyed.ask(bundle_version=url[:64]))
    for path in (f"/v1/items/{url}/similar", f"/v1/catalogue/{url}", "/v1/catalogue/current"):
        answer = client.get(path)
        assert "evil" not in answer.headers.get("location", "")
        assert not answer.headers.get("location", "").startswith(("http", "//"))


def test_what_answers_http_has_no_http_client() -> None:
    """Only the federation's coordinator asks anybody, and that is the custodian of its file."""
    for folder in ("http", "shelf", "state"):
        for path in (ROOT / "serving" / folder).rglob("*.py"):
            loaded = {module.split(".")[0] for module in imported_by(path)}
            assert not loaded & {"httpx", "requests", "urllib", "aiohttp", "http", "socket"}, path


# API8 Security misconfiguration


def test_every_answer_of_every_route_has_the_headers_and_no_banner(keyed: Keyed) -> None:
    paths = {concrete(route.pattern, keyed.bundle.version) for route in ROUTES} | {"/nowhere", "/docs", "/redoc"}
    for path in sorted(paths):
        for client in (keyed.client(), keyed.bare()):
            for method in ("GET", "OPTIONS", "POST"):
                headers = client.request(method, path).headers
                assert headers["x-content-type-options"] == "nosniff", path
                assert headers["x-frame-options"] == "DENY"
                assert headers["referrer-policy"] == "no-referrer"
                assert path == "/dashboard" or headers["content-security-policy"].startswith("default-src 'none'")
                assert not {"server", "x-powered-by", "access-control-allow-origin"} & set(headers)


def test_over_the_wire_there_is_no_banner_either(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed, listening(keyed.app, server_header=False) as url:
        answer = httpx.get(f"{url}/healthz", timeout=60)
        assert "server" not in answer.headers
        for path, status in (("/docs", 200), ("/redoc", 404), ("/docs/oauth2-redirect", 404)):
            page = httpx.get(f"{url}{path}", timeout=60)
            assert page.status_code == status
            assert "<script" not in page.text


def test_an_error_says_nothing_of_the_inside(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/srv/secret/place")

    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    profile = np.zeros(keyed.bundle.table.dim).tolist()
    answer = keyed.client().post(RECOMMEND, json=keyed.ask(profile=profile))
    assert answer.status_code == 500
    for word in ("secret", "Traceback", "RuntimeError", ".py", "site-packages"):
        assert word not in answer.text


# API9 Improper inventory management


def test_every_route_is_in_the_document_and_in_the_table(keyed: Keyed) -> None:
    described = {
        (method.upper(), path) for path, methods in keyed.app.openapi()["paths"].items() for method in methods
    } | {("GET", "/openapi.json")}
    served = {(method, path.replace(":path}", "}")) for method, path in declared(keyed.app)} | {("POST", HOT_PATH)}
    assert served == described
    assert served <= {(route.method, route.pattern) for route in ROUTES}


def test_the_table_has_each_line_once() -> None:
    lines = [(route.method, route.pattern) for route in ROUTES]
    assert len(lines) == len(set(lines))
    table = RouteTable()
    for route in ROUTES:
        assert table.find(route.method, concrete(route.pattern, "0123")) == route
