from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from federation.custodian.custodian import Custodian
from federation.private_sum.exchange import Batch, SealedSeed
from federation.private_sum.report_share import proof_plan
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task
from federation.protocol.request_signing import HEADER, check_answer, sign_request
from serving.http.custodian.custodian_app import CODES, CustodianSettings, create_custodian_app
from tests.federation.custodian.a_custodian import (
    ISSUER,
    SERVICE,
    a_batch,
    a_custodian,
    a_promise,
    draft,
    in_process,
    now,
    with_issuer,
)
from tests.fuzzing import saying, whole_body
from tests.shop import InProcess

STATUSES = {code: status for _, status, code in CODES}
ROUTES = {
    "POST /v1/rounds",
    "POST /v1/batches",
    "POST /v1/rounds/{task_id}/close",
    "POST /v1/issuer-keys",
    "GET /v1/key",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
}


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = a_custodian(tmp_path / "c", a_promise(max_rounds=3))
    yield opened
    opened.shut()


@pytest.fixture
def http(custodian: Custodian) -> Iterator[httpx.Client]:
    with httpx.Client(base_url="http://localhost", transport=in_process(custodian)) as client:
        yield client


def ask(http: httpx.Client, path: str, body: bytes = b"", key: SigningKey = SERVICE) -> httpx.Response:
    return http.post(path, content=body, headers=sign_request(key, "POST", path, body, now()).headers)


def error_of(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Every error has the one shape, its code's status, and a request id."""
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "details"}
    assert content["error"]["code"] == code
    assert answer.status_code == STATUSES.get(code, answer.status_code)
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 32
    return dict(content["error"])


def open_task(http: httpx.Client, task_id: str = "training-7") -> Task:
    answer = ask(http, "/v1/rounds", draft(task_id=task_id).draft_bytes())
    assert answer.status_code == 201, answer.text
    return Task.from_bytes(answer.content)


@pytest.fixture
def task(http: httpx.Client) -> Task:
    return open_task(http)


def test_a_round_over_http(http: httpx.Client) -> None:
    task = open_task(http)
    asked = a_batch(task).to_bytes()
    first, second = (ask(http, "/v1/batches", asked) for _ in range(2))
    assert first.status_code == 200
    assert first.content == second.content
    assert first.headers["content-type"] == "application/octet-stream"
    for _ in range(2):
        closed = ask(http, f"/v1/rounds/{task.task_id}/close")
        assert (closed.status_code, closed.content) == (204, b"")


@pytest.mark.parametrize("path", ["/v1/rounds", "/v1/batches", "/v1/rounds/training-7/close"])
def test_what_the_service_did_not_sign_is_refused(http: httpx.Client, custodian: Custodian, path: str) -> None:
    task = open_task(http)
    body = {"/v1/rounds": task.draft_bytes(), "/v1/batches": a_batch(task).to_bytes()}.get(path, b"")
    signed = sign_request(SERVICE, "POST", path, body, now()).headers
    elsewhere = sign_request(SERVICE, "POST", path + "x", body, now()).headers
    stranger = sign_request(SigningKey.from_private(bytes(32)), "POST", path, body, now()).headers
    stale = sign_request(SERVICE, "POST", path, body, now() - 1_000).headers
    before = custodian.totals()
    for headers in ({}, {HEADER: signed[HEADER]}, elsewhere, stranger, stale):
        error_of(http.post(path, content=body, headers=headers), "signature_refused")
    error_of(http.post(path, content=body + b"x", headers=signed), "signature_refused")
    assert custodian.totals() == before
    assert ask(http, path, body).status_code < 300


def test_a_request_is_taken_once(http: httpx.Client) -> None:
    body = draft().draft_bytes()
    headers = sign_request(SERVICE, "POST", "/v1/rounds", body, now()).headers
    assert http.post("/v1/rounds", content=body, headers=headers).status_code == 201
    assert "nonce" in error_of(http.post("/v1/rounds", content=body, headers=headers), "signature_refused")["message"]


def test_answers_and_refusals_are_signed_for_their_request(http: httpx.Client, custodian: Custodian) -> None:
    for body in (draft().draft_bytes(), b"nonsense"):
        headers = sign_request(SERVICE, "POST", "/v1/rounds", body, now()).headers
        answer = http.post("/v1/rounds", content=body, headers=headers)
        check_answer(
            custodian.key.public, headers[HEADER], answer.status_code, answer.content, answer.headers.get(HEADER)
        )


def test_each_refusal_has_its_code(http: httpx.Client) -> None:
    task = open_task(http)
    batch = a_batch(task)
    ask(http, "/v1/batches", batch.to_bytes())
    cases = [
        ("/v1/batches", a_batch(task, 2, block=1).to_bytes(), "batch_too_small"),
        ("/v1/batches", replace(batch, block=1).to_bytes(), "already_counted"),
        ("/v1/batches", a_batch(task).to_bytes(), "batch_refused"),
        ("/v1/batches", b"", "batch_malformed"),
        ("/v1/batches", replace(batch, task_hash=bytes(32)).to_bytes(), "foreign_task"),
        ("/v1/rounds/nobody/close", b"", "foreign_task"),
        ("/v1/rounds", replace(task, round=8).draft_bytes(), "task_conflict"),
        ("/v1/rounds", task.to_bytes(), "task_refused"),
        ("/v1/rounds", replace(task, task_id="quiet", plan=replace(task.plan, sigma=0)).draft_bytes(), "task_refused"),
        ("/v1/rounds", draft(task_id="b").draft_bytes(), "round_open"),
    ]
    for path, body, code in cases:
        error_of(ask(http, path, body), code)
    ask(http, f"/v1/rounds/{task.task_id}/close")
    ask(http, "/v1/batches", a_batch(open_task(http, "b")).to_bytes())
    ask(http, "/v1/rounds/b/close")
    open_task(http, "c")
    error_of(ask(http, "/v1/rounds", draft(task_id="d").draft_bytes()), "budget_exhausted")
    metrics = http.get("/metrics").text
    assert {code: metrics.count(f'refused_total{{code="{code}"}}') for _, _, code in cases} == {
        code: 1 for _, _, code in cases
    }


def test_an_unsigned_body_is_not_even_read(custodian: Custodian) -> None:
    """Nobody but the service can make the custodian hold a large body."""
    pieces: list[int] = []

    async def receive() -> dict[str, Any]:
        pieces.append(1)
        return {"type": "http.request", "body": bytes(1_000), "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app = create_custodian_app(custodian, SERVICE.public)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/batches",
        "raw_path": b"/v1/batches",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("localhost", 80),
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 401
    assert not pieces


def test_a_body_beyond_the_bound_is_refused(custodian: Custodian) -> None:
    app = create_custodian_app(custodian, SERVICE.public, CustodianSettings(max_body_bytes=1_000))
    with httpx.Client(base_url="http://localhost", transport=InProcess(app)) as http:
        answer = ask(http, "/v1/batches", bytes(1_001))
        assert answer.status_code == 413
        error_of(answer, "body_too_large")

        def pieces() -> Iterator[bytes]:
            yield from [bytes(600)] * 2

        headers = sign_request(SERVICE, "POST", "/v1/batches", bytes(1_200), now()).headers
        answer = http.post("/v1/batches", content=pieces(), headers=headers)
        assert answer.status_code == 413
        error_of(answer, "body_too_large")


@pytest.mark.parametrize("suite", list(Suite))
def test_a_task_is_signed_only_if_its_largest_batch_can_be_read(tmp_path: Path, suite: Suite) -> None:
    """One report more than the bound lets in, and the task is refused in one line before any device is asked."""
    n = 20
    promise = replace(a_promise(), max_reports=n)
    fits = draft(promise, suite=suite)
    opened = proof_plan(fits.plan).n_opened if suite.verified else 0
    sealed = SealedSeed(bytes(16), bytes(suite.sealed_bytes), bytes(96), bytes(5 * opened), bytes(354))
    max_bytes = len(Batch(bytes(32), 0, (sealed,) * n, suite.verified).to_bytes())
    custodian = with_issuer(Custodian.open(tmp_path / "c", promise, now(), max_batch_bytes=max_bytes))
    app = create_custodian_app(custodian, SERVICE.public, CustodianSettings(max_bytes))
    with httpx.Client(base_url="http://localhost", transport=InProcess(app)) as http:
        signed = Task.from_bytes(ask(http, "/v1/rounds", fits.draft_bytes()).content)
        seeds = tuple(replace(sealed, report_id=bytes([at] * 16), token=ISSUER.token(signed)) for at in range(n))
        full = Batch(signed.hash, 0, seeds, suite.verified)
        error_of(ask(http, "/v1/batches", full.to_bytes()), "batch_too_small")  # it was read: no seal opens
        error_of(ask(http, "/v1/batches", full.to_bytes() + b"0"), "body_too_large")
        larger = replace(fits, task_id="larger", plan=replace(fits.plan, max_reports=n + 1))
        answer = ask(http, "/v1/rounds", larger.draft_bytes())
        assert answer.status_code == 422
        message = error_of(answer, "task_refused")["message"]
    assert message == f"max_reports={n + 1}: must be at most {n} with suite={suite}, for a batch of {max_bytes} bytes"
    custodian.shut()


def test_with_the_hybrid_suite_the_usual_bound_is_86_816_reports() -> None:
    most = Batch.most_reports(CustodianSettings().max_body_bytes, Suite.HYBRID.sealed_bytes)
    assert most == 86_816  # (128 · 2**20 − 44) / (16 + 4 + 1,168 + 4 + 354)


def test_unknown_paths_and_methods_have_the_one_shape(http: httpx.Client) -> None:
    assert http.get("/nowhere").status_code == 404
    error_of(http.get("/nowhere"), "not_found")
    assert http.get("/v1/rounds").status_code == 405
    error_of(http.get("/v1/rounds"), "method_not_allowed")
    answer = ask(http, "/v1/rounds/" + "x" * 65 + "/close")
    assert answer.status_code == 422
    error_of(answer, "invalid_request")


def test_metrics_state_the_privacy_spent(http: httpx.Client, custodian: Custodian) -> None:
    def figures() -> dict[str, float]:
        families = list(text_string_to_metric_families(http.get("/metrics").text))
        assert all(family.documentation and family.type in ("gauge", "counter") for family in families)
        samples = [sample for family in families for sample in family.samples]
        labels = [",".join(f'{name}="{value}"' for name, value in one.labels.items()) for one in samples]
        names = [one.name.removeprefix("ownshelf_custodian_") for one in samples]
        return {
            f"{name}{{{label}}}" if label else name: one.value
            for name, label, one in zip(names, labels, samples, strict=True)
        }

    assert figures()["epsilon_spent"] == 0
    task = open_task(http)
    ask(http, "/v1/batches", a_batch(task).to_bytes())
    found = figures()
    assert found["epsilon_spent"] == pytest.approx(custodian.plan.epsilon_after(1))
    assert found["epsilon_lifetime"] == pytest.approx(custodian.plan.epsilon)
    assert found['rounds{state="open"}'] == 1
    assert found["reports_counted_total"] == 5
    assert found["rounds_budget"] == 3


def test_the_key_to_pin_is_public(http: httpx.Client, custodian: Custodian) -> None:
    assert http.get("/v1/key").json() == {"algorithm": "Ed25519", "public_key": custodian.key.public.hex()}
    assert http.get("/healthz").json() == http.get("/readyz").json() == {"status": "ok"}


def test_without_its_database_it_says_so_and_nothing_of_what_it_was_storing(
    http: httpx.Client, custodian: Custodian, caplog: pytest.LogCaptureFixture
) -> None:
    task = open_task(http)
    with custodian.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE custodian_answers"))
    with caplog.at_level(logging.DEBUG, logger="ownshelf"):
        answer = ask(http, "/v1/batches", a_batch(task).to_bytes())
    assert answer.status_code == 503
    error_of(answer, "unavailable")
    assert "INSERT" not in answer.text
    assert http.get("/healthz").status_code == 200
    with custodian.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE custodian RENAME TO gone"))
    assert http.get("/readyz").status_code == 503
    error_of(http.get("/readyz"), "unavailable")


class Signing:
    """Signs whatever passes, as the service would: behind it, fuzzed bodies meet the custodian."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await whole_body(receive)
        query = scope["query_string"]
        target = (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        signed = sign_request(SERVICE, scope["method"], target, body, now()).headers
        names = {name.lower().encode() for name in signed}
        headers = [(name, value) for name, value in scope["headers"] if name.lower() not in names]
        scope = {**scope, "headers": [*headers, *((k.lower().encode(), v.encode()) for k, v in signed.items())]}
        await self.app(scope, saying(body), send)


@given(
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    path=st.sampled_from(["/v1/rounds", "/v1/batches"]),
)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_draft_or_batch_with_bytes_changed_is_answered_in_the_one_shape(
    http: httpx.Client, task: Task, path: str, changes: list[tuple[int, int]]
) -> None:
    body = bytearray(task.draft_bytes() if path == "/v1/rounds" else a_batch(task).to_bytes())
    for place, value in changes:
        body[place % len(body)] = value
    answer = ask(http, path, bytes(body))
    assert answer.status_code in (200, 201, 403, 404, 409, 422)
    if answer.status_code >= 400:
        error_of(answer, answer.json()["error"]["code"])


def test_every_code_is_declared_where_it_can_occur(custodian: Custodian) -> None:
    schema = create_custodian_app(custodian, SERVICE.public).openapi()
    rounds = schema["paths"]["/v1/rounds"]["post"]["responses"]
    batches = schema["paths"]["/v1/batches"]["post"]["responses"]
    assert {"201", "401", "403", "409", "413", "422", "503"} <= set(rounds)
    assert {"200", "401", "404", "409", "413", "422", "503"} <= set(batches)
    assert json.dumps(schema)
