"""The service's federation routes: a task out, reports in, tokens for shops' backends, what is public about rounds.

A report is read as it comes, refused by its head if it can be, and answered when it is durable. No route logs a body.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import FastAPI
from prometheus_client.metrics_core import Metric
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from data.errors import ReportRejected, ServingError
from federation.private_sum.refusals import OversizedReport
from federation.protocol.report_head import MAX_HEAD_BYTES, ReportHead, read_head
from federation.protocol.report_tokens import Right, Tokens
from federation.service.coordinator import Coordinator
from federation.service.intake.intake import Intake
from federation.service.intake.report_refusals import IntakeUnavailable, code_of
from federation.service.intake.report_store import Status
from federation.service.round_schema import RoundState
from serving.access import OPEN_APP, caller
from serving.http.bodies import refusals
from serving.http.metrics import Metrics, gauge
from serving.http.resources.federation_bodies import ReportAnswer, RoundList, TokenAnswer, TokenRequest, entry_of
from serving.refusal import Refusal
from serving.state.api_keys import IssuerBound, Mints

OCTETS = "application/octet-stream"
SHOWN_ROUNDS = 100
BUSY_RETRY_S = 5


@dataclass(frozen=True)
class IntakeSettings:
    """memory_bytes: of report bodies on their way in; more is told to come back. body_timeout_s: for one body."""

    memory_bytes: int = 256 * 2**20
    body_timeout_s: float = 120.0

    def __post_init__(self) -> None:
        for name, high in (("memory_bytes", 2**40), ("body_timeout_s", 3_600)):
            if not 0 < getattr(self, name) <= high:
                raise ServingError(f"intake.{name}={getattr(self, name)}: must be above 0 and at most {high}")


@dataclass(frozen=True)
class TokenDesk:
    """How many tokens an app may have, and what mints them. Who asks is the guard's to say."""

    tokens: Tokens
    lifetime_s: int
    mints: Mints


def add_federation(
    app: FastAPI, coordinator: Coordinator, desk: TokenDesk, settings: IntakeSettings | None = None
) -> None:
    """Mount the routes on an app of create_app, before its OpenAPI document is asked for."""
    metrics: Metrics = app.state.metrics
    metrics.add(lambda: gauges(coordinator), OPEN_APP)
    _add_task(app, coordinator)
    receiver = app.state.receiver = Receiver.of(settings, metrics)
    _add_reports(app, coordinator, receiver)
    _add_tokens(app, desk)
    _add_public(app, coordinator)


def _add_task(app: FastAPI, coordinator: Coordinator) -> None:
    @app.get(
        "/v1/federation/task",
        summary="The open round's task",
        description="Signed by the custodian; the bytes are in docs/wire.md.",
        response_class=Response,
        responses={
            200: {"content": {OCTETS: {}}, "description": "A task"},
            204: {"description": "No round is open; Retry-After says when to ask again"},
            **refusals(),
        },
    )
    async def task() -> Response:
        found = coordinator.task()
        if found is None:
            wait = str(coordinator.come_back_s(int(time.time())))
            return Response(None, 204, {"retry-after": wait, "cache-control": "no-store"})
        return Response(found.to_bytes(), 200, {"cache-control": "no-store"}, OCTETS)


class ReportDesk(Protocol):
    """Who takes reports: a coordinator of training rounds, or of experiments' windows."""

    @property
    def intake(self) -> Intake:
        """Where they come in."""

    def max_report_bytes(self) -> int:
        """The longest one that any round can have."""

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
    """Takes reports from requests, whichever desk they are for; all routes share the memory."""

    settings: IntakeSettings
    metrics: Metrics
    memory: Memory

    @staticmethod
    def of(settings: IntakeSettings | None, metrics: Metrics) -> Receiver:
        """A receiver with all its memory free."""
        chosen = settings or IntakeSettings()
        return Receiver(chosen, metrics, Memory(chosen.memory_bytes))

    async def take(self, request: Request, desk: ReportDesk) -> Response:
        """The answer to one report, once it is durable. Raises Refusal."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
            raise Refusal("unsupported_media_type", f"content-type: must be {OCTETS}")
        upload = _Upload(desk)
        try:
            with self.memory.reserved(upload.check_length(request.headers.get("content-length"))):
                async with asyncio.timeout(self.settings.body_timeout_s):
                    async for piece in request.stream():
                        await upload.add(piece)
                status = await upload.finish()
        except ReportRejected as refusal:
            upload.count(refusal)
            self.metrics.report(code_of(refusal), upload.issuer)
            raise _refusal(refusal, desk, upload.ending) from None
        except TimeoutError:
            slow = IntakeUnavailable(f"body: must be sent within {self.settings.body_timeout_s:.0f} s")
            upload.count(slow)
            self.metrics.report(code_of(slow), upload.issuer)
            raise _refusal(slow, desk, upload.ending) from None
        except ClientDisconnect:
            return Response(None, 503)  # nobody reads it
        self.metrics.report(status, upload.issuer)
        answer = ReportAnswer(report_id=upload.report_id, status=status, come_back_s=desk.come_back_s(int(time.time())))
        return Response(answer.model_dump_json(), 201 if status == "accepted" else 200, media_type="application/json")


def _add_reports(app: FastAPI, coordinator: Coordinator, receiver: Receiver) -> None:
    @app.post(
        "/v1/federation/reports",
        summary="One device's report to the open round",
        description="The bytes are in docs/wire.md. Sent again, the same report is counted once. "
        "It is answered when it is durable.",
        **REPORT_ROUTE,
    )
    async def report(request: Request) -> Response:
        return await receiver.take(request, coordinator)


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
    def issuer(self) -> str:
        """Whose token it carries; "" where that is not known, or it is not good."""
        return self._found.issuer if isinstance(self._found, Right) else ""

    @property
    def ending(self) -> dict[str, str]:
        """Headers of an early answer. The server goes on receiving what was promised, unless it is told to hang up."""
        return {} if self._promised else {"connection": "close"}

    def check_length(self, declared: str | None) -> int:
        """Bytes to make room for. Raises OversizedReport."""
        length = int(declared) if declared is not None and declared.isdigit() else None
        if length is not None and length > self._bound:
            raise OversizedReport(f"report of {length} bytes: must be at most {self._bound}")
        self._promised = length is not None
        return self._bound if length is None else length

    async def add(self, piece: bytes) -> None:
        """The next bytes. Raises ReportRejected as soon as it is certain."""
        self._body += piece
        if len(self._body) > self._bound:
            raise OversizedReport(f"report: must be at most {self._bound} bytes")
        if self._head is None and len(self._body) >= MAX_HEAD_BYTES:
            await self._judge()

    async def finish(self) -> Status:
        """Commit the whole report."""
        if self._head is None:
            await self._judge()
        assert self._head is not None
        assert self._found is not None
        self._counted = True
        return await asyncio.wrap_future(self._intake.take(self._head, self._body, self._found))

    def count(self, refusal: ReportRejected) -> None:
        """Count a refusal once."""
        if not self._counted:
            self._intake.count(refusal)

    async def _judge(self) -> None:
        head = read_head(bytes(self._body[:MAX_HEAD_BYTES]))
        found = self._intake.screen(head, int(time.time()))
        if isinstance(found, ReportRejected) and not await asyncio.to_thread(self._intake.known, head):
            raise found
        self._head, self._found = head, found


class Memory:
    """Bytes of bodies on their way in, all of them in the event loop's one thread."""

    def __init__(self, bound: int) -> None:
        self._left = bound

    @contextmanager
    def reserved(self, n_bytes: int) -> Iterator[None]:
        """Room for one body while it comes in. Raises IntakeUnavailable."""
        if n_bytes > self._left:
            raise IntakeUnavailable("report: too many are on their way in, send it again later")
        self._left -= n_bytes
        try:
            yield
        finally:
            self._left += n_bytes


def _refusal(refusal: ReportRejected, desk: ReportDesk, headers: dict[str, str]) -> Refusal:
    code = code_of(refusal)
    if code == "intake_unavailable":
        return Refusal(code, str(refusal), headers=headers | {"retry-after": str(BUSY_RETRY_S)})
    if code in ("report_late", "report_stale", "round_full"):
        wait = desk.come_back_s(int(time.time()))
        return Refusal(code, str(refusal), {"come_back_s": wait}, headers | {"retry-after": str(wait)})
    return Refusal(code, str(refusal), headers=headers)


def _add_tokens(app: FastAPI, desk: TokenDesk) -> None:
    @app.post(
        "/v1/device-tokens",
        summary="Tokens for a shop's devices, each good for one report a round",
        status_code=201,
        responses=refusals(401, 403, 413, 422, 429),
    )
    def mint(asked: TokenRequest, request: Request) -> TokenAnswer:
        issuer = caller(request.scope).app
        now = int(time.time())
        try:
            desk.mints.reserve(issuer, asked.count, now)
        except IssuerBound as bound:
            headers = {"retry-after": str(desk.mints.left_s(now))}
            raise Refusal("issuer_bound", str(bound), headers=headers) from None
        tokens = desk.tokens.mint(issuer, asked.count, now, caller(request.scope).key_id or "")
        return TokenAnswer(tokens=[token.decode() for token in tokens], expires_at=now + desk.lifetime_s)


def _add_public(app: FastAPI, coordinator: Coordinator) -> None:
    @app.get("/v1/federation/rounds", summary="What is public about the newest rounds", responses=refusals(404))
    def rounds(request: Request) -> RoundList:
        if caller(request.scope).app != OPEN_APP:  # live rounds train that app's bundles alone
            raise Refusal("not_found", "Not Found")  # as where there are no rounds
        epsilon = coordinator.epsilon()
        return RoundList(
            epsilon=epsilon if math.isfinite(epsilon) else None,
            delta=coordinator.plan.delta,
            rounds=[entry_of(one) for one in coordinator.store.rounds(SHOWN_ROUNDS)],
        )


def gauges(coordinator: Coordinator) -> Iterator[Metric]:
    """Rounds and the privacy spent, from the store: the same from every worker."""
    states = coordinator.store.states()
    yield gauge("rounds", "Rounds by state.", [({"state": str(state)}, states.get(state, 0)) for state in RoundState])
    yield gauge("epsilon_spent", "Of the installation that was asked most.", [({}, coordinator.epsilon())])
    yield gauge("epsilon_lifetime", "At the participation cap.", [({}, coordinator.plan.epsilon)])
    yield gauge("delta", "Of the privacy plan.", [({}, coordinator.plan.delta)])
