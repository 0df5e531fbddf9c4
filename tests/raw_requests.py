"""Bytes that a client would never send, for both servers: requests bent at random, and what came back, judged."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PATHS = {
    "service": (
        "/healthz", "/v1/federation/task", "/v1/federation/reports", "/v1/recommendations", "/v1/items/a%2Fb/similar",
        "/v1/catalogue/x", "/metrics", "/openapi.json", "/v1/experiments/e/reports", "/dashboard", "/nothing",
    ),
    "custodian": (
        "/healthz", "/readyz", "/v1/rounds", "/v1/batches", "/v1/rounds/a/close", "/v1/key", "/metrics",
        "/v1/log/head", "/v1/log/proofs/a?since=0", "/v1/log/entries?start=0", "/nothing",
    ),
}  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "CONNECT", "get", "", "G\0T", "PRI")
LENGTHS = (
    "0", "5", "-1", "+5", "5.0", "0x10", "1e3", " 7", "", "5, 5", "²", "٣", "9" * 19, "9" * 5_000, "1" * 30_000,
    "0" * 5_000 + "3", "999999999999999999", "nan",
)  # fmt: skip
VALUES = ("", "a", "é", "\xff\xfe", "\x00", "\t", "a" * 9_000, "%00", '"', "chunked", "gzip", "100-continue", "close",
          "websocket", "h2c", "Bearer x", "application/octet-stream", "application/json", "keep-alive, upgrade",
          "shop.test", "x.y.z.w", "sha-256=:AAAA:")  # fmt: skip
ODD_PATHS = ("*", "", "http://x/y", "/%", "/%ff%fe", "/\xff", "/" + "a" * 9_000, "/a b", "//", "/?x=%zz", "a:1")
ODD_VERSIONS = ("HTTP/1.0", "HTTP/2", "HTTP/9.9", "ICY", "", "HTTP/1.1 x")
NAMES = ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Authorization",
         "Content-Type", "X-Ownshelf-Signature", "Content-Digest", "Accept-Encoding", "If-None-Match", "Range",
         "Origin", "Cookie", "X-Forwarded-For", "Te", "Trailer", "X\x00Y", "Bad Name", "",
         "Ünicode", "content-length")  # fmt: skip
BODIES = (b"", b"{}", b"OSR1", b"\0" * 50, b"[" * 5_000, b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\n", b"\xff" * 300,
          b"ffffffffffffffffff\r\n", b"GET / HTTP/1.1\r\n\r\n")  # fmt: skip
PATIENCE_S = 1.5
"""How long to wait for an answer to bytes that may be no whole request."""


def raw_request(chance: random.Random, server: str) -> bytes:
    """One request, bent in a few places."""
    path = chance.choice(PATHS[server])
    if chance.random() < 0.15:
        path = chance.choice(ODD_PATHS)
    method = chance.choice(METHODS[:6]) if chance.random() < 0.9 else chance.choice(METHODS)
    version = "HTTP/1.1" if chance.random() < 0.93 else chance.choice(ODD_VERSIONS)
    lines = [f"{method} {path} {version}"]
    if chance.random() < 0.95:
        lines.append("Host: shop.test")
    body = chance.choice(BODIES)
    if chance.random() < 0.5:
        lines.append(f"Content-Length: {chance.choice(LENGTHS) if chance.random() < 0.6 else len(body)}")
    if method == "POST" and chance.random() < 0.6:
        lines.append("Content-Type: application/octet-stream")
    lines += [f"{chance.choice(NAMES)}: {chance.choice(VALUES)}" for _ in range(chance.choice((0, 0, 1, 2, 3)))]
    ending = "\r\n" if chance.random() < 0.95 else chance.choice(("\n", "\r", "\r\n\x00"))
    content = (ending.join(lines) + ending * 2).encode("latin-1", "replace") + body
    bend = chance.random()
    if bend < 0.08:
        content = content[: chance.randrange(len(content) + 1)]
    elif bend < 0.16:
        at = chance.randrange(len(content))
        content = content[:at] + chance.randbytes(chance.randrange(1, 4)) + content[at + 1 :]
    elif bend < 0.18:
        content = chance.randbytes(chance.randrange(1, 200))
    return content


@dataclass
class Judged:
    """What became of many requests. unanswered: the server waited for more, or hung up without a word."""

    cases: int = 0
    answered: int = 0
    unanswered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[tuple[bytes, bytes]] = field(default_factory=list)


class Tracebacks(logging.Handler):
    """Counts log records that hold a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of one that does."""
        text = record.getMessage()
        if record.exc_info or "Traceback" in text:
            self.found.append(f"{record.name}: {text} {record.exc_info}")

    def __enter__(self) -> Tracebacks:
        for name in ("", "uvicorn.error", "asyncio"):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("", "uvicorn.error", "asyncio"):
            logging.getLogger(name).removeHandler(self)


def send_all(port: int, requests: Sequence[bytes], at_once: int = 40) -> Judged:
    """Each request on a connection of its own, and what it was answered."""
    return asyncio.run(_send_all(port, requests, at_once))


async def _send_all(port: int, requests: Sequence[bytes], at_once: int) -> Judged:
    judged, free = Judged(), asyncio.Semaphore(at_once)

    async def one(request: bytes) -> None:
        async with free:
            answer = await _answer(port, request)
        judged.cases += 1
        if not answer:
            judged.unanswered += 1
            return
        judged.answered += 1
        status = right_shape(answer, is_head=request.startswith(b"HEAD "))
        if status is None:
            judged.wrong.append((request, answer))
        else:
            judged.statuses[status] += 1

    await asyncio.gather(*(one(request) for request in requests))
    return judged


async def _answer(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            while not _is_whole(answer):
                piece = await reader.read(65_536)
                if not piece:
                    break
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return answer


def _is_whole(answer: bytes) -> bool:
    """Whether the first answer of several is there to its end."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or head.startswith(b"HTTP/1.1 100"):
        return False
    length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"")
    return length.strip().isdigit() and len(body) >= int(length)


def right_shape(answer: bytes, *, is_head: bool = False) -> int | None:
    """The status of an answer that is as promised: no error but in the one shape; None for any other."""
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    head, end, body = answer.partition(b"\r\n\r\n")
    line = head.split(b"\r\n")[0].split(b" ")
    if not end or not line[0].startswith(b"HTTP/1.") or len(line) < 2 or not line[1].isdigit():
        return None
    status = int(line[1])
    if status < 400 or is_head:
        return status
    length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
    try:
        found: Any = json.loads(body if length is None else body[: int(length)])
        error = found["error"]
    except (ValueError, KeyError, TypeError):
        return None
    ok = set(found) == {"error"} and set(error) == {"code", "message", "details"} and isinstance(error["code"], str)
    return status if ok else None
