"""What the OpenAPI document says of every route alike: which scopes of a key open it, the headers of its answers."""

from __future__ import annotations

from typing import Any

from serving.access import RouteTable

SCHEME = "api_key"
_REQUEST_ID = {
    "description": "Names this request in the log.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_RETRY_AFTER = {"description": "Seconds until asking again makes sense.", "schema": {"type": "integer", "minimum": 0}}
_CHALLENGE = {"description": "How to say who asks.", "schema": {"type": "string"}}


def describe_keys(schema: dict[str, Any], *, is_open: bool) -> None:
    """Write into a document: any one of the scopes of a route's line opens it, and without a key nothing does.

    is_open: requests without a key are answered, but for routes that need one even then.
    """
    schema.setdefault("components", {})["securitySchemes"] = {
        SCHEME: {
            "type": "http",
            "scheme": "bearer",
            "description": "A key of `ownshelf keys create` or `POST /v1/keys`; the names beside it are its scopes.",
        }
    }
    table = RouteTable()
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            route = table.find(method.upper(), path)
            scopes = sorted(route.scopes) if route is not None else []
            needless = bool(scopes) and is_open and route is not None and not route.keyed
            operation["security"] = [*([{}] if needless else []), *({SCHEME: [scope]} for scope in scopes)]


def describe_headers(schema: dict[str, Any]) -> None:
    """Write into a document the headers that every answer of a status has."""
    for methods in schema["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                headers = answer.setdefault("headers", {})
                headers["X-Request-ID"] = _REQUEST_ID
                if status in ("204", "429", "503"):
                    headers.setdefault("Retry-After", _RETRY_AFTER | {"required": status == "429"})
                if status == "401":
                    headers["WWW-Authenticate"] = _CHALLENGE
