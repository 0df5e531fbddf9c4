"""The custodian's public word over HTTP: its log's head, proofs and entries, and what it never answered."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import FastAPI, Path, Query
from starlette.responses import Response

from federation.custodian.custodian import Custodian
from federation.protocol.merkle_log import MAX_SIZE
from serving.http.custodian.custodian_openapi import BYTES, responses

_TASK_ID = Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]{1,64}$")
_KEY_ID = Path(pattern=r"^[0-9a-f]{64}$")
_SIZE = Query(ge=0, le=MAX_SIZE)


def add_log(app: FastAPI, custodian: Custodian) -> None:
    """Mount the log's routes. They are open: a log that only some may read protects nobody."""

    @app.get(
        "/v1/log/head",
        summary="The signed head of the public log",
        response_class=Response,
        responses=responses(200, "The head (docs/wire.md)"),
    )
    async def head() -> Response:
        return _bytes(await asyncio.to_thread(custodian.log_head, int(time.time())))

    @app.get(
        "/v1/log/proofs/{task_id}",
        summary="That a task is in the log, and that the log goes on from an earlier size",
        response_class=Response,
        responses=responses(200, "Head, inclusion and consistency (docs/wire.md)", 404, 422),
    )
    async def proof(task_id: Annotated[str, _TASK_ID], since: Annotated[int, _SIZE] = 0) -> Response:
        return _bytes(await asyncio.to_thread(custodian.log_proof, task_id, since, int(time.time())))

    @app.get(
        "/v1/log/clusters/{version}",
        summary="That a version's clusters file is in the log, and that the log goes on from an earlier size",
        response_class=Response,
        responses=responses(200, "Head, inclusion and consistency (docs/wire.md)", 404, 422),
    )
    async def clusters(version: Annotated[str, _TASK_ID], since: Annotated[int, _SIZE] = 0) -> Response:
        return _bytes(await asyncio.to_thread(custodian.clusters_proof, version, since, int(time.time())))

    @app.get(
        "/v1/log/issuer-keys/{token_key_id}",
        summary="That an issuer's key is in the log, and that the log goes on from an earlier size",
        response_class=Response,
        responses=responses(200, "Head, inclusion and consistency (docs/wire.md)", 404, 422),
    )
    async def key_proof(token_key_id: Annotated[str, _KEY_ID], since: Annotated[int, _SIZE] = 0) -> Response:
        key_id = bytes.fromhex(token_key_id)
        return _bytes(await asyncio.to_thread(custodian.issuer_key_proof, key_id, since, int(time.time())))

    @app.get(
        "/v1/log/entries",
        summary="Entries from a position on, a thousand at a time",
        response_class=Response,
        responses=responses(200, "Entries (docs/wire.md)", 422),
    )
    async def entries(start: Annotated[int, _SIZE] = 0) -> Response:
        return _bytes(await asyncio.to_thread(custodian.log_entries, start))

    @app.get(
        "/v1/rounds/{task_id}/no-answer",
        summary="Which blocks of a closed round got no answer, and never will",
        response_class=Response,
        responses=responses(200, "The signed statement (docs/wire.md)", 404, 409, 422),
    )
    async def no_answer(task_id: Annotated[str, _TASK_ID]) -> Response:
        return _bytes(await asyncio.to_thread(custodian.no_answer, task_id))


def _bytes(content: bytes) -> Response:
    return Response(content, 200, {"cache-control": "no-store"}, BYTES)
