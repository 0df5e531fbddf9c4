"""Takes reports as they arrive, whichever desk they are for: token first, then room for the rest, then the rest.

Until a token is known to be good, a connection costs what it has sent and a few seconds. Only then is room reserved for
what it declares, so that whoever has no token can keep nobody's report out.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from data.errors import ReportRejected, ServingError
from federation.private_sum.refusals import OversizedReport
from federation.protocol.report_head import MAX_HEAD_BYTES, ReportHead, read_head
from federation.protocol.tokens.report_token import Right
from federation.service.intake.intake import Intake
from federation.service.intake.report_refusals import IntakeUnavailable, StaleReport, code_of
from federation.service.intake.report_store import Status
from serving.http.bodies import refusals
from serving.http.declared_length import declared_length
from serving.http.metrics import Metrics
from serving.http.resources.federation_bodies import ReportAnswer
from serving.refusal import Refusal

OCTETS = "application/octet-stream"
BUSY_RETRY_S = 5


@dataclass(frozen=True)
class IntakeSettings:
    """memory_bytes: of report bodies on their way in; more is told to come back.

    body_timeout_s: for all of a body. head_timeout_s: for a report's front, up to its token. issuer_share: the most of
    the memory that reports with one issuer's tokens may have.
    """

    memory_bytes: int = 256 * 2**20
    body_timeout_s: float = 120.0
    head_timeout_s: float = 10.0
    issuer_share: float = 0.75

    def __post_init__(self) -> None:
        bounds = (("memory_bytes", 2**40), ("issuer_share", 1), ("head_timeout_s", 3_600), ("body_timeout_s", 3_600))
        for name, high in bounds:
            if not 0 < getattr(self, name) <= high:
                raise ServingError(f"intake.{name}={getattr(self, name)}: must be above 0 and at most {high}")


class ReportDesk(Protocol):
    """Who takes reports: a coordinator of training rounds, or of experiments' windows."""

    @property
    def intake(self) -> Intake:
        """Where they come in."""

    def max_report_bytes(self) -> int:
        """Return the length of the longest one that any round can have."""

    def come_back_s(self, now: int) -> int:
        """Seconds until asking for a next task makes sense."""


REPORT_ROUTE: dict[str, Any] = {
    "status_code": 201,
    "response_model": ReportAnswer,
    "responses": {
        200: {"model": ReportAnswer, "description": "Was accepted before"},
        **refusals(401, 403, 409, 410, 413, 415, 422, 503),
    },
    "openapi_extra": {
        "requestBody": {"required": True, "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}}}
    },
}
"""How a route that takes reports describes itself."""


@dataclass(frozen=True)
class Receiver:
    """Takes reports from requests; all routes share the memory."""

    settings: IntakeSettings
    metrics: Metrics
    memory: Memory

    @staticmethod
    def of(settings: IntakeSettings | None, metrics: Metrics) -> Receiver:
        """Make a receiver with all its memory free."""
        chosen = settings or IntakeSettings()
        return Receiver(chosen, metrics, Memory(chosen.memory_bytes, int(chosen.memory_bytes * chosen.issuer_share)))

    async def take(self, request: Request, desk: ReportDesk) -> Response:
        """Take one report and answer it, once it is durable. Raises Refusal."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
            raise Refusal("unsupported_media_type", f"content-type: must be {OCTETS}")
        upload = _Upload(desk)
        try:
            status = await self._receive(upload, request)
        except ReportRejected as refusal:
            upload.count(refusal)
            self.metrics.report(code_of(refusal), upload.issuer)
            raise _refusal(refusal, desk, upload.ending) from None
        except ClientDisconnect:
            return Response(None, 503)  # nobody reads it
        self.metrics.report(status, upload.issuer)
        answer = ReportAnswer(report_id=upload.report_id, status=status, come_back_s=desk.come_back_s(int(time.time())))
        return Response(answer.model_dump_json(), 201 if status == "accepted" else 200, media_type="application/json")

    async def _receive(self, upload: _Upload, request: Request) -> Status:
        """Head, room, body, in this order. Raises ReportRejected."""
        upload.check_length(request.headers.get("content-length"))
        pieces, settings = request.stream(), self.settings
        end = asyncio.get_running_loop().time() + settings.body_timeout_s
        async with _within(min(settings.head_timeout_s, settings.body_timeout_s), "head"):
            await upload.read_head(pieces)
        with self.memory.reserved(upload.right, upload.expected_bytes):
            async with _within(settings.body_timeout_s, "body", end):
                async for piece in pieces:
                    upload.add(piece)
            return await upload.finish()


@asynccontextmanager
async def _within(seconds: float, what: str, end: float | None = None) -> AsyncIterator[None]:
    """Raise IntakeUnavailable for what was not sent so many seconds from now, or by `end` of the loop's clock."""
    limit = asyncio.timeout(seconds) if end is None else asyncio.timeout_at(end)
    try:
        async with limit:
            yield
    except TimeoutError:
        raise IntakeUnavailable(f"{what}: must be sent within {seconds:g} s") from None


class _Upload:
    """One report on its way in."""

    def __init__(self, desk: ReportDesk) -> None:
        self._intake = desk.intake
        self._bound = desk.max_report_bytes()
        self._body = bytearray()
        self._head: ReportHead | None = None
        self._found: Right | ReportRejected | None = None
        self._counted, self._promised = False, False

    @property
    def report_id(self) -> str:
        return "" if self._head is None else self._head.report_id.hex()

    @property
    def right(self) -> Right | None:
        """What its token is good for, where that is known."""
        return self._found if isinstance(self._found, Right) else None

    @property
    def issuer(self) -> str:
        """Whose token it carries; "" where that is not known, or it is not good."""
        return "" if self.right is None else self.right.issuer

    @property
    def expected_bytes(self) -> int:
        """Length of the report as its head says."""
        return len(self._body) if self._head is None else max(self._head.report_bytes, len(self._body))

    @property
    def ending(self) -> dict[str, str]:
        """Headers of an early answer. The server goes on receiving what was promised, unless it is told to hang up."""
        return {} if self._promised else {"connection": "close"}

    def check_length(self, declared: str | None) -> None:
        """Raise OversizedReport for a body that says it is too long."""
        length = None if declared is None else declared_length(declared)
        if length is not None and length > self._bound:
            raise OversizedReport(f"report: must be at most {self._bound} bytes")
        self._promised = length is not None

    async def read_head(self, pieces: AsyncIterator[bytes]) -> None:
        """Read until the head is there, or the body ends, and judge it. Raises ReportRejected."""
        async for piece in pieces:
            self.add(piece)
            if len(self._body) >= MAX_HEAD_BYTES:
                break
        head = read_head(bytes(self._body[:MAX_HEAD_BYTES]))
        found = self._intake.screen(head, int(time.time()))
        if isinstance(found, StaleReport):  # another host may have opened its round a moment ago
            found = await asyncio.to_thread(self._intake.look_again, head, int(time.time()))
        if isinstance(found, ReportRejected) and not await asyncio.to_thread(self._intake.known, head):
            raise found
        if head.report_bytes > self._bound:
            raise OversizedReport(f"report of {head.report_bytes} bytes: must be at most {self._bound}")
        self._head, self._found = head, found

    def add(self, piece: bytes) -> None:
        """Add the next bytes. Raises OversizedReport as soon as they are too many."""
        self._body += piece
        if len(self._body) > self._bound:
            raise OversizedReport(f"report: must be at most {self._bound} bytes")

    async def finish(self) -> Status:
        """Commit the whole report."""
        assert self._head is not None
        assert self._found is not None
        self._counted = True
        return await asyncio.wrap_future(self._intake.take(self._head, self._body, self._found))

    def count(self, refusal: ReportRejected) -> None:
        """Count a refusal once."""
        if not self._counted:
            self._intake.count(refusal)


class Memory:
    """Bytes of bodies on their way in, all of them in the event loop's one thread."""

    def __init__(self, bound: int, issuer_bound: int) -> None:
        self._left, self._issuer_bound = bound, issuer_bound
        self._of_issuer: Counter[str] = Counter()
        self._coming: set[tuple[str, bytes]] = set()

    @contextmanager
    def reserved(self, right: Right | None, n_bytes: int) -> Iterator[None]:
        """Room for one body while it comes in, and for one body a token. Raises IntakeUnavailable.

        right: of its token; None for a report that was taken before, whose token may be of the past.
        """
        issuer = "" if right is None else right.issuer
        token = None if right is None else (right.issuer, right.serial)
        if token in self._coming:
            raise IntakeUnavailable("report: one with this token is on its way in, send it again later")
        if n_bytes > min(self._left, self._issuer_bound - self._of_issuer[issuer]):
            raise IntakeUnavailable("report: too many are on their way in, send it again later")
        self._left -= n_bytes
        self._of_issuer[issuer] += n_bytes
        if token is not None:
            self._coming.add(token)
        try:
            yield
        finally:
            self._left += n_bytes
            self._of_issuer[issuer] -= n_bytes
            if not self._of_issuer[issuer]:
                del self._of_issuer[issuer]
            self._coming.discard(token or ("", b""))


def _refusal(refusal: ReportRejected, desk: ReportDesk, headers: dict[str, str]) -> Refusal:
    code = code_of(refusal)
    if code == "intake_unavailable":
        return Refusal(code, str(refusal), headers=headers | {"retry-after": str(BUSY_RETRY_S)})
    if code in ("report_late", "report_stale", "round_full"):
        wait = desk.come_back_s(int(time.time()))
        return Refusal(code, str(refusal), {"come_back_s": wait}, headers | {"retry-after": str(wait)})
    return Refusal(code, str(refusal), headers=headers)
