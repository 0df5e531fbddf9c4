from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.access import ROUTES
from serving.http.app import STATUS
from serving.http.metrics import MODES, Metrics, age_s, gauge
from serving.http.request_record import RequestRecord
from tests.serving.keyed import APPS, Keyed, keyed_service

SECRETS = ("sku-of-a-secret-wish", "secret-query", "secret-agent", "0123456789abcdef")


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Keyed]:
    with keyed_service(tmp_path) as made:
        yield made


def families(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_requests_are_counted_by_route_mode_and_code(keyed: Keyed) -> None:
    client = keyed.client()
    assert client.post("/v1/recommendations", json=keyed.ask()).status_code == 200
    assert client.post("/v1/recommendations", json=keyed.ask(top_k=0)).status_code == 422
    assert client.get("/v1/bundles").status_code == 200
    assert client.get("/nowhere").status_code == 404
    found = families(keyed.client(scope="analyst").get("/metrics").text)
    counted = {(row["route"], row["status"], row["code"]): n for row, n in found["ownshelf_requests_total"]}
    assert counted == {
        ("/v1/recommendations", "200", ""): 1,
        ("/v1/recommendations", "422", "invalid_request"): 1,
        ("/v1/bundles", "200", ""): 1,
        ("none", "404", "not_found"): 1,
    }
    timed = {(row["route"], row["mode"]): n for row, n in found["ownshelf_request_seconds_count"]}
    assert timed[("/v1/recommendations", "trend")] == 1
    assert timed[("/v1/recommendations", "")] == 1


def test_the_model_is_described(keyed: Keyed) -> None:
    found = families(keyed.client(scope="admin").get("/metrics").text)
    assert ({"app": "shop-a", "version": keyed.bundle.version}, 1.0) in found["ownshelf_bundle_info"]
    assert found["ownshelf_index_recall"] == [({"app": "shop-a"}, 1.0)]
    for _, age in found["ownshelf_model_age_seconds"]:
        assert 0 <= age < 300


def test_an_app_reads_its_own_figures_and_no_others(keyed: Keyed) -> None:
    mine, theirs = (keyed.client(app) for app in APPS)
    for _ in range(3):
        assert theirs.post("/v1/recommendations", json=keyed.ask(bundle_version="x")).status_code == 409
    assert mine.get("/v1/bundles").status_code == 200
    assert keyed.bare().get("/v1/bundles").status_code == 401
    text = keyed.client(APPS[0], "analyst").get("/metrics").text
    assert APPS[1] not in text
    assert theirs.get("/v1/bundles").json()["bundles"][0]["version"] not in text
    counted = [(row["app"], row["route"], row["status"], n) for row, n in families(text)["ownshelf_requests_total"]]
    assert sorted(counted) == [("", "/v1/bundles", "401", 1.0), (APPS[0], "/v1/bundles", "200", 1.0)]
    assert {row["app"] for row, _ in families(text)["ownshelf_request_seconds_bucket"]} == {"", APPS[0]}


def test_gauges_of_one_app_are_read_by_that_app_alone() -> None:
    metrics = Metrics()
    metrics.add(lambda: [gauge("epsilon_spent", "Spent.", [({}, 1.5)])], "shop-a")
    metrics.report("accepted", "shop-a")
    metrics.report("token_invalid", "")
    assert "ownshelf_epsilon_spent 1.5" in metrics.exposition("shop-a").decode()
    assert "epsilon" not in metrics.exposition("shop-b").decode()
    assert 'ownshelf_reports_total{app="shop-a",outcome="accepted"} 1.0' in metrics.exposition("shop-a").decode()
    others = families(metrics.exposition("shop-b").decode())
    assert others["ownshelf_reports_total"] == [({"app": "", "outcome": "token_invalid"}, 1.0)]


def test_errors_are_counted_apart(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    profile = [0.1] * keyed.bundle.table.dim
    with monkeypatch.context() as broke:
        broke.setattr("recsys.search.retrieval.ItemIndex.search", broken)
        client = keyed.client()
        assert client.post("/v1/recommendations", json=keyed.ask(profile=profile)).status_code == 500
        found = families(keyed.client(scope="admin").get("/metrics").text)
    assert found["ownshelf_errors_total"] == [({"app": "shop-a", "code": "internal"}, 1.0)]


def test_no_label_holds_what_a_caller_sent(keyed: Keyed) -> None:
    wish, query, agent, version = SECRETS
    client = keyed.client(**{"user-agent": agent, "x-request-id": agent, "origin": f"https://{agent}.example"})
    client.post("/v1/recommendations", json=keyed.ask(bundle_version=version, exclude=[wish]))
    client.get(f"/v1/items/{wish}/similar", params={query: query})
    client.get(f"/v1/catalogue/{version}")
    client.request(agent.upper(), f"/{wish}")
    client.delete(f"/v1/keys/{wish}")
    text = keyed.client(scope="analyst").get("/metrics").text
    for secret in SECRETS:
        assert secret.lower() not in text.lower()
    known = {
        "route": {route.pattern for route in ROUTES} | {"none"},
        "mode": MODES,
        "code": set(STATUS) | {"", "internal"},
        "status": {str(status) for status in (200, 204, 307, *STATUS.values(), 500)},
        "version": {one.version for app in APPS for one in keyed.app.state.apps.of(app).all()},
        "app": {APPS[0], ""},
    }
    for samples in families(text).values():
        for labels, _ in samples:
            for name, value in labels.items():
                assert name == "le" or value in known[name]


def test_a_mode_that_is_none_of_ours_is_not_a_label() -> None:
    metrics = Metrics()
    metrics.observe(RequestRecord("0", "GET", "/healthz/secret", "secret", 200, "", 0.1, 2, "", None))
    assert b"secret" not in metrics.exposition("shop")
    assert b'ownshelf_requests_total{app="",code="",route="none",status="200"} 1.0' in metrics.exposition("shop")


def test_gauges_of_nothing_and_of_an_unknown_time() -> None:
    assert gauge("rounds", "None.", []).samples == []
    assert str(age_s(None)) == "nan"
    assert age_s(4e9) == 0.0
