"""Opens what a relay passes on (RFC 9458), has the service itself answer it, and seals the answer.

The request inside goes through the same guard as any other: keys, bounds, tokens and the one error shape hold there.
Only what gains from it is let in: reports, and lists by cluster. A request must be whole before it opens, so that no
token can be looked at first: bodies on their way in have memory of their own, and keep nobody's direct report out.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from federation.protocol.oblivious.binary_http import BinaryAnswer, BinaryHttpRefused, BinaryRequest, Headers
from federation.protocol.oblivious.encapsulation import (
    ANSWER_TYPE,
    KEYS_TYPE,
    OVERHEAD_BYTES,
    REQUEST_TYPE,
    GatewayKey,
    ObliviousRefused,
    keys_to_bytes,
    seal_answer,
)
from serving.http.bodies import refusals
from serving.http.declared_length import declared_length
from serving.http.guard import error_json
from serving.http.statuses import STATUS
from serving.refusal import Refusal

RECOMMEND = "/v1/recommendations"
REPORTS = re.compile(r"/v1/(?:federation|experiments/[A-Za-z0-9._:-]{1,64})/reports", re.ASCII)
HEAD_BYTES = 4_096
"""Of a request inside, beside its content."""
HEADERS_IN = frozenset((b"content-type", b"authorization"))
HEADERS_OUT = frozenset((b"content-type", b"retry-after"))
RETRY_S = 5
_BINARY = {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class GatewayBounds:
    """memory_bytes: of all bodies on their way in. timeout_s: for one of them."""

    memory_bytes: int = 64 * 2**20
    timeout_s: float = 60.0


def add_gateway(
    app: FastAPI, key: GatewayKey, max_content_bytes: Callable[[], int], bounds: GatewayBounds | None = None
) -> None:
    """Mount the gateway on an app of create_app. max_content_bytes: of the largest request that is let in."""
    gateway = _Gateway(app, key, max_content_bytes, bounds or GatewayBounds())

    @app.get(
        "/ohttp-keys",
        summary="The key that requests through a relay are sealed to",
        description="RFC 9458. A device pins it from outside of the service, as it pins the custodian's.",
        response_class=Response,
        responses={200: {"content": {KEYS_TYPE: {}}, "description": "Key configurations"}},
    )
    async def keys() -> Response:
        return Response(keys_to_bytes((key.config,)), 200, {"cache-control": "public, max-age=3600"}, KEYS_TYPE)

    @app.post(
        "/ohttp",
        summary="A request that a relay passes on, sealed",
        description="Inside may be: a report, or POST /v1/recommendations in mode `cluster`.",
        response_class=Response,
        responses={
            200: {"content": {ANSWER_TYPE: {}}, "description": "The answer, sealed"},
            **refusals(413, 415, 422, 503),
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {REQUEST_TYPE: {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def oblivious(request: Request) -> Response:
        return await gateway.answer(request)


class _Gateway:
    def __init__(self, app: FastAPI, key: GatewayKey, max_content: Callable[[], int], bounds: GatewayBounds) -> None:
        self._app, self._key, self._max_content, self._bounds = app, key, max_content, bounds
        self._left = bounds.memory_bytes

    async def answer(self, request: Request) -> Response:
        """Answer one request of a relay. Raises Refusal for what does not open, which alone is not sealed."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != REQUEST_TYPE:
            raise Refusal("unsupported_media_type", f"content-type: must be {REQUEST_TYPE}")
        reserved = 0
        bound = self._max_content() + HEAD_BYTES + OVERHEAD_BYTES
        length = declared_length(request.headers.get("content-length", ""))
        if length is not None and length > bound:
            raise _too_large(bound)
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(self._bounds.timeout_s):
                    async for piece in request.stream():
                        if len(body) + len(piece) > bound:
                            raise _too_large(bound)
                        if len(piece) > self._left:
                            raise _busy("requests: too many are on their way in")
                        self._left -= len(piece)
                        reserved += len(piece)
                        body += piece
            except TimeoutError:
                raise _busy(f"body: must be sent within {self._bounds.timeout_s:g} s") from None
            except ClientDisconnect:
                return Response(None, 503)  # nobody reads it
            try:
                message, context = self._key.open_request(bytes(body))
                asked = BinaryRequest.from_bytes(message)
            except (ObliviousRefused, BinaryHttpRefused) as error:
                raise Refusal("invalid_request", str(error)) from None
            answer = await self._ask(asked)
            return Response(seal_answer(answer.to_bytes(), context), 200, {"cache-control": "no-store"}, ANSWER_TYPE)
        finally:
            self._left += reserved

    async def _ask(self, asked: BinaryRequest) -> BinaryAnswer:
        """Have the whole service answer, guard included. What is not let in gets its one error shape."""
        refused = _refused(asked)
        if refused is not None:
            content = error_json(refused.code, str(refused))
            return BinaryAnswer(STATUS[refused.code], ((b"content-type", b"application/json"),), content)
        headers = [(name, value) for name, value in asked.headers if name in HEADERS_IN]
        length = (b"content-length", str(len(asked.content)).encode())
        inner = _Inner(asked.content)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": asked.path.decode("ascii"),
            "raw_path": asked.path,
            "query_string": b"",
            "root_path": "",
            "headers": [*headers, length],
            "client": None,  # nobody here knows who it is
            "server": None,
            "state": {},
        }
        await asyncio.create_task(self._app(scope, inner.receive, inner.send))  # with deadlines of its own
        return BinaryAnswer(inner.status, inner.headers, bytes(inner.content))


class _Inner:
    """One request inside, as the service reads it, and the answer as it comes."""

    def __init__(self, content: bytes) -> None:
        self._unread: bytes | None = content
        self.status, self.content = 500, bytearray()
        self.headers: Headers = ()

    async def receive(self) -> Message:
        if self._unread is None:
            return {"type": "http.disconnect"}
        body, self._unread = self._unread, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = tuple((name, value) for name, value in message["headers"] if name in HEADERS_OUT)
        else:
            self.content += message.get("body", b"")


def _refused(asked: BinaryRequest) -> Refusal | None:
    """Say why a request is not let in: another method or path than the list has, or a question with a profile."""
    path = asked.path.decode("latin-1")
    if path != RECOMMEND and not REPORTS.fullmatch(path):
        return Refusal("not_found", "path: through a relay there are reports and lists by cluster alone")
    if asked.method != b"POST":
        return Refusal("method_not_allowed", "method: must be POST through a relay")
    if path == RECOMMEND and not _is_coarse(asked.content):
        return Refusal("invalid_request", "mode: must be cluster through a relay, or the trend")
    return None


def _is_coarse(content: bytes) -> bool:
    """Tell whether a question names clusters, or has no profile and asks for the trend."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return False
    if not isinstance(body, dict):
        return False
    return body.get("mode") == "cluster" or (body.get("mode") == "profile" and body.get("profile") is None)


def _too_large(bound: int) -> Refusal:
    return Refusal("body_too_large", f"body: must be at most {bound} bytes", headers={"connection": "close"})


def _busy(why: str) -> Refusal:
    return Refusal("intake_unavailable", why, headers={"retry-after": str(RETRY_S), "connection": "close"})
