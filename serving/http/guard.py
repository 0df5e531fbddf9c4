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

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from federation.storage.database import reason_of
from serving.access import NOBODY, PUBLISHED, Access, Caller, Route, RouteTable
from serving.http.cross_origin import CrossOrigin, Headers
from serving.http.deadlines import Deadlines
from serving.http.declared_length import declared_length
from serving.http.json_depth import deeper_than
from serving.http.rates import KeyRates
from serving.http.request_record import Observer, RequestRecord
from serving.refusal import Refusal

log = logging.getLogger("ownshelf.serving")

PAGE_HEADERS: Headers = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
API_POLICY = "default-src 'none'; frame-ancestors 'none'"
POLICY_NAME = b"content-security-policy"
API_HEADERS: Headers = (*PAGE_HEADERS, (POLICY_NAME, API_POLICY.encode()))
HSTS = (b"strict-transport-security", b"max-age=31536000")
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own, which environment variables switch on: it tells of paths, addresses and user agents. Ours does not."""
RETRY = {"retry-after": "5"}
GONE = 499
"""Counted for a request whose sender left before there was an answer."""


@dataclass(frozen=True)
class GuardBounds:
    """max_depth: of JSON brackets; None looks at no body. timeout_s: of a whole request; None has no bound."""

    max_body_bytes: int
    max_depth: int | None = None
    timeout_s: float | None = None


def error_json(code: str, message: str, details: Mapping[str, Any] | None = None) -> bytes:
    """Write the one error body."""
    return json.dumps(
        {"error": {"code": code, "message": message, "details": dict(details or {})}}, allow_nan=False
    ).encode()


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
        self._deadlines = None if bounds.timeout_s is None else Deadlines(bounds.timeout_s)
        self._statuses = statuses
        self._access = access
        self._table = RouteTable()
        self._rates = rates
        self._origins = origins
        self._observers = observers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the application's own start and end; there are no web sockets."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        begun = perf_counter()
        if scope["method"] == "HEAD":  # what GET answers, without its body
            one = _Exchange({**scope, "method": "GET"}, receive, send, self._bounds.max_body_bytes, head=True)
        else:
            one = _Exchange(scope, receive, send, self._bounds.max_body_bytes)
        refusal: Refusal | None = None
        failed: str | None = None
        deadlines = self._deadlines
        task = None if deadlines is None else deadlines.enter()
        try:
            if self._access is None:
                one.check_declared()
                await self.app(one.scope, one.bounded_receive, one.send)
            else:
                await self._answer(one, self._access, task)
        except Refusal as found:
            refusal = found
        except _ClientGone:
            pass
        except asyncio.CancelledError:
            if deadlines is None or task is None or not deadlines.leave(task):
                raise
            refusal = Refusal("timed_out", f"request: must be answered within {deadlines.timeout_s:g} s")
        except SQLAlchemyError as error:
            log.error("state: cannot be used (%s) request_id=%s", reason_of(error), one.request_id)
            refusal = Refusal("state_unavailable", "state: cannot be used now, ask again later", headers=RETRY)
        except Exception as error:  # noqa: BLE001  # the last resort: whatever it is, it must not be logged whole
            place = traceback.extract_tb(error.__traceback__)[-1]
            failed = f"{type(error).__name__} at {place.filename}:{place.lineno}"
        finally:
            if deadlines is not None and task is not None:
                deadlines.leave(task)
        # Not while the error is handled: a log handler that fails then prints it whole, as the context of its own.
        if failed is not None:
            log.error("%s request_id=%s", failed, one.request_id)
            await one.respond(500, "internal", "internal error", {"request_id": one.request_id})
        elif refusal is not None:
            status = self._statuses[refusal.code]
            await one.respond(status, refusal.code, str(refusal), refusal.details, refusal.headers)
        if self._observers:
            seen = one.seen(perf_counter() - begun)
            for observer in self._observers:
                observer(seen)

    async def _answer(self, one: _Exchange, access: Access, task: asyncio.Task[Any] | None) -> None:
        scope = one.scope
        method, path = scope["method"], scope["path"]
        origins = self._origins
        if origins is not None:
            one.headers = (*one.headers, *origins.headers(one.origin))
            if method == "OPTIONS" and one.origin is not None:
                await one.begin(204, list(origins.preflight(one.origin)), b"")
                return
        route = one.route = self._table.find(method, path)
        if route is None:
            raise self._no_route(path)
        receive: Receive = one.replay
        if not route.streamed:
            await one.read_body()
        else:
            receive = one.receive
            if self._deadlines is not None and task is not None:
                self._deadlines.leave(task)
        caller = one.caller = scope["state"]["caller"] = access.admit(route, one.authorization)
        if self._rates is not None and caller.key_id is not None and caller.scopes != PUBLISHED:
            self._rates.take(caller.key_id)
        depth = self._bounds.max_depth
        if depth is not None and one.body and deeper_than(one.body, depth):
            raise Refusal("invalid_request", f"body: must be nested at most {depth} deep", {"max_depth": depth})
        await self.app(scope, receive, one.send)

    def _no_route(self, path: str) -> Refusal:
        methods = self._table.methods(path)
        if methods:
            allowed = sorted([*methods, "HEAD"]) if "GET" in methods else methods
            return Refusal("method_not_allowed", "method: not of this path", headers={"allow": ", ".join(allowed)})
        return Refusal("not_found", "path: there is nothing here")


class _ClientGone(Exception):
    """Whoever asked has left."""


class _Exchange:
    """One request and its answer. head: the answer's body is left out, though its length is told."""

    __slots__ = (
        "_send", "authorization", "body", "bound", "caller", "declared", "head", "headers", "left", "n_bytes", "origin",
        "receive", "replayed", "request_id", "route", "scope", "state", "status", "unread",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_body_bytes: int, *, head: bool = False) -> None:
        self.scope = scope
        self.head = head
        self.state = scope.setdefault("state", {})
        self.receive = receive
        self._send = send
        self.bound = self.left = max_body_bytes
        self.request_id = os.urandom(16).hex()
        self.headers: Headers = API_HEADERS if scope["scheme"] != "https" else (*API_HEADERS, HSTS)
        self.route: Route | None = None
        self.caller: Caller = NOBODY
        self.body = b""
        self.unread, self.replayed = True, False
        self.status = self.n_bytes = 0
        self.authorization: bytes | None = None
        self.origin: bytes | None = None
        self.declared: int | None = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.declared = declared_length(value)
            elif name == b"authorization":
                self.authorization = value
            elif name == b"transfer-encoding":
                self.declared = -1
            elif name == b"origin":
                self.origin = value

    async def read_body(self) -> None:
        """Read the whole body, ahead of the app. Raises Refusal beyond the bound, and _ClientGone."""
        if self.declared is not None or self.scope["method"] in ("POST", "PUT"):
            self.check_declared()
            pieces, more = [], True
            while more:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGone
                piece, more = message.get("body", b""), message.get("more_body", False)
                self._count(piece)
                pieces.append(piece)
            self.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.unread = False

    def check_declared(self) -> None:
        """Check the declared length; raises Refusal for a body that says it is beyond the bound."""
        if self.declared is not None and self.declared > self.bound:
            raise self._too_large()

    async def bounded_receive(self) -> Message:
        """Receive the next piece of the body, from the wire. Raises Refusal beyond the bound."""
        message = await self.receive()
        self._count(message.get("body", b""))
        return message

    async def replay(self) -> Message:
        """Replay the body that was read ahead, once; then what the wire says."""
        if self.replayed:
            return await self.receive()
        self.replayed = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Pass an answer on, with the headers that every answer has; a page's own content policy stands for theirs."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            named, own = (b"x-request-id", self.request_id.encode()), list(message.get("headers", ()))
            added = self.headers
            if self.route is not None and self.route.page and any(name == POLICY_NAME for name, _ in own):
                added = tuple(header for header in added if header[0] != POLICY_NAME)
            message["headers"] = [*own, *added, named]
        else:
            if self.head:
                message = {**message, "body": b""}
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
        """Respond with an error, unless an answer has begun: then the connection ends with it torn."""
        if self.status:
            return
        self.state["code"] = code
        more = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        if self.unread and self.declared is not None:
            more.append((b"connection", b"close"))  # or the server would wait for the rest of the body
        body = error_json(code, message, details)
        length = (b"content-length", str(len(body)).encode())
        await self.begin(status, [(b"content-type", b"application/json"), length, *more], body)

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a whole answer."""
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def seen(self, seconds: float) -> RequestRecord:
        """Record what observers may know."""
        route, state = self.route, self.state
        return RequestRecord(
            self.request_id,
            "none" if route is None else "HEAD" if self.head else route.method,
            "none" if route is None else route.pattern,
            state.get("mode", ""),
            self.status or GONE,
            state.get("code", ""),
            seconds,
            self.n_bytes,
            self.caller.app,
            self.caller.key_id,
        )

    def _count(self, piece: bytes) -> None:
        self.left -= len(piece)
        if self.left < 0:
            raise self._too_large()

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"body: must be at most {self.bound} bytes")
