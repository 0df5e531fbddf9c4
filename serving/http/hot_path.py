"""The hot route, before any routing: the guard has read and admitted the request, what is left is to answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.refusal import Refusal

PATH = "/v1/recommendations"
_JSON = b"application/json"


class HotPath:
    """Wraps an application; answers one route of it by itself."""

    def __init__(self, app: ASGIApp, answer: Callable[[MutableMapping[str, Any], bytes], Awaitable[bytes]]) -> None:
        """answer: of the state of an ASGI scope and a body. Raises Refusal, which the guard turns into an answer."""
        self.app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        check_json(scope)
        body = await _body(receive)
        content = await self._answer(scope["state"], body)
        headers = [
            (b"content-type", _JSON),
            (b"content-length", b"%d" % len(content)),
            (b"cache-control", b"no-store"),
        ]
        start: Message = {"type": "http.response.start", "status": 200, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": content})


def check_json(scope: Scope) -> None:
    """Check that a body says that it is JSON; raises Refusal otherwise."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value == _JSON or value.partition(b";")[0].strip().lower() == _JSON:
                return
            break
    raise Refusal("unsupported_media_type", "content-type: must be application/json")


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body
