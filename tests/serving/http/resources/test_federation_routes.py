from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from data.errors import ServingError
from federation.device.tokens.issuing import ShopIssuer, fetch_token
from federation.protocol.messages import Report, Task
from federation.protocol.no_answer import no_answers_from_bytes
from federation.protocol.tokens.blind_rsa import blind
from federation.protocol.tokens.report_token import ReportToken
from federation.protocol.transparency import LogProof, clusters_entry, issuer_key_entry, task_entry
from recsys.catalogue.catalogue import decode_catalogue
from serving.access import Access
from serving.http.app import STATUS, create_app
from serving.http.resources.federation_routes import TokenDesk, add_federation
from serving.http.resources.report_receiver import IntakeSettings
from serving.state.api_keys import ApiKeys, MintCounter
from serving.state.key_book import KeyBook
from tests.federation.protocol.tokens.some_issuer import rsa_key
from tests.federation.service.a_lineage import PLAN, Line, a_line, stop
from tests.shop import InProcess

OCTETS = {"content-type": "application/octet-stream"}
REPORTS, TASK, TOKENS = "/v1/federation/reports", "/v1/federation/task", "/v1/device-tokens"


@dataclass
class Live:
    line: Line
    app: FastAPI
    http: httpx.Client
    key: str

    def open(self) -> Task:
        self.line.open(now())
        return Task.from_bytes(self.http.get(TASK).content)

    def report(self, task: Task, block: int = 0, seed: int = 0) -> Report:
        return self.line.report(task, block, seed=seed)

    def fill(self, task: Task) -> None:
        for block in range(len(task.blocks)):
            for seed in range(4):
                assert self.post(self.report(task, block, seed)).status_code == 201

    def post(self, report: Report | bytes) -> httpx.Response:
        return self.http.post(
            REPORTS, content=report if isinstance(report, bytes) else report.to_bytes(), headers=OCTETS
        )


def now() -> int:
    return int(time.time())


def make(folder: Path, intake: IntakeSettings | None = None, per_issuer: int = 2_000, **changes: Any) -> Live:
    line = a_line(folder, now=now(), **changes)
    engine = line.coordinator.store.engine
    book = KeyBook(ApiKeys(engine))
    app = create_app(line.coordinator.bundles(), access=Access(book, needs_no_key=True))
    mints = MintCounter(engine, period_s=3_600, tokens_per_period=per_issuer)
    add_federation(app, line.coordinator, TokenDesk(line.issuer, mints), intake)
    key = book.keys.create("shop", ["app"], now())
    book.refresh()
    http = httpx.Client(transport=InProcess(app), base_url="http://shop.test")
    return Live(line, app, http, key)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = make(tmp_path)
    yield made
    stop(made.line)


def error_of(answer: httpx.Response, code: str) -> dict[str, Any]:
    """Every error has the one shape, its code's status, and a request id."""
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "details"}
    assert content["error"]["code"] == code
    assert answer.status_code == STATUS[code]
    assert len(answer.headers["x-request-id"]) == 32
    return dict(content["error"])


def test_a_round_over_http(live: Live) -> None:
    before = live.http.get("/v1/bundles").json()["bundles"][0]["version"]
    task = live.open()
    assert task.is_signed_by(live.line.custodian.custodian.key.public)
    for block in range(2):
        for seed in range(4):
            report = live.report(task, block, seed)
            answer = live.post(report)
            assert answer.status_code == 201
            content = answer.json()
            assert (content["report_id"], content["status"]) == (report.report_id.hex(), "accepted")
            again = live.post(report)
            assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    live.line.settle(now())
    live.app.state.apps.of("shop").replace(live.line.coordinator.bundles())
    current, older = live.http.get("/v1/bundles").json()["bundles"]
    assert (older["version"], older["current"]) == (before, False)
    catalogue = live.http.get("/v1/catalogue/current", follow_redirects=True)
    assert decode_catalogue(catalogue.content).bundle_version == current["version"] != before
    listed = live.http.get("/v1/federation/rounds").json()
    assert (listed["rounds"][0]["state"], listed["rounds"][0]["record"]["bundle"]) == ("published", current["version"])
    assert listed["epsilon"] is None


def test_the_task_names_the_catalogue_that_is_served(live: Live) -> None:
    task = live.open()
    answer = live.http.get(f"/v1/catalogue/{task.bundle_version}")
    assert answer.headers["etag"] == f'"{task.bundle_hash.hex()}"'


def test_without_a_round_devices_are_told_when_to_come_back(live: Live) -> None:
    answer = live.http.get(TASK)
    assert (answer.status_code, answer.content) == (204, b"")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_every_refusal_has_its_own_code_and_status(live: Live) -> None:
    task = live.open()
    report = live.report(task)
    content = report.to_bytes()
    error_of(live.post(content[:-1]), "report_malformed")
    error_of(live.post(b""), "report_malformed")
    error_of(live.post(b"x" * 1_000), "report_malformed")
    error_of(live.post(content + bytes(5_000)), "report_too_large")
    error_of(live.post(replace(report, block=9)), "report_mismatched")
    error_of(live.post(replace(report, task_id="training-0-ffffffff")), "report_stale")
    error_of(live.post(replace(report, token=b"x")), "token_invalid")
    error_of(live.http.post(REPORTS, content=content), "unsupported_media_type")
    assert live.post(report).status_code == 201
    other = replace(live.report(task, seed=5), report_id=report.report_id)
    error_of(live.post(other), "report_conflict")
    error_of(live.post(replace(live.report(task), token=report.token)), "token_spent")
    live.fill(task)
    live.line.settle(now())
    late = error_of(live.post(live.report(task)), "report_late")
    assert late["details"]["come_back_s"] >= 1
    outcomes = live.line.coordinator.intake.outcomes()
    assert {name: n for name, n in outcomes.items() if name not in ("accepted", "duplicate")} == {
        "report_malformed": 3,
        "report_too_large": 1,
        "report_mismatched": 1,
        "report_stale": 1,
        "token_invalid": 1,
        "report_conflict": 1,
        "token_spent": 1,
        "report_late": 1,
    }
    text = live.http.get("/metrics").text
    assert 'ownshelf_reports_total{app="",outcome="report_stale"} 1' in text


def test_a_full_round_says_so(tmp_path: Path) -> None:
    live = make(tmp_path, plan=replace(PLAN, max_reports=3), goal_reports=100)
    task = live.open()
    for seed in range(3):
        assert live.post(live.report(task, 0, seed)).status_code == 201
    answer = live.post(live.report(task))
    error_of(answer, "round_full")
    assert int(answer.headers["retry-after"]) >= 1
    stop(live.line)


def test_reports_beyond_the_memory_are_told_to_come_back(tmp_path: Path) -> None:
    live = make(tmp_path, IntakeSettings(memory_bytes=1_000))
    answer = live.post(live.report(live.open()))
    error_of(answer, "intake_unavailable")
    assert answer.headers["retry-after"] == "5"
    assert live.line.coordinator.intake.outcomes() == {"intake_unavailable": 1}
    stop(live.line)


def test_memory_is_given_back_after_every_report(tmp_path: Path) -> None:
    live = make(tmp_path, IntakeSettings(memory_bytes=3_000))
    task = live.open()
    for seed in range(5):
        assert live.post(live.report(task, 0, seed)).status_code == 201
        assert live.post(b"x" * 500).status_code == 422
    stop(live.line)


async def pieces(
    app: Any, sent: AsyncIterator[bytes], headers: dict[str, str]
) -> tuple[int, bytes, int, list[tuple[bytes, bytes]]]:
    """POST a body piece by piece; status, answer, how many pieces were asked for, and the answer's headers."""
    asked, started, body = 0, asyncio.get_running_loop().create_future(), b""

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        try:
            return {"type": "http.request", "body": await anext(sent), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            started.set_result((message["status"], message["headers"]))
        body += message.get("body", b"")

    scope = {
        "type": "http",
        "method": "POST",
        "path": REPORTS,
        "raw_path": REPORTS.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "server": ("shop.test", 80),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await app(scope, receive, send)
    status, answered = await started
    return status, body, asked, answered


def in_pieces(
    live: Live, make_pieces: Callable[[], AsyncIterator[bytes]], **headers: str
) -> tuple[int, dict[str, Any], int]:
    status, body, asked, _ = asyncio.run(pieces(live.app, make_pieces(), {**OCTETS, **headers}))
    return status, json.loads(body), asked


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1_000)


def test_an_endless_body_is_cut_off_at_the_bound(live: Live) -> None:
    live.open()

    async def front_then_endless() -> AsyncIterator[bytes]:
        yield live.report(live.line.coordinator.task()).to_bytes()[:-100]  # type: ignore[arg-type]
        async for piece in endless():
            yield piece

    status, content, asked = in_pieces(live, front_then_endless)
    assert (status, content["error"]["code"]) == (413, "report_too_large")
    assert asked <= 3


def test_a_body_declared_too_long_is_not_read_at_all(live: Live) -> None:
    live.open()
    status, content, asked = in_pieces(live, endless, **{"content-length": str(10**9)})
    assert (status, content["error"]["code"], asked) == (413, "report_too_large", 0)


def test_a_report_is_refused_by_its_head_before_its_share_is_read(tmp_path: Path) -> None:
    live = make(tmp_path, block_items=40)
    task = live.open()
    report = replace(
        live.report(task), token=b"forged", service_share=np.random.default_rng(0).bytes(4 * task.plan.length)
    )
    content = report.to_bytes()

    async def slowly() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 100):
            yield content[start : start + 100]

    status, answer, asked = in_pieces(live, slowly)
    assert (status, answer["error"]["code"]) == (401, "token_invalid")
    assert asked <= len(content) // 100 + 2
    stop(live.line)


def test_a_body_that_takes_for_ever_is_given_up(tmp_path: Path) -> None:
    live = make(tmp_path, IntakeSettings(memory_bytes=3_000, body_timeout_s=0.05))
    task = live.open()

    async def stuck() -> AsyncIterator[bytes]:
        yield b"OSR1"
        await asyncio.sleep(60)

    status, content, _ = in_pieces(live, stuck)
    assert (status, content["error"]["code"]) == (503, "intake_unavailable")
    assert live.post(live.report(task)).status_code == 201
    stop(live.line)


def test_a_report_in_pieces_is_taken(live: Live) -> None:
    content = live.report(live.open()).to_bytes()

    async def bytewise() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    status, answer, _ = in_pieces(live, bytewise)
    assert (status, answer["status"]) == (201, "accepted")


def asked_of(blinded: bytes = blind(rsa_key(0).public_key().public_numbers().n, b"x").blinded, n: int = 1) -> Any:
    """A question for blind signatures, of no key that there is."""
    return {"token_key_id": "0" * 64, "blinded": [urlsafe_b64encode(blinded).rstrip(b"=").decode()] * n}


def test_a_shop_has_tokens_signed_that_nobody_has_seen(live: Live) -> None:
    task = live.open()
    issuer = ShopIssuer(live.http, live.key)
    tokens = [fetch_token(issuer, task, "shop", lambda _: None) for _ in range(3)]
    for token in tokens:
        assert live.post(live.line.report(task, token=token)).status_code == 201
        error_of(live.post(live.line.report(task, token=token)), "token_spent")


def test_what_signs_tokens_sees_nothing_that_is_ever_seen_again(live: Live) -> None:
    task, seen = live.open(), []
    live.http.event_hooks = {"request": [lambda request: seen.append(request.read())]}
    token = ReportToken.from_bytes(fetch_token(ShopIssuer(live.http, live.key), task, "shop", lambda _: None))
    assert [len(content) > 0 for content in seen] == [False, True]
    asked = json.loads(seen[1])
    assert set(asked) == {"token_key_id", "blinded"}
    assert asked["token_key_id"] == token.token_key_id.hex()
    blinded = urlsafe_b64decode(asked["blinded"][0] + "==")
    for secret in (token.nonce, token.authenticator):
        assert not {secret[at : at + 8] for at in range(len(secret) - 7)} & {blinded[at : at + 8] for at in range(249)}


def test_the_key_of_a_shop_is_in_the_log_and_the_same_for_all_its_devices(live: Live) -> None:
    task = live.open()
    issuer, key = ShopIssuer(live.http, live.key), live.line.custodian.custodian.key.public
    first = issuer.key(task.deadline)
    assert first == issuer.key(task.deadline)
    path = f"/v1/federation/log/issuer-keys/{first.token_key_id.hex()}"
    head = LogProof.from_bytes(live.http.get(path).content).check(issuer_key_entry(first), key, None)
    later = live.http.get(path, params={"since": head.size})
    assert LogProof.from_bytes(later.content).check(issuer_key_entry(first), key, head) == head
    error_of(live.http.get("/v1/federation/log/issuer-keys/" + "0" * 64), "not_found")
    error_of(live.http.get("/v1/federation/log/issuer-keys/short"), "invalid_request")


@pytest.mark.parametrize("deadline", ["-1", "0", "x", str(2**70), "9000000000"])
def test_a_deadline_that_no_task_has_gets_no_key(live: Live, deadline: str) -> None:
    headers = {"authorization": f"Bearer {live.key}"}
    error_of(live.http.get(TOKENS, params={"deadline": deadline}, headers=headers), "invalid_request")


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic abc", "Bearer osk_000000000000_" + "x" * 43]
)
def test_nobody_else_has_tokens_signed(live: Live, header: str | None, method: str) -> None:
    headers = {} if header is None else {"authorization": header}
    body = None if method == "GET" else asked_of()
    answer = live.http.request(method, f"{TOKENS}?deadline={now() + 60}", json=body, headers=headers)
    error_of(answer, "api_key_invalid")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "body",
    [
        asked_of(),
        asked_of(n=0),
        asked_of(n=33),
        asked_of(bytes(255)),
        asked_of() | {"user_id": "17"},
        asked_of() | {"blinded": "x"},
        {"count": 1},
        [],
        3,
    ],
)
def test_a_shop_cannot_say_for_whom_nor_have_anything_signed(live: Live, body: Any) -> None:
    error_of(live.http.post(TOKENS, json=body, headers={"authorization": f"Bearer {live.key}"}), "invalid_request")


@pytest.mark.parametrize("number", [0, 1, 2**2048 - 1])
def test_a_number_that_is_no_blinded_message_is_refused(live: Live, number: int) -> None:
    key = ShopIssuer(live.http, live.key).key(live.open().deadline)
    body = asked_of(number.to_bytes(256)) | {"token_key_id": key.token_key_id.hex()}
    error_of(live.http.post(TOKENS, json=body, headers={"authorization": f"Bearer {live.key}"}), "invalid_request")


def test_the_key_of_another_minting_key_signs_nothing(live: Live) -> None:
    task = live.open()
    other = live.line.issuer.key_for("tea-house", "mint", task.deadline, now())
    with pytest.raises(ServingError, match="status 422"):
        ShopIssuer(live.http, live.key).sign(other, [blind(other.modulus, b"x").blinded])


def test_a_shop_that_has_too_many_signed_has_to_wait(tmp_path: Path) -> None:
    live = make(tmp_path, per_issuer=5)
    headers = {"authorization": f"Bearer {live.key}"}
    issuer = ShopIssuer(live.http, live.key)
    key = issuer.key(live.open().deadline)
    assert len(issuer.sign(key, [blind(key.modulus, b"x").blinded for _ in range(5)])) == 5
    answer = live.http.post(TOKENS, json=asked_of() | {"token_key_id": key.token_key_id.hex()}, headers=headers)
    error_of(answer, "issuer_bound")
    assert 1 <= int(answer.headers["retry-after"]) <= 3_600
    stop(live.line)


def test_metrics_hold_counts_and_the_privacy_spent(tmp_path: Path) -> None:
    plan = replace(PLAN, noise_multiplier=20.0)
    live = make(tmp_path, plan=plan)
    live.fill(live.open())
    live.line.settle(now())
    answer = live.http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    figures = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(figures['ownshelf_rounds{state="published"}']) == 1
    assert float(figures['ownshelf_reports_total{app="shop",outcome="accepted"}']) == 8
    assert float(figures["ownshelf_epsilon_spent"]) == pytest.approx(plan.epsilon_after(1))
    assert float(figures["ownshelf_epsilon_lifetime"]) == pytest.approx(plan.epsilon)
    for line in answer.text.splitlines():
        if line.startswith(("ownshelf_rounds{", "ownshelf_reports")) and "{" in line:
            assert line.startswith(("ownshelf_rounds{state=", "ownshelf_reports_total{app=", "ownshelf_reports_cr"))
    stop(live.line)


def test_nothing_of_a_report_is_logged(live: Live, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    task = live.open()
    report = live.report(task)
    for content in (report.to_bytes(), report.to_bytes()[:-1], replace(report, block=7).to_bytes(), b"\xff" * 300):
        live.post(content)
    for secret in (report.token.hex(), report.report_id.hex(), report.sealed_seed.hex(), repr(report.token)):
        assert secret not in caplog.text


def test_changed_reports_get_declared_answers(live: Live) -> None:
    task, rng = live.open(), np.random.default_rng(3)
    content = live.report(task).to_bytes()
    declared = {int(status) for status in live.app.openapi()["paths"][REPORTS]["post"]["responses"]}
    seen = set()
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(0, 520, rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        answer = live.post(bytes(changed[: rng.integers(0, len(changed) + 1)] if rng.random() < 0.3 else changed))
        assert answer.status_code in declared - {500}
        seen.add(answer.status_code)
    assert {401, 409, 422} <= seen


def test_a_refused_body_of_unknown_length_is_not_received_for_ever(live: Live) -> None:
    live.open()

    async def nonsense() -> AsyncIterator[bytes]:
        yield b"x" * 500

    for headers, connection in (({}, [b"close"]), ({"content-length": "500"}, [])):
        status, _, _, answered = asyncio.run(pieces(live.app, nonsense(), {**OCTETS, **headers}))
        assert status == 422
        assert [value for name, value in answered if name == b"connection"] == connection


def test_the_custodians_log_is_passed_on_and_checks(live: Live) -> None:
    task = live.open()
    key = live.line.custodian.custodian.key.public
    first = live.http.get(f"/v1/federation/log/{task.task_id}")
    assert (first.status_code, first.headers["content-type"]) == (200, OCTETS["content-type"])
    head = LogProof.from_bytes(first.content).check(task_entry(task), key, None)
    again = live.http.get(f"/v1/federation/log/{task.task_id}", params={"since": head.size})
    assert LogProof.from_bytes(again.content).check(task_entry(task), key, head) == head
    assert live.http.get(f"/v1/federation/log/{task.task_id}").content == first.content  # the custodian is asked once
    error_of(live.http.get("/v1/federation/log/nobody"), "not_found")
    for since in ("99", "-1", "x"):
        error_of(live.http.get(f"/v1/federation/log/{task.task_id}", params={"since": since}), "invalid_request")


def test_the_active_bundles_clusters_are_logged_and_the_proof_is_passed_on(live: Live) -> None:
    live.open()
    bundle, key = live.line.coordinator.bundles()[0], live.line.custodian.custodian.key.public
    answer = live.http.get(f"/v1/federation/log/clusters/{bundle.version}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, OCTETS["content-type"])
    assert bundle.clusters_hash is not None
    entry = clusters_entry(bundle.version, bytes.fromhex(bundle.clusters_hash))
    head = LogProof.from_bytes(answer.content).check(entry, key, None)
    again = live.http.get(f"/v1/federation/log/clusters/{bundle.version}", params={"since": head.size})
    assert LogProof.from_bytes(again.content).check(entry, key, head) == head
    error_of(live.http.get("/v1/federation/log/clusters/nobody"), "not_found")


def test_what_was_never_answered_is_told_to_every_device_alike(live: Live) -> None:
    answer = live.http.get("/v1/federation/no-answers")
    assert (answer.status_code, no_answers_from_bytes(answer.content)) == (200, [])
    task = live.open()
    live.line.custodian.now = task.deadline + 1
    live.line.settle(task.deadline + 1)
    (statement,) = no_answers_from_bytes(live.http.get("/v1/federation/no-answers").content)
    statement.check(live.line.custodian.custodian.key.public)
    assert (statement.task_hash, len(statement.blocks)) == (task.hash, len(task.blocks))
