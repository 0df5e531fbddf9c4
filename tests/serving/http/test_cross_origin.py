from __future__ import annotations

import pytest

from data.errors import ServingError
from serving.http.cross_origin import CrossOrigin


@pytest.mark.parametrize(
    "origin",
    ["", "shop.example", "https://shop.example/", "https://", "ftp://a", "https://*.example", "null", "https://u@a"],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ServingError, match="cors_origins="):
        CrossOrigin([origin])


def test_any_is_alone() -> None:
    with pytest.raises(ServingError, match="must be alone"):
        CrossOrigin(["*", "https://shop.example"])


@pytest.mark.parametrize("origin", ["https://shop.example", "http://localhost:3000", "https://[::1]:8443"])
def test_origins_are_taken_exactly(origin: str) -> None:
    allowed = CrossOrigin([origin])
    assert (b"access-control-allow-origin", origin.encode()) in allowed.headers(origin.encode())
    assert allowed.headers(origin.upper().encode()) == ((b"vary", b"origin"),)
