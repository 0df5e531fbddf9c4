from __future__ import annotations

import pytest

from data.errors import ServingError
from serving.http.cross_origin import CrossOrigin
from serving.http.resources.bundle_routes import DELTA_HEADER


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


def test_a_page_may_read_the_headers_that_an_answer_means_something_by() -> None:
    (exposed,) = [value for name, value in CrossOrigin(["*"]).headers(None) if name.endswith(b"expose-headers")]
    assert set(exposed.decode().split(", ")) == {DELTA_HEADER, "etag", "location", "retry-after", "x-request-id"}


@pytest.mark.parametrize("origin", ["https://shop.example", "http://localhost:3000", "https://[::1]:8443"])
def test_origins_are_taken_exactly(origin: str) -> None:
    allowed = CrossOrigin([origin])
    assert (b"access-control-allow-origin", origin.encode()) in allowed.headers(origin.encode())
    assert allowed.headers(origin.upper().encode()) == ((b"vary", b"origin"),)
