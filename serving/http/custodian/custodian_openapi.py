"""How the custodian's routes describe themselves in OpenAPI: bytes in, bytes out, both signed in headers."""

from __future__ import annotations

from typing import Any

from federation.protocol.request_signing import DIGEST_HEADER, HEADER
from serving.http.bodies import ErrorAnswer

BYTES = "application/octet-stream"


def responses(status: int | None, what: str | None, *refusals: int, content: str = BYTES) -> dict[int | str, Any]:
    """Describe a good answer and the refusals of a route.

    status and what: of the good answer; no status: as FastAPI finds it.
    """
    good: dict[int | str, Any] = {}
    if status is not None:
        good[status] = {"description": what or "Done"} | ({"content": {content: {}}} if what else {})
    return good | {code: {"model": ErrorAnswer, "description": "Refused"} for code in (*refusals, 500)}


def signature_parameters() -> list[dict[str, Any]]:
    """Describe both headers of a signed request."""
    what = {HEADER: "key id.unix time.nonce.signature", DIGEST_HEADER: "sha-256=:…: of the body, RFC 9530"}
    return [
        {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in what.items()
    ]


def signed_body(what: str) -> dict[str, Any]:
    """Describe a signed request with a body of bytes."""
    content = {BYTES: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "parameters": signature_parameters(),
        "requestBody": {"required": True, "description": what, "content": content},
    }
