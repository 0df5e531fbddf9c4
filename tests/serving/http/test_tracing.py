from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from serving.http.tracing import Traces
from tests.serving.keyed import Keyed, keyed_service

ATTRIBUTES = {
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "http.response.body.size",
    "ownshelf.request_id",
    "ownshelf.mode",
    "error.type",
}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def keyed(tmp_path: Path, exporter: InMemorySpanExporter) -> Iterator[Keyed]:
    traces = Traces(SimpleSpanProcessor(exporter))
    with keyed_service(tmp_path, observers=(traces.observe,)) as made:
        yield made
    traces.close()


def test_a_span_has_the_routes_pattern_and_nothing_of_the_caller(keyed: Keyed, exporter: InMemorySpanExporter) -> None:
    client = keyed.client(
        **{"user-agent": "secret", "traceparent": f"00-{'5ec7e7' * 5}00-{'5ec7e7' * 2}0000-01", "baggage": "who=secret"}
    )
    answer = client.post("/v1/recommendations", json=keyed.ask(exclude=["secret"]))
    client.get("/v1/items/secret/similar?secret=1")
    first, second = exporter.get_finished_spans()
    assert (first.name, second.name) == ("POST /v1/recommendations", "GET /v1/items/{item_id}/similar")
    assert first.kind is SpanKind.SERVER
    assert first.parent is None
    assert dict(first.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/recommendations",
        "http.response.status_code": 200,
        "http.response.body.size": len(answer.content),
        "ownshelf.request_id": answer.headers["x-request-id"],
        "ownshelf.mode": "trend",
    }
    assert first.start_time is not None
    assert first.end_time is not None
    assert 0 < first.end_time - first.start_time < 5e9
    for span in (first, second):
        assert set(span.attributes or {}) <= ATTRIBUTES
        assert "secret" not in span.to_json()
        assert "5ec7e7" not in span.to_json()
        assert span.resource.attributes["service.name"] == "ownshelf"


def test_our_mistakes_are_errors_and_the_callers_are_not(
    keyed: Keyed, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    keyed.client().post("/v1/recommendations", json=keyed.ask(profile=[0.0] * keyed.bundle.table.dim))
    keyed.client().get("/nowhere/secret")
    ours, theirs = exporter.get_finished_spans()
    assert ours.status.status_code.name == "ERROR"
    assert theirs.status.status_code.name == "UNSET"
    assert theirs.name == "none none"
    assert "secret" not in ours.to_json() + theirs.to_json()
