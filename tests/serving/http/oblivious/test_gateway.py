"""The gateway and a device behind a relay: who sees what, what is let in; every bound of the direct way holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from federation.device.asking.relayed import Relay, relayed_client
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.tokens.issuing import ShopIssuer
from federation.protocol.messages import Task
from federation.protocol.oblivious.binary_http import BinaryAnswer, BinaryRequest
from federation.protocol.oblivious.encapsulation import (
    OVERHEAD_BYTES,
    REQUEST_TYPE,
    GatewayKey,
    KeyConfig,
    open_answer,
    seal_request,
)
from serving.access import Access
from serving.http.oblivious.gateway import HEAD_BYTES, GatewayBounds, add_gateway
from tests.federation.service.a_lineage import stop
from tests.serving.http.resources.test_federation_routes import OCTETS, REPORTS, Live, error_of, make
from tests.shop import InProcess
from tests.tiny_relay import TinyRelay

KEY = GatewayKey(bytes(range(32)))
JSON = ((b"content-type", b"application/json"),)
BYTES = ((b"content-type", b"application/octet-stream"),)
MAX_CONTENT = 40_000


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = make(tmp_path)
    add_gateway(made.app, KEY, lambda: MAX_CONTENT, GatewayBounds(memory_bytes=100_000, timeout_s=0.5))
    yield made
    stop(made.line)


def through(live: Live, asked: BinaryRequest, key: KeyConfig = KEY.config) -> BinaryAnswer:
    sealed, context = seal_request(asked.to_bytes(), key)
    answer = live.http.post("/ohttp", content=sealed, headers={"content-type": REQUEST_TYPE})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "message/ohttp-res")
    return BinaryAnswer.from_bytes(open_answer(answer.content, context))


def post(path: str, content: bytes, headers: Any = BYTES) -> BinaryRequest:
    return BinaryRequest(b"POST", b"https", b"shop.test", path.encode(), headers, content)


def error_in(answer: BinaryAnswer, code: str) -> None:
    """The one error shape, inside."""
    assert dict(answer.headers)[b"content-type"] == b"application/json"
    content = json.loads(answer.content)
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message", "details"}
    assert content["error"]["code"] == code


def test_a_report_through_the_gateway_is_taken_as_any_other(live: Live) -> None:
    task = live.open()
    content = live.report(task).to_bytes()
    first, again = (through(live, post(REPORTS, content)) for _ in range(2))
    assert (first.status, again.status) == (201, 200)
    assert json.loads(first.content)["status"] == "accepted"
    assert live.post(content).json()["status"] == "duplicate"


def test_every_bound_of_the_direct_way_holds_inside(live: Live) -> None:
    task = live.open()
    report = live.report(task)
    error_in(through(live, post(REPORTS, report.to_bytes()[:-1])), "report_malformed")
    error_in(through(live, post(REPORTS, replace(report, token=b"x").to_bytes())), "token_invalid")
    error_in(through(live, post(REPORTS, report.to_bytes() + bytes(5_000))), "report_too_large")
    error_in(through(live, post(REPORTS, report.to_bytes(), JSON)), "unsupported_media_type")
    assert through(live, post(REPORTS, report.to_bytes())).status == 201
    spent = replace(live.report(task), token=report.token)
    error_in(through(live, post(REPORTS, spent.to_bytes())), "token_spent")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (replace(post(REPORTS, b""), method=b"GET"), "method_not_allowed"),
        (post("/v1/keys", b"{}", JSON), "not_found"),
        (post("/v1/device-tokens", b"{}", JSON), "not_found"),
        (post("/ohttp", b"", ((b"content-type", b"message/ohttp-req"),)), "not_found"),
        (post("/v1/experiments/x/start", b""), "not_found"),
        (post("/v1/experiments/../federation/reports", b""), "not_found"),
        (post(REPORTS + "?x=1", b""), "not_found"),
        (post("//v1/federation/reports", b""), "not_found"),
        (post("https://elsewhere.test/v1/federation/reports", b""), "not_found"),
        (post("/v1/recommendations", b'{"mode": "profile", "profile": "AAAA"}', JSON), "invalid_request"),
        (post("/v1/recommendations", b'{"mode": "noised"}', JSON), "invalid_request"),
        (post("/v1/recommendations", b"[" * 9_000, JSON), "invalid_request"),
        (post("/v1/recommendations", b"\xff", JSON), "invalid_request"),
        (post("/v1/recommendations", b'{"mode": "cluster", "clusters": "x"}', JSON), "invalid_request"),
    ],
)
def test_nothing_else_is_let_in(live: Live, asked: BinaryRequest, code: str) -> None:
    error_in(through(live, asked), code)


def test_the_trend_is_a_question_without_a_profile(live: Live) -> None:
    version = live.line.coordinator.bundles()[0].version
    asked = {"mode": "profile", "bundle_version": version, "profile": None, "top_k": 3}
    answer = through(live, post("/v1/recommendations", json.dumps(asked).encode(), JSON))
    assert answer.status == 200
    assert answer.content.count(b"sku-") == 3


def test_headers_that_name_somebody_do_not_get_in(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    admit = Access.admit

    def noticed(self: Access, route: Any, authorization: bytes | None) -> Any:
        seen.append((route.pattern, authorization))
        return admit(self, route, authorization)

    monkeypatch.setattr(Access, "admit", noticed)
    named = (*BYTES, (b"cookie", b"login=1"), (b"x-forwarded-for", b"192.0.2.1"), (b"content-length", b"5"))
    error_in(through(live, post(REPORTS, b"x" * 60, named)), "report_malformed")
    assert seen == [("/ohttp", None), (REPORTS, None)]


def test_what_does_not_open_is_refused_outside(live: Live) -> None:
    sealed, _ = seal_request(post(REPORTS, b"x").to_bytes(), KEY.config)
    other, _ = seal_request(post(REPORTS, b"x").to_bytes(), GatewayKey(bytes(range(1, 33))).config)
    garbage, _ = seal_request(b"no message", KEY.config)
    for content in (b"", b"x", sealed[:-1], sealed[:40], other, garbage, sealed + b"x", bytes(100)):
        error_of(live.http.post("/ohttp", content=content, headers={"content-type": REQUEST_TYPE}), "invalid_request")
    error_of(live.http.post("/ohttp", content=sealed, headers=OCTETS), "unsupported_media_type")
    error_of(live.http.get("/ohttp"), "method_not_allowed")


def test_a_body_that_is_too_long_is_not_kept(live: Live) -> None:
    bound = MAX_CONTENT + HEAD_BYTES + OVERHEAD_BYTES
    kind = {"content-type": REQUEST_TYPE}
    error_of(live.http.post("/ohttp", content=bytes(bound + 1), headers=kind), "body_too_large")
    error_of(live.http.post("/ohttp", content=iter([bytes(bound), b"x"]), headers=kind), "body_too_large")
    error_of(live.http.post("/ohttp", content=bytes(bound), headers=kind), "invalid_request")


def test_slow_bodies_have_memory_of_their_own_and_give_it_back(live: Live) -> None:
    """Three bodies of 40 kB that never end fill the gateway's 100 kB; direct reports are taken all the same."""

    async def slow(n_bytes: int) -> tuple[int, bytes]:
        sent, status, body = False, 0, b""

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                await asyncio.sleep(60)
            sent = True
            return {"type": "http.request", "body": bytes(n_bytes), "more_body": True}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/ohttp",
            "raw_path": b"/ohttp",
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "http_version": "1.1",
            "server": ("shop.test", 80),
            "headers": [(b"content-type", REQUEST_TYPE.encode())],
        }
        await live.app(scope, receive, send)
        return status, body

    task = live.open()
    content = live.report(task).to_bytes()

    async def all_at_once() -> list[tuple[int, bytes]]:
        waiting = [asyncio.create_task(slow(40_000)) for _ in range(3)]
        await asyncio.sleep(0.1)
        direct = await httpx.ASGITransport(live.app).handle_async_request(
            httpx.Request("POST", f"http://shop.test{REPORTS}", content=content, headers=OCTETS)
        )
        assert direct.status_code == 201
        return list(await asyncio.gather(*waiting))

    answers = asyncio.run(all_at_once())
    assert [status for status, _ in answers] == [503, 503, 503]
    assert sum(b"too many" in body for _, body in answers) == 1
    assert through(live, post(REPORTS, content)).status == 200


def test_the_key_is_public_and_has_its_media_type(live: Live) -> None:
    answer = live.http.get("/ohttp-keys")
    assert answer.headers["content-type"] == "application/ohttp-keys"
    assert int.from_bytes(answer.content[:2]) == len(answer.content) - 2
    assert KeyConfig.from_bytes(answer.content[2:]) == KEY.config


@pytest.fixture
def network(live: Live) -> TinyRelay:
    return TinyRelay(InProcess(live.app))


def client_of(network: TinyRelay) -> Any:
    return relayed_client("https://shop.test", Relay("https://relay.test/shop", KEY.config), transport=network)


def a_device(folder: Path) -> Device:
    device = Device.create(folder / "device", consent="contribute", key_store="file")
    device.observe("sku-1", "purchase")
    return device


def part(live: Live, network: TinyRelay, folder: Path) -> Any:
    plan = live.line.coordinator.plan
    policy = DevicePolicy(
        live.line.custodian.custodian.key.public, 0.0, plan.min_reports, max_epsilon=float("inf"), plan=plan
    )
    retry = RetryPolicy(spread_s=0.0, attempts=2, first_s=0.0, sleep=lambda _: None)
    device = Device.open(folder / "device") if (folder / "device").exists() else a_device(folder)
    with client_of(network) as client:
        return take_part(device, client, policy, ShopIssuer(live.http, live.key), retry=retry)


def test_the_relay_sees_no_content_and_the_service_no_report_from_the_device(
    live: Live, network: TinyRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # sigma=0 is for this machine only: the test's plan has no noise, and its service another name
    monkeypatch.setattr("federation.device.reporting.is_loopback", lambda _: True)
    task = live.open()
    outcome = part(live, network, tmp_path)
    assert outcome.status == "accepted"
    assert live.line.coordinator.store.reports.count(task.task_id) == 1
    assert not any(REPORTS in asked for asked in network.directly)
    assert {asked.split("/v1/")[1].split("/")[0] for asked in network.directly} <= {"federation", "catalogue"}
    [sealed] = network.by_relay
    for told in (task.task_id.encode(), b"OSR1", REPORTS.encode(), b"shop.test", b"octet-stream"):
        assert told not in sealed
    assert outcome.report_bytes < len(sealed) < outcome.report_bytes + 200


@pytest.mark.parametrize(
    "bend",
    [
        lambda: httpx.Response(403, json={"error": {"code": "token_spent", "message": "", "details": {}}}),
        lambda: httpx.Response(200, content=b'{"status": "accepted"}', headers={"content-type": "application/json"}),
        lambda: httpx.Response(200, content=bytes(60), headers={"content-type": "message/ohttp-res"}),
        lambda: httpx.Response(302, headers={"location": "https://elsewhere.test/"}),
        lambda: httpx.Response(200, content=bytes(9 * 2**20), headers={"content-type": "message/ohttp-res"}),
    ],
)
def test_a_relay_that_lies_settles_nothing(
    live: Live, network: TinyRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bend: Callable[[], httpx.Response]
) -> None:
    """Whatever it says, the report stays stored and goes out again: only a sealed answer is believed."""
    monkeypatch.setattr("federation.device.reporting.is_loopback", lambda _: True)
    task = live.open()
    network.bend = [bend(), bend()]
    assert part(live, network, tmp_path).status == "unsent"
    assert part(live, network, tmp_path).status == "accepted"
    assert live.line.coordinator.store.reports.count(task.task_id) == 1


def test_a_gateway_key_that_is_not_the_pinned_one_gets_nothing(live: Live, network: TinyRelay) -> None:
    """The service cannot give a victim a key of its own: the device asks for none."""
    other = Relay("https://relay.test/shop", GatewayKey(bytes(range(1, 33))).config)
    with (
        relayed_client("https://shop.test", other, transport=network) as client,
        pytest.raises(httpx.RemoteProtocolError, match="status 422"),
    ):
        client.post(REPORTS, content=b"x", headers=OCTETS)
    assert "/ohttp-keys" not in "".join(network.directly)


def test_the_task_is_asked_for_directly(live: Live, network: TinyRelay) -> None:
    task = live.open()
    with client_of(network) as client:
        assert Task.from_bytes(client.get("/v1/federation/task").content) == task
    assert network.by_relay == []
