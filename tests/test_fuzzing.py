"""The fuzzing of the HTTP applications can fail: it finds what must not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from tests.fuzzing import EVERY_CHECK, Exempt, fuzz


def teapot(n: int) -> Response:
    return Response(status_code=418 if n > 1_000 else 200, media_type="application/json", content=b"null")


def broken(n: int) -> Response:
    return Response(status_code=500 if n > 1_000 else 200, media_type="application/json", content=b"null")


def mislabelled(n: int) -> Response:
    return Response(media_type="text/html", content=b"null")


def otherwise(n: int) -> Response:
    return Response(media_type="application/json", content=b"3")


def picky(n: int) -> Response:
    return Response(status_code=422, media_type="application/json", content=b'{"detail": []}')


def sound(n: int) -> None:
    return None


def application(route: Callable[..., object], **described: Any) -> FastAPI:
    app = FastAPI()
    app.get("/thing", response_model=None, **described)(route)
    return app


def unreadable(request: Request) -> None:
    """Declares a number and takes anything."""


def unkeyed(request: Request) -> None:
    """Declares a key and takes anybody."""


def unasked(request: Request) -> Response:
    return Response(b"null", media_type="application/json")


PLANTED: dict[str, Callable[[], FastAPI]] = {
    "status_code_conformance": lambda: application(teapot),
    "not_a_server_error": lambda: application(broken),
    "content_type_conformance": lambda: application(mislabelled),
    "response_schema_conformance": lambda: application(
        otherwise, responses={200: {"content": {"application/json": {"schema": {"type": "string"}}}}}
    ),
    "response_headers_conformance": lambda: application(
        sound, responses={200: {"headers": {"ETag": {"required": True, "schema": {"type": "string"}}}}}
    ),
    "positive_data_acceptance": lambda: application(picky),
    "negative_data_rejection": lambda: application(
        unreadable,
        openapi_extra={"parameters": [{"name": "n", "in": "query", "required": True, "schema": {"type": "integer"}}]},
    ),
    "missing_required_header": lambda: application(
        unreadable,
        openapi_extra={"parameters": [{"name": "x-a", "in": "header", "required": True, "schema": {"type": "string"}}]},
    ),
    "unsupported_method": lambda: _with_more_methods(application(sound)),
    "ignored_auth": lambda: application(unkeyed, dependencies=[Depends(HTTPBearer(auto_error=False))]),
    "allow_header_conformance": lambda: _with_options(application(sound)),
}


def _with_more_methods(app: FastAPI) -> FastAPI:
    app.add_route("/thing", unasked, methods=["PATCH", "DELETE"], include_in_schema=False)
    return app


def _with_options(app: FastAPI) -> FastAPI:
    async def options(request: Request) -> Response:
        return Response(None, 405, {"allow": "GET, DELETE"})

    app.add_route("/thing", options, methods=["OPTIONS"], include_in_schema=False)
    return app


@pytest.mark.parametrize("check", PLANTED)
def test_what_must_not_be_is_found(check: str) -> None:
    found = fuzz(PLANTED[check](), 40, seed=0).failures
    assert (check, "GET /thing") in found, found


def test_every_check_but_those_of_sequences_is_planted() -> None:
    sequences = {"use_after_free", "ensure_resource_availability", "object_level_authorization"}
    assert set(EVERY_CHECK) == set(PLANTED) | sequences


def test_an_exempt_check_is_left_out_on_its_route_and_no_other() -> None:
    app = application(picky)
    app.get("/other", response_model=None)(picky)
    exempt = Exempt("positive_data_acceptance", ("GET /thing",), "it refuses everything")
    found = fuzz(app, 5, exempt=[exempt], seed=0).failures
    assert {label for check, label in found if check == "positive_data_acceptance"} == {"GET /other"}


def test_a_sound_application_passes_and_every_route_is_asked() -> None:
    found = fuzz(application(sound), 10, seed=0)
    assert found.failures == {}
    assert found.cases["GET /thing"] >= 10
