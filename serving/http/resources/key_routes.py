"""API keys over HTTP: an app's admin makes, lists and revokes the keys of that app, and knows of no other's."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path
from pydantic import Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from data.errors import ServingError
from serving.access import SCOPES, caller
from serving.http.bodies import Strict, invalid, refusals
from serving.refusal import Refusal
from serving.state.api_keys import check_scopes
from serving.state.key_book import KeyBook

Scope = Literal["app", "catalogue", "analyst", "admin", "device"]
_ALONE_OR_SOME: dict[str, Any] = {
    "anyOf": [
        {"type": "array", "items": {"const": "device"}, "minItems": 1, "maxItems": len(SCOPES)},
        {
            "type": "array",
            "items": {"enum": [scope for scope in SCOPES if scope != "device"]},
            "minItems": 1,
            "maxItems": len(SCOPES),
        },
    ]
}
_KEY_ID = Annotated[str, Path(min_length=1, max_length=64)]


class KeyRequest(Strict):
    """Which scopes the new key has. It belongs to the app of whoever asks; there is no field for another."""

    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES)), WithJsonSchema(_ALONE_OR_SOME)]


class KeyDescription(Strict):
    """A key without its secret. Times: seconds since 1970-01-01 UTC."""

    key_id: str
    app: str
    scopes: list[str]
    created_at: int
    revoked_at: int | None


class NewKey(Strict):
    """The key itself, this once: only its hash is stored."""

    key: str
    app: str
    scopes: list[str]


class KeyList(Strict):
    """Keys of one app, oldest first."""

    keys: list[KeyDescription]


def add_keys(app: FastAPI, book: KeyBook) -> None:
    """Mount the routes. What they change holds at once in this process, and within a second in every other."""
    keys = book.keys

    @app.post("/v1/keys", summary="Make an API key", status_code=201, responses=refusals(401, 403, 413, 422, 429, 503))
    def create(asked: KeyRequest, request: Request) -> NewKey:
        owner = caller(request.scope).app
        try:
            scopes = check_scopes(asked.scopes)
        except ServingError as error:
            raise invalid([{"loc": ("scopes",), "msg": str(error).partition(": ")[2], "type": "value_error"}]) from None
        key = keys.create(owner, scopes, int(time.time()))
        book.refresh()
        return NewKey(key=key, app=owner, scopes=list(scopes))

    @app.get("/v1/keys", summary="The app's API keys", responses=refusals(401, 403, 429, 503))
    def listed(request: Request) -> KeyList:
        rows = keys.all(caller(request.scope).app)
        return KeyList(
            keys=[
                KeyDescription(
                    key_id=entry.key_id,
                    app=entry.app,
                    scopes=list(entry.scopes),
                    created_at=entry.created_at,
                    revoked_at=entry.revoked_at,
                )
                for entry in rows
            ]
        )

    @app.delete(
        "/v1/keys/{key_id}",
        summary="Revoke an API key",
        status_code=204,
        response_class=Response,
        responses=refusals(401, 403, 404, 422, 429, 503),
    )
    def revoke(key_id: _KEY_ID, request: Request) -> Response:
        try:
            keys.revoke(key_id, int(time.time()), caller(request.scope).app)
        except ServingError:
            raise Refusal("unknown_key", "key_id: is no key of this app that is good") from None
        book.refresh()
        return Response(None, 204)
