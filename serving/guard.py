"""The outermost layer, pure ASGI and the only one: bounds, keys, rates, headers, CORS, and who is told of a request.

Order: path in the table → body within its bounds and time → key and scope → rate → depth → the app. No error leaves
but in the one shape. An unexpected error is logged by type and place only: its text may hold what the body held.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access import NOBODY, Access, Caller, Route, RouteTable
from serving.cross_origin import CrossOrigin
from serving.json_depth import deeper_than
from serving.rates import KeyRates
from serving.refusal import Refusal
from serving.seen import Observer, Seen

log = logging.getLogger("ownshelf.serving")

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
API_HEADERS = (*HEADERS, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
HSTS = (b"strict-transport-security", b"max-age=31536000")
GONE = 499
"""Counted for a request whose sender left before there was an answer."""


@dataclass(frozen=True)
class GuardBounds:
    """max_depth: of JSON brackets; None reads no body ahead. timeout_s: of a whole request; None has no bound."""

    max_body_bytes: int
    max_depth: int | None = None
    timeout_s: float | None = None


def error_json(code: str, message: str, details: Mapping[str, Any] | None = None) -> bytes:
    """The one error body."""
    return json.dumps({"error": {"code": code, "message": message, "details": dict(details or {})}}).encode()


class Guard:
    """Wraps an application; holds nothing of a request once it is answered."""

    def __init__(
        self,
        app: ASGIApp,
        bounds: GuardBounds,
        statuses: Mapping[str, int],
        *,
        access: Access | None = None,
        rates: KeyRates | None = None,
        origins: CrossOrigin | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        """statuses: of the refusals' codes. access: without it there is no table, and every path goes to the app."""
        self.app = app
        self._bounds = bounds
        self._statuses = statuses
        self._access = access
        self._table = RouteTable()
        self._rates = rates
        self._origins = origins
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's own start and end; there are no web sockets."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun = perf_counter()
        request_id = os.urandom(16).hex()
        one = _Exchange(scope, receive, send, self._bounds.max_body_bytes, request_id)
        refusal: Refusal | None = None
        failed: str | None = None
        try:
            async with asyncio.timeout(self._bounds.timeout_s) as one.timer:
                await self._answer(one)
        except Refusal as found:
            refusal = found
        except _Gone:
            pass
        except Exception as error:  # noqa: BLE001  # the last resort: whatever it is, it must not be logged whole
            if one.timer is not None and one.timer.expired():
                refusal = Refusal("timed_out", f"request: must be answered within {self._bounds.timeout_s:g} s")
            else:
                place = traceback.extract_tb(error.__traceback__)[-1]
                failed = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        # Not while the error is handled: a log handler that fails then prints it whole, as the context of its own.
        if failed is not None:
            log.error("%s request_id=%s", failed, request_id)
            await one.respond(500, "internal", "internal error", {"request_id": request_id})
        elif refusal is not None:
            await self._refuse(one, refusal)
        if self._observers:
            seen = one.seen(perf_counter() - begun)
            for observer in self._observers:
                observer(seen)

    async def _answer(self, one: _Exchange) -> None:
        scope = one.scope
        one.headers = self._headers(scope, one)
        if self._access is None:
            one.check_declared()
            await self.app(scope, one.bounded_receive, one.send)
            return
        method, path = scope["method"], scope["path"]
        if method == "OPTIONS" and one.origin is not None and self._origins is not None:
            await one.respond_empty(204, self._origins.preflight(one.origin))
            return
        route = self._table.find(method, path)
        if route is None:
            raise self._no_route(path)
        one.route = route
        if route.page:
            one.headers = tuple(header for header in one.headers if header[0] != b"content-security-policy")
        if route.streamed:
            if one.timer is not None:
                one.timer.reschedule(None)
            receive = one.receive
        else:
            await one.read_body()
            receive = one.replay
        caller = self._access.admit(route, one.authorization)
        one.caller = scope["state"]["caller"] = caller
        if self._rates is not None and caller.key_id is not None:
            self._rates.take(caller.key_id)
        depth = self._bounds.max_depth
        if depth is not None and one.body and deeper_than(one.body, depth):
            raise Refusal("invalid_request", f"body: must be nested at most {depth} deep", {"max_depth": depth})
        await self.app(scope, receive, one.send)

    def _headers(self, scope: Scope, one: _Exchange) -> tuple[tuple[bytes, bytes], ...]:
        """What every answer to this request carries."""
        headers: tuple[tuple[bytes, bytes], ...] = (*API_HEADERS, (b"x-request-id", one.request_id.encode()))
        if scope["scheme"] == "https":
            headers = (*headers, HSTS)
        if self._origins is not None:
            headers = (*headers, *self._origins.headers(one.origin))
        return headers

    def _no_route(self, path: str) -> Refusal:
        methods = self._table.methods(path)
        if methods:
            return Refusal("method_not_allowed", "method: not of this path", headers={"allow": ", ".join(methods)})
        return Refusal("not_found", "path: there is nothing here")

    async def _refuse(self, one: _Exchange, refusal: Refusal) -> None:
        status = self._statuses[refusal.code]
        await one.respond(status, refusal.code, str(refusal), refusal.details, refusal.headers)


class _Gone(Exception):
    """Whoever asked has left."""


class _Exchange:
    """One request and its answer."""

    __slots__ = (
        "_send", "authorization", "body", "bound", "caller", "declared", "headers", "left", "n_bytes", "origin",
        "receive", "replayed", "request_id", "route", "scope", "status", "timer", "unread",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self._send = send
        self.bound = self.left = max_body_bytes
        self.request_id = request_id
        self.route: Route | None = None
        self.caller: Caller = NOBODY
        self.timer: asyncio.Timeout | None = None
        self.body = b""
        self.unread, self.replayed = True, False
        self.headers: tuple[tuple[bytes, bytes], ...] = (*API_HEADERS, (b"x-request-id", request_id.encode()))
        self.status, self.n_bytes = 0, 0
        self.authorization: bytes | None = None
        self.origin: bytes | None = None
        self.declared: int | None = None
        scope.setdefault("state", {})
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-length":
                self.declared = int(value) if value.isdigit() else None
            elif name == b"transfer-encoding":
                self.declared = -1
            elif name == b"origin":
                self.origin = value

    async def read_body(self) -> None:
        """The whole body, ahead of the app. Raises Refusal beyond the bound, and _Gone."""
        if self.declared is not None or self.scope["method"] in ("POST", "PUT"):
            self.check_declared()
            message = await self.bounded_receive()
            body, more = message.get("body", b""), message.get("more_body", False)
            if more:
                pieces = bytearray(body)
                while more:
                    message = await self.bounded_receive()
                    pieces += message.get("body", b"")
                    more = message.get("more_body", False)
                body = bytes(pieces)
            self.body = body
        self.unread = False

    def check_declared(self) -> None:
        """Raises Refusal for a body that says it is beyond the bound."""
        if self.declared is not None and self.declared > self.bound:
            raise self._too_large()

    async def bounded_receive(self) -> Message:
        """The next piece of the body, from the wire. Raises Refusal beyond the bound, and _Gone."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise self._too_large()
        return message

    async def replay(self) -> Message:
        """The body that was read ahead, once; then what the wire says."""
        if self.replayed:
            return await self.receive()
        self.replayed = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Pass an answer on, with the headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self.headers]
        else:
            self.n_bytes += len(message.get("body", b""))
        await self._send(message)

    async def respond(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """An error, unless an answer has begun: then the connection ends with it torn."""
        if self.status:
            return
        self.scope["state"]["code"] = code
        body = error_json(code, message, details)
        more = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if self.unread and self.declared is not None:
            more.append((b"connection", b"close"))  # or the server would wait for the rest of the body
        await self._begin(status, [(b"content-type", b"application/json"), *more], body)

    async def respond_empty(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """An answer without a body."""
        await self._begin(status, list(headers), b"")

    async def _begin(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        if body:
            headers.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def seen(self, seconds: float) -> Seen:
        """What observers may know."""
        state = self.scope["state"]
        return Seen(
            self.request_id,
            "none" if self.route is None else self.route.method,
            "none" if self.route is None else self.route.pattern,
            state.get("mode", ""),
            self.status or GONE,
            state.get("code", ""),
            seconds,
            self.n_bytes,
            self.caller.app,
            self.caller.key_id,
        )

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"body: must be at most {self.bound} bytes")
