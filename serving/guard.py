"""The outermost layer, pure ASGI: a request id, a bound on the body, and no error without the one shape.

An unexpected error is logged by type and place only: its text and its frames may hold what the body held.
"""

from __future__ import annotations

import json
import logging
import traceback
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.refusal import Refusal

log = logging.getLogger("ownshelf.serving")


def error_json(code: str, message: str, details: Mapping[str, Any] | None = None) -> bytes:
    """The one error body."""
    return json.dumps({"error": {"code": code, "message": message, "details": dict(details or {})}}).encode()


class Guard:
    """Wraps an application; holds nothing between requests."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, streamed: Collection[str] = ()) -> None:
        """streamed: paths whose own route bounds the body while it arrives."""
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.streamed = streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        started = False
        left = self.max_body_bytes

        async def named_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        async def bounded_receive() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        try:
            if scope["path"] in self.streamed:
                await self.app(scope, receive, named_send)
                return
            if _declared_length(scope) > self.max_body_bytes:
                raise self._too_large()
            await self.app(scope, bounded_receive, named_send)
        except Refusal as refusal:
            if not started:
                await _respond(named_send, 413, error_json(refusal.code, str(refusal), refusal.details))
        except Exception as error:  # noqa: BLE001  # the last resort: whatever it is, it must not be logged whole
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("%s at %s:%s request_id=%s", type(error).__name__, place.filename, place.lineno, request_id)
            if not started:
                await _respond(named_send, 500, error_json("internal", "internal error", {"request_id": request_id}))

    def _too_large(self) -> Refusal:
        return Refusal("body_too_large", f"body: must be at most {self.max_body_bytes} bytes")


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
