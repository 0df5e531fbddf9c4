from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Iterator

import httpx
import pytest

from data.errors import ServingError
from federation.device.asking.bounded_answer import read_bounded, read_json
from federation.device.asking.client import fetch_catalogue
from federation.device.delivery import RetryPolicy, fetch_task


def answer_of(content: bytes, encoding: str | None = None, status: int = 200) -> httpx.Response:
    def pieces() -> Iterator[bytes]:
        yield from (content[at : at + 65_536] for at in range(0, len(content), 65_536))

    headers = {} if encoding is None else {"content-encoding": encoding}
    return httpx.Response(status, headers=headers, content=pieces())


@pytest.mark.parametrize("encoding", [None, "identity", "gzip", "GZIP"])
def test_an_answer_within_the_bound_is_read_whole(encoding: str | None) -> None:
    packed = gzip.compress(b"x" * 1_000) if encoding in ("gzip", "GZIP") else b"x" * 1_000
    assert read_bounded(answer_of(packed, encoding), "file", 1_000) == b"x" * 1_000
    with pytest.raises(ServingError, match="file: larger than 999 bytes"):
        read_bounded(answer_of(packed, encoding), "file", 999)


def test_a_bomb_is_refused_without_being_unpacked() -> None:
    bomb = gzip.compress(bytes(200 * 2**20), 9)
    assert len(bomb) < 250_000
    tracemalloc.start()
    with pytest.raises(ServingError, match="larger than 1000000 bytes"):
        read_bounded(answer_of(bomb, "gzip"), "file", 1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate"])
def test_encodings_that_were_not_asked_for_are_refused(encoding: str) -> None:
    with pytest.raises(ServingError, match="must be gzip or none"):
        read_bounded(answer_of(b"", encoding), "file", 10)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"x" * 100, mtime=0)[:-9]], ids=["no gzip", "cut off"])
def test_broken_gzip_is_refused(content: bytes) -> None:
    with pytest.raises(ServingError, match=r"is no gzip|is cut off"):
        read_bounded(answer_of(content, "gzip"), "file", 1_000)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000], ids=["empty", "list", "torn", "deep"])
def test_what_is_no_json_object_is_nothing(content: bytes) -> None:
    assert read_json(answer_of(content), "answer") is None
    assert read_json(answer_of(b'{"a": 1}'), "answer") == {"a": 1}


def test_no_way_of_asking_unpacks_a_bomb() -> None:
    bomb = gzip.compress(bytes(300 * 2**20), 9)

    def service(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "gzip"
        status = 404 if "catalogue" in request.url.path else 200
        return answer_of(bomb, "gzip", status)

    with httpx.Client(transport=httpx.MockTransport(service), base_url="http://localhost") as client:
        tracemalloc.start()
        with pytest.raises(ServingError, match="larger than"):
            fetch_catalogue(client, None)
        with pytest.raises(ServingError, match="larger than"):
            fetch_task(client, RetryPolicy(attempts=1), random.Random(0))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 40_000_000
