"""The fuzzing of the HTTP applications can fail: it finds what must not be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.responses import Response

from tests.fuzzing import fuzz


def teapot(n: int) -> Response:
    return Response(status_code=418 if n > 1_000 else 200, media_type="application/json", content=b"null")


def broken(n: int) -> Response:
    return Response(status_code=500 if n > 1_000 else 200, media_type="application/json", content=b"null")


def mislabelled(n: int) -> Response:
    return Response(media_type="text/html", content=b"null")


def sound(n: int) -> None:
    return None


def application(route: Callable[[int], object]) -> FastAPI:
    app = FastAPI()
    app.get("/thing", response_model=None)(route)
    return app


@pytest.mark.parametrize(
    ("route", "found"),
    [(teapot, "Undocumented status"), (broken, "Server error"), (mislabelled, "Undocumented Content-Type")],
)
def test_what_must_not_be_is_found(route: Callable[[int], object], found: str) -> None:
    with pytest.raises(BaseExceptionGroup, match=found):
        fuzz(application(route), examples=100)


def test_a_sound_application_passes_and_every_route_is_asked() -> None:
    assert fuzz(application(sound), examples=10)["GET /thing"] >= 10
