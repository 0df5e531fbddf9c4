"""The custodian over HTTP: five signed questions of the service, and what anybody may know. Logs nothing of a body.

Every answer to a signed request is signed too, refusals included. The signature is checked before the body is read.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI, Path
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from data.errors import BatchTooSmall, BudgetExhausted, FederationError
from federation.custodian.custodian import Custodian
from federation.custodian.log_store import RoundOpen
from federation.custodian.rows import TaskConflict
from federation.private_sum.exchange import MAX_BATCH_BYTES
from federation.private_sum.refusals import (
    AlreadyCounted,
    BatchRefused,
    ForeignTask,
    MalformedBatch,
    PlanRefused,
    TaskRefused,
)
from federation.protocol.merkle_log import LogRefused
from federation.protocol.request_signing import (
    DIGEST_HEADER,
    HEADER,
    RequestChecker,
    SignatureRefused,
    digest_header,
    sign_answer,
)
from federation.protocol.tokens.issuer_key import MAX_ISSUER_KEY_BYTES, IssuerKeyRefused
from serving.http.bodies import Health
from serving.http.custodian.custodian_log import add_log
from serving.http.custodian.custodian_metrics import CONTENT_TYPE, exposition
from serving.http.custodian.custodian_openapi import BYTES, responses, signature_parameters, signed_body
from serving.http.guard import NO_TELEMETRY, Guard, GuardBounds, error_json
from serving.refusal import Refusal

CODES: tuple[tuple[type[Exception], int, str], ...] = (
    (SignatureRefused, 401, "signature_refused"),
    (BudgetExhausted, 403, "budget_exhausted"),
    (ForeignTask, 404, "foreign_task"),
    (TaskConflict, 409, "task_conflict"),
    (AlreadyCounted, 409, "already_counted"),
    (RoundOpen, 409, "round_open"),
    (IssuerKeyRefused, 409, "issuer_key_refused"),
    (LogRefused, 422, "log_refused"),
    (MalformedBatch, 422, "batch_malformed"),
    (BatchRefused, 409, "batch_refused"),
    (BatchTooSmall, 409, "batch_too_small"),
    (TaskRefused, 422, "task_refused"),
    (PlanRefused, 422, "task_refused"),
    (SQLAlchemyError, 503, "unavailable"),
)
"""The one table from an error to status and code; the first that fits."""

HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    422: "invalid_request",
    503: "unavailable",
}
MAX_SIGNATURE_CHARS = 200
_TASK_ID = Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]{1,64}$")


@dataclass(frozen=True)
class CustodianSettings:
    """max_body_bytes: a batch of 500,000 sealed seeds is 50 MB, with the hybrid suite 600 MB. As of the custodian."""

    max_body_bytes: int = MAX_BATCH_BYTES


def create_custodian_app(
    custodian: Custodian, service_public_key: bytes, settings: CustodianSettings | None = None
) -> FastAPI:
    """Create the application. service_public_key: Ed25519 (32 bytes) of the one service that may ask."""
    app = FastAPI(
        title="Ownshelf custodian",
        version="1",
        description="The second party of a private sum: it opens seeds, adds noise, and keeps the privacy ledger.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    front = _Front(custodian, RequestChecker(service_public_key), Counter())
    _add_errors(app)
    _add_rounds(app, front)
    _add_public(app, front)
    add_log(app, front.custodian)
    bounds = GuardBounds((settings or CustodianSettings()).max_body_bytes)
    app.add_middleware(Guard, bounds, {"body_too_large": 413})
    return app


@dataclass(frozen=True)
class _Front:
    """The layer between HTTP and the custodian."""

    custodian: Custodian
    checker: RequestChecker
    refused: Counter[str]

    async def signed(self, request: Request, status: int, work: Callable[[bytes, int], bytes]) -> Response:
        """Sign the answer to a request, once its own signature and body are checked."""
        now = int(time.time())
        signature = request.headers.get(HEADER, "")
        try:
            body = await self._body(request, signature, now)
            content = await asyncio.to_thread(work, body, now)
            answer = Response(content, status, media_type=BYTES if content else None)
        except (FederationError, SQLAlchemyError) as error:
            answer = self._refusal(error)
        if len(signature) <= MAX_SIGNATURE_CHARS:
            answer.headers.update(
                sign_answer(self.custodian.key, signature, answer.status_code, bytes(answer.body)).headers
            )
        return answer

    async def _body(self, request: Request, signature: str, now: int) -> bytes:
        query = request.scope["query_string"]
        target = (request.scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1")
        wanted = self.checker.check(request.method, target, signature, request.headers.get(DIGEST_HEADER), now)
        body = bytearray()
        async for piece in request.stream():
            body += piece
        if not hmac.compare_digest(hashlib.sha256(body).digest(), wanted):
            raise SignatureRefused(f"{DIGEST_HEADER}: must be {digest_header(wanted)}, the body's own")
        return bytes(body)

    def _refusal(self, error: Exception) -> Response:
        status, code = next((status, code) for kind, status, code in CODES if isinstance(error, kind))
        self.refused[code] += 1
        # A database's own words may hold what was being stored.
        message = type(error).__name__ if isinstance(error, SQLAlchemyError) else str(error)
        return Response(error_json(code, message), status, media_type="application/json")


def _add_errors(app: FastAPI) -> None:
    def plain(status: int, code: str, message: str) -> Response:
        return Response(error_json(code, message), status, media_type="application/json")

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return plain(413, error.code, str(error))

    async def foreign(_: Request, error: Exception) -> Response:
        return plain(404, "foreign_task", str(error))

    async def unlogged(_: Request, error: Exception) -> Response:
        return plain(422, "log_refused", str(error))

    async def still_open(_: Request, error: Exception) -> Response:
        return plain(409, "round_open", str(error))

    async def unknown_key(_: Request, error: Exception) -> Response:
        return plain(404, "issuer_key_refused", str(error))

    async def misread(_: Request, error: Exception) -> Response:
        return plain(
            422,
            "invalid_request",
            "path: must be a task_id of 1..64 letters, digits and ._:-, or 64 hexadecimal digits",
        )

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = plain(error.status_code, HTTP_CODES.get(error.status_code, "invalid_request"), str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(ForeignTask, foreign)
    app.add_exception_handler(LogRefused, unlogged)
    app.add_exception_handler(RoundOpen, still_open)
    app.add_exception_handler(IssuerKeyRefused, unknown_key)
    app.add_exception_handler(RequestValidationError, misread)
    app.add_exception_handler(HTTPException, http)


def _add_rounds(app: FastAPI, front: _Front) -> None:
    custodian = front.custodian

    @app.post(
        "/v1/rounds",
        summary="Open a round: a draft in, the task with key and signature out",
        status_code=201,
        response_class=Response,
        responses=responses(201, "The signed task", 401, 403, 409, 413, 422, 503),
        openapi_extra=signed_body("The draft of a task"),
    )
    async def open_round(request: Request) -> Response:
        return await front.signed(request, 201, custodian.open_round)

    @app.post(
        "/v1/batches",
        summary="Sum a block's sealed seeds: the custodian's half, with its noise",
        response_class=Response,
        responses=responses(200, "The answer; the same bytes to the same batch", 401, 404, 409, 413, 422, 503),
        openapi_extra=signed_body("A batch"),
    )
    async def answer(request: Request) -> Response:
        return await front.signed(request, 200, custodian.answer)

    @app.post(
        "/v1/clusters",
        summary="Log the hash of a bundle's clusters file",
        status_code=204,
        response_class=Response,
        responses=responses(204, None, 401, 413, 422, 503),
        openapi_extra=signed_body("Version and hash"),
    )
    async def clusters(request: Request) -> Response:
        def work(body: bytes, _: int) -> bytes:
            custodian.log_clusters(body)
            return b""

        return await front.signed(request, 204, work)

    @app.post(
        "/v1/issuer-keys",
        summary="Put the public key of an issuer of tokens into the public log",
        status_code=204,
        response_class=Response,
        responses=responses(204, None, 401, 409, 413, 422, 503),
        openapi_extra=signed_body("An issuer's key"),
    )
    async def add_issuer_key(request: Request) -> Response:
        def work(body: bytes, now: int) -> bytes:
            return custodian.add_issuer_key(body[: MAX_ISSUER_KEY_BYTES + 1], now)

        return await front.signed(request, 204, work)

    @app.post(
        "/v1/rounds/{task_id}/close",
        summary="Destroy a round's key",
        status_code=204,
        response_class=Response,
        responses=responses(204, None, 401, 404, 413, 422, 503),
        openapi_extra={"parameters": signature_parameters()},
    )
    async def close(request: Request, task_id: str = _TASK_ID) -> Response:
        def work(_: bytes, now: int) -> bytes:
            custodian.close(task_id, now)
            return b""

        return await front.signed(request, 204, work)


def _add_public(app: FastAPI, front: _Front) -> None:
    custodian = front.custodian

    @app.get("/v1/key", summary="The public key that devices pin", responses=responses(None, None))
    async def key() -> dict[str, str]:
        return {"algorithm": "Ed25519", "public_key": custodian.key.public.hex()}

    @app.get("/healthz", summary="The process answers", responses=responses(None, None))
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz", summary="The database answers", responses=responses(None, None, 503))
    async def readyz() -> Health:
        try:
            ready = await asyncio.to_thread(custodian.ready)
        except SQLAlchemyError:
            ready = False
        if not ready:
            raise HTTPException(503, "the database does not answer")
        return Health(status="ok")

    @app.get(
        "/metrics",
        summary="Counts and the privacy spent, as Prometheus reads them",
        response_class=Response,
        responses=responses(200, "Metrics", 503, content="text/plain"),
    )
    async def metrics() -> Response:
        try:
            content = await asyncio.to_thread(exposition, front.custodian, front.refused)
        except SQLAlchemyError:
            raise HTTPException(503, "the database does not answer") from None
        return Response(content, 200, {"cache-control": "no-store"}, CONTENT_TYPE)
