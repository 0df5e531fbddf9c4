from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serving.access import Access, caller
from serving.http.cross_origin import CrossOrigin
from serving.http.guard import API_POLICY, GONE, HSTS, Guard, GuardBounds
from serving.http.rates import KeyRates
from serving.http.request_record import RequestRecord, access_log, line

STATUSES = {
    "invalid_request": 422,
    "body_too_large": 413,
    "timed_out": 503,
    "not_found": 404,
    "method_not_allowed": 405,
    "rate_limited": 429,
    "api_key_invalid": 401,
    "scope_missing": 403,
}
BOUNDS = GuardBounds(max_body_bytes=1_000, max_depth=32, timeout_s=5.0)


async def whole(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it is given."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


class Answered:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


def ask(
    app: Any = echo,
    pieces: AsyncIterator[bytes] | None = None,
    *,
    method: str = "POST",
    path: str = "/v1/recommendations",
    headers: dict[str, str] | None = None,
    scheme: str = "http",
    bounds: GuardBounds = BOUNDS,
    **options: Any,
) -> Answered:
    """One request through a guard. The body's end is the end of its pieces; b"gone" is a sender that leaves."""
    options.setdefault("access", Access())
    guard = Guard(app, bounds, STATUSES, **options)
    sent, got = pieces or whole(b"{}"), Answered()

    async def receive() -> Message:
        try:
            piece = await anext(sent)
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}
        if piece == b"gone":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    async def send(message: Message) -> None:
        got.messages.append(message)

    given = {"content-type": "application/json"} | (headers or {})
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": scheme,
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
    }
    asyncio.run(guard(scope, receive, send))
    return got


def test_a_body_in_pieces_reaches_the_app_whole() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a"', b": ", b"1}"):
            yield piece

    assert ask(pieces=pieces()).body == b'{"a": 1}'


def test_a_body_beyond_the_bound_is_given_up_as_soon_as_it_is_and_the_connection_closed() -> None:
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(400)

    answered = ask(pieces=endless(), headers={"transfer-encoding": "chunked"})
    assert (answered.status, answered.code, asked) == (413, "body_too_large", 3)
    assert answered.headers["connection"] == "close"
    asked = 0
    answered = ask(pieces=endless(), headers={"content-length": "1001"})
    assert (answered.status, asked) == (413, 0)


def test_a_body_that_trickles_is_given_up() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    answered = ask(pieces=slow(), bounds=GuardBounds(1_000, 32, 0.05), headers={"content-length": "9"})
    assert (answered.status, answered.code) == (503, "timed_out")
    assert "within 0.05 s" in json.loads(answered.body)["error"]["message"]
    assert answered.headers["connection"] == "close"


def test_an_app_that_takes_for_ever_is_given_up() -> None:
    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(30)

    assert ask(stuck, bounds=GuardBounds(1_000, 32, 0.05)).code == "timed_out"


def test_a_timeout_of_the_apps_own_is_its_mistake_and_not_ours() -> None:
    async def failing(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("secret")

    answered = ask(failing)
    assert answered.status == 500
    assert b"secret" not in answered.body


def test_a_path_that_bounds_itself_has_neither_bound() -> None:
    async def long() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.03)
            yield bytes(900)

    answered = ask(pieces=long(), path="/v1/federation/reports", bounds=GuardBounds(1_000, 32, 0.05))
    assert (answered.status, len(answered.body)) == (200, 2_700)


def test_a_sender_who_leaves_is_not_answered_and_not_an_error(caplog: pytest.LogCaptureFixture) -> None:
    async def leaves() -> AsyncIterator[bytes]:
        yield b"{"
        yield b"gone"

    seen: list[RequestRecord] = []
    assert ask(pieces=leaves(), observers=(seen.append,)).messages == []
    assert seen[0].status == GONE
    assert caplog.text == ""


@pytest.mark.parametrize(("depth", "status"), [(32, 200), (33, 422)])
def test_nested_too_deep_is_refused_before_it_is_parsed(depth: int, status: int) -> None:
    assert ask(pieces=whole(b"[" * depth + b"]" * depth)).status == status


def test_every_answer_has_the_headers() -> None:
    for answered in (
        ask(),
        ask(path="/nowhere"),
        ask(method="GET"),
        ask(pieces=whole(bytes(2_000))),
        ask(headers={"origin": "https://elsewhere.example"}),
    ):
        assert answered.headers["x-content-type-options"] == "nosniff"
        assert answered.headers["x-frame-options"] == "DENY"
        assert answered.headers["referrer-policy"] == "no-referrer"
        assert answered.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert len(answered.headers["x-request-id"]) == 32
        assert "strict-transport-security" not in answered.headers
        assert "server" not in answered.headers


def test_hsts_is_said_under_tls_only() -> None:
    assert ask(scheme="https").headers[HSTS[0].decode()] == HSTS[1].decode()


def test_a_page_may_bring_a_policy_of_its_own_and_no_other_answer_may() -> None:
    async def with_policy(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-security-policy", b"script-src 'self'")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def policies(path: str, app: Any = echo) -> list[bytes]:
        first = ask(app, method="GET", path=path).messages[0]
        return [value for name, value in first["headers"] if name == b"content-security-policy"]

    assert policies("/dashboard", with_policy) == [b"script-src 'self'"]
    assert policies("/dashboard") == [API_POLICY.encode()]  # a page that is not there
    assert policies("/v1/items", with_policy)[-1] == API_POLICY.encode()  # both hold, and the stricter one counts


def test_a_method_that_a_path_does_not_have_is_405_with_those_it_has() -> None:
    answered = ask(method="PATCH", path="/v1/items/x")
    assert (answered.status, answered.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_head_is_answered_as_get_without_the_body() -> None:
    asked: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    seen: list[RequestRecord] = []
    for access in (Access(), None):
        answered = ask(app, method="HEAD", path="/healthz", access=access, observers=[seen.append])
        assert (answered.status, answered.body, answered.headers["content-length"]) == (200, b"", "6")
    assert asked == ["GET", "GET"]
    assert (seen[0].method, seen[0].n_bytes) == ("HEAD", 0)
    refused = ask(method="HEAD", path="/v1/recommendations")
    assert (refused.status, refused.body, refused.headers["allow"]) == (405, b"", "POST")


SHOP = "https://shop.example"


def test_a_listed_page_may_ask_and_no_other() -> None:
    origins = CrossOrigin([SHOP])
    listed = ask(origins=origins, headers={"origin": SHOP})
    assert listed.headers["access-control-allow-origin"] == SHOP
    assert "x-request-id" in listed.headers["access-control-expose-headers"]
    for headers in ({"origin": "https://evil.example"}, {"origin": "null"}, {"origin": SHOP + ".evil.example"}, {}):
        other = ask(origins=origins, headers=headers)
        assert other.status == 200
        assert "access-control-allow-origin" not in other.headers
        assert other.headers["vary"] == "origin"
    for answered in (listed, ask(origins=CrossOrigin(["*"]), headers={"origin": SHOP})):
        assert "access-control-allow-credentials" not in answered.headers
    assert "access-control-allow-origin" not in ask(headers={"origin": SHOP}).headers


def test_a_preflight_is_answered_by_the_guard_without_a_key() -> None:
    asked = {"origin": SHOP, "access-control-request-method": "POST"}
    allowed = ask(method="OPTIONS", origins=CrossOrigin([SHOP]), headers=asked)
    assert (allowed.status, allowed.body) == (204, b"")
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert allowed.headers["access-control-allow-origin"] == SHOP
    refused = ask(method="OPTIONS", origins=CrossOrigin(["https://other.example"]), headers=asked)
    assert not [name for name in refused.headers if name.startswith("access-control")]
    assert ask(method="OPTIONS", headers=asked).status == 405


def test_an_error_is_told_to_a_listed_page_too() -> None:
    answered = ask(path="/nowhere", origins=CrossOrigin([SHOP]), headers={"origin": SHOP})
    assert (answered.status, answered.headers["access-control-allow-origin"]) == (404, SHOP)


class Book:
    empty = False

    def caller_of(self, key: str) -> Any:
        from serving.access import Caller

        return Caller("shop-a", key, frozenset({"app"})) if key.startswith("k") else None


def test_the_handler_is_told_who_asks() -> None:
    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        assert (caller(scope).app, caller(scope).key_id) == ("shop-a", "k1")
        await echo(scope, receive, send)

    access = Access(Book())
    assert ask(told, access=access, headers={"authorization": "Bearer k1"}).status == 200
    assert ask(told, access=access).status == 401


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_go_on() -> None:
    rates, access = KeyRates("2/hour"), Access(Book())

    def asked(key: str) -> Answered:
        return ask(access=access, rates=rates, headers={"authorization": f"Bearer {key}"})

    assert [asked("k1").status for _ in range(3)] == [200, 200, 429]
    assert 3_500 < int(asked("k1").headers["retry-after"]) <= 3_600
    assert asked("k2").status == 200
    assert ask(access=Access(), rates=rates).status == 200


def observed(kind: Any, caplog: pytest.LogCaptureFixture, **asked: Any) -> list[dict[str, Any]]:
    caplog.clear()
    caplog.set_level(logging.INFO, "ownshelf.access")
    write = access_log(kind)
    ask(observers=(write,) if write else (), **asked)
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "ownshelf.access"]


def test_a_log_line_has_the_agreed_fields_and_nothing_that_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    [row] = observed(
        "all",
        caplog,
        method="GET",
        path="/v1/items/secret-wish/similar",
        headers={"authorization": "Bearer k-secret", "user-agent": "secret", "x-request-id": "secret"},
    )
    assert set(row) == {"time", "request_id", "method", "route", "status", "ms", "bytes", "app"}
    assert row["route"] == "/v1/items/{item_id}/similar"
    assert "secret" not in caplog.text
    assert observed("errors", caplog) == []
    [failed] = observed("errors", caplog, path="/secret", method="SECRET")
    assert (failed["status"], failed["code"], failed["route"], failed["method"]) == (404, "not_found", "none", "none")
    assert "secret" not in caplog.text.lower()
    assert observed("off", caplog, path="/secret") == []


def test_what_observers_are_told_is_this_and_no_more() -> None:
    """route, not path; no query, header, body, address or item. A new field is added here, with its reason."""
    assert RequestRecord._fields == (
        "request_id",
        "method",
        "route",
        "mode",
        "status",
        "code",
        "seconds",
        "n_bytes",
        "app",
        "key_id",
    )
    assert "key_id" not in json.loads(line(RequestRecord("0", "GET", "/healthz", "", 200, "", 0.1, 2, "", None)))


def test_there_are_no_web_sockets_and_the_start_reaches_the_app() -> None:
    reached: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    guard = Guard(app, BOUNDS, STATUSES, access=Access())
    for kind in ("websocket", "lifespan"):
        asyncio.run(guard({"type": kind}, nothing, nothing))
    assert reached == ["lifespan"]


def test_without_a_table_every_path_reaches_the_app_in_pieces_and_bounded() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(600)
        yield bytes(300)

    answered = ask(pieces=pieces(), path="/v1/batches", access=None, bounds=GuardBounds(1_000))
    assert (answered.status, len(answered.body)) == (200, 900)
    answered = ask(pieces=whole(bytes(1_001)), path="/v1/batches", access=None, bounds=GuardBounds(1_000))
    assert answered.code == "body_too_large"
