"""Reads an answer within a bound, unpacked: a megabyte of gzip may hold gigabytes, and httpx unpacks whatever comes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import httpx

from data.errors import ServingError

PACKED = {"accept-encoding": "gzip"}
"""Header of every question: other encodings are refused."""

MAX_ANSWER_BYTES = 8 * 2**20
"""Of an answer that is no file: lists, refusals, definitions of experiments."""

_GZIP = 16 + zlib.MAX_WBITS


def read_bounded(response: httpx.Response, name: str, most_bytes: int = MAX_ANSWER_BYTES) -> bytes:
    """Unpack the content of a streamed answer. Raises ServingError beyond most_bytes, and for other encodings."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ServingError(f"{name}: content-encoding={encoding[:40]!r}, must be gzip or none")
    unpack = zlib.decompressobj(_GZIP) if encoding == "gzip" else None
    if response.is_stream_consumed:  # a transport that holds whole answers: it is in memory, unpacked, already
        unpack, pieces = None, iter((response.content,))
    else:
        pieces = response.iter_raw()
    content = bytearray()
    for piece in pieces:
        try:
            content += piece if unpack is None else unpack.decompress(piece, most_bytes - len(content) + 1)
        except zlib.error:
            raise ServingError(f"{name}: is no gzip") from None
        if len(content) > most_bytes:
            raise ServingError(f"{name}: larger than {most_bytes} bytes")
    if unpack is not None and content and not unpack.eof:
        raise ServingError(f"{name}: is cut off")
    return bytes(content)


def read_json(response: httpx.Response, name: str) -> dict[str, Any] | None:
    """Read the JSON object of a streamed answer; None for anything else. Raises ServingError beyond the bound."""
    try:
        answer = json.loads(read_bounded(response, name))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None
