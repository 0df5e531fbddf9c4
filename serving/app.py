"""The HTTP service: public lists from public tables, for a profile that it uses once and forgets.

The hot route is a Starlette handler (strict body in, bytes out); the others are FastAPI's. It holds no profile type,
no session and no history; searches run in the event loop, for they are shorter than a thread switch.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Header, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from recsys.bundle import Bundle
from serving.access import Access
from serving.bodies import (
    BundleDescription,
    BundleList,
    ErrorAnswer,
    Health,
    Ready,
    SimilarAnswer,
    SimilarQuery,
    invalid,
    parse_request,
    profile_vector,
)
from serving.cross_origin import CrossOrigin
from serving.guard import Guard, GuardBounds, error_json
from serving.metrics import CONTENT_TYPE, Metrics
from serving.openapi import document
from serving.rates import KeyRates
from serving.readiness import RECALL_FLOOR, Readiness
from serving.refusal import Refusal
from serving.seen import AccessLogKind, Observer, access_log
from serving.served import ServedBundle, Shelf

STATUS = {
    "invalid_request": 422,
    "device_mode": 422,
    "unknown_item": 404,
    "unknown_bundle": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "bundle_too_old": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "not_ready": 503,
    "report_malformed": 422,
    "report_mismatched": 422,
    "report_too_large": 413,
    "report_late": 410,
    "report_stale": 409,
    "report_conflict": 409,
    "round_full": 409,
    "token_invalid": 401,
    "token_spent": 403,
    "issuer_full": 403,
    "api_key_invalid": 401,
    "scope_missing": 403,
    "unknown_key": 404,
    "rate_limited": 429,
    "timed_out": 503,
    "issuer_bound": 429,
    "intake_unavailable": 503,
}
"""The one table from an error's code to its HTTP status; anything else is `internal`, 500."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
_NONE = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds of the service. max_body_bytes: room for a profile of 4,096 numbers and 1,000 excluded ids.

    workers: among which rate_limit is shared out. serving/settings.py says what each of them means.
    """

    max_body_bytes: int = 512 * 1024
    max_depth: int = 32
    request_timeout_s: float = 15.0
    cors_origins: tuple[str, ...] = ()
    rate_limit: str | None = None
    workers: int = 1
    access_log: AccessLogKind = "off"
    recall_floor: float = RECALL_FLOOR
    index_folder: Path | None = None


def create_app(
    bundles: Sequence[Bundle],
    settings: ServiceSettings | None = None,
    *,
    access: Access | None = None,
    state: Callable[[], object] | None = None,
    written_at: Callable[[str], float | None] = lambda _: None,
    observers: Sequence[Observer] = (),
) -> FastAPI:
    """The application. bundles: the first is current, the others are still answered; at least one.

    access: who may ask; without it anybody may. state: asks the state something small, or raises. written_at: when a
    version was written, seconds since 1970. observers: are told of every request. Raises ServingError for no bundle or
    the same one twice.
    """
    bounds = settings or ServiceSettings()
    shelf = Shelf(bundles)
    metrics = Metrics()
    readiness = Readiness(shelf, state, floor=bounds.recall_floor, written_at=written_at)
    metrics.add(readiness.gauges)
    app = FastAPI(
        title="Ownshelf",
        version="1",
        description="Recommendations from a profile that the service never keeps.",
        docs_url=None,  # the built-in pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _add_errors(app)
    app.state.shelf = shelf
    app.state.metrics = metrics
    _add_recommendations(app, shelf)
    _add_items(app, shelf)
    _add_bundles(app, shelf)
    _add_probes(app, readiness, metrics)
    log = access_log(bounds.access_log)
    app.add_middleware(
        Guard,
        GuardBounds(bounds.max_body_bytes, bounds.max_depth, bounds.request_timeout_s),
        STATUS,
        access=access or Access(),
        rates=KeyRates(bounds.rate_limit, bounds.workers) if bounds.rate_limit else None,
        origins=CrossOrigin(bounds.cors_origins) if bounds.cors_origins else None,
        observers=(metrics.observe, *([log] if log else ()), *observers),
    )
    app.openapi = lambda: _document(app, shelf)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _document(app: FastAPI, shelf: Shelf) -> dict[str, Any]:
    if app.openapi_schema is None:
        dims = {one.bundle.table.dim for one in shelf.all()}
        app.openapi_schema = document(app, dims, (409, 413, 415, 422, 500))
    return app.openapi_schema


def _add_errors(app: FastAPI) -> None:
    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        request.scope["state"]["code"] = error.code
        return _error(STATUS[error.code], error.code, str(error), error.details, error.headers)

    async def misread(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        refusal = invalid(error.errors())
        request.scope["state"]["code"] = refusal.code
        return _error(STATUS[refusal.code], refusal.code, str(refusal), refusal.details)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _HTTP_CODES.get(error.status_code, "invalid_request")
        request.scope["state"]["code"] = code
        return _error(STATUS[code], code, str(error.detail), {}, error.headers)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, misread)
    app.add_exception_handler(HTTPException, http)


def _error(
    status: int,
    code: str,
    message: str,
    details: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(error_json(code, message, details), status, headers, "application/json")


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer, "description": "Refused"} for status in (*statuses, 500)}


def _add_recommendations(app: FastAPI, shelf: Shelf) -> None:
    async def recommend(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal("unsupported_media_type", "content-type: must be application/json")
        asked = parse_request(await request.body())
        one = shelf.get(asked.bundle_version)
        if one is None:
            current = shelf.current.version
            raise Refusal(
                "bundle_too_old",
                f"bundle_version: not served; the current one is {current}",
                {"current": current, "fetch": f"/v1/catalogue/{current}"},
            )
        unknown: list[str] = []
        exclude = _NONE
        if asked.exclude:
            item_idx = one.bundle.items.index_of(asked.exclude)
            unknown = [item_id for item_id, place in zip(asked.exclude, item_idx, strict=True) if place < 0]
            exclude = np.unique(item_idx[item_idx >= 0])
        if asked.profile is None:
            ranked = one.trend(asked.top_k, exclude)
        else:
            ranked = one.search(profile_vector(asked.profile, one.bundle.table.dim), asked.top_k, exclude)
        head = {
            "bundle_version": one.version,
            "mode": "profile",
            "fallback": "trend" if asked.profile is None else None,
            "unknown_exclude": unknown,
        }
        request.scope["state"]["mode"] = "profile" if asked.profile is not None else "trend"
        return _listed(head, "recommendations", one.list_json(ranked))

    app.add_route("/v1/recommendations", recommend, methods=["POST"], include_in_schema=False)


def _add_items(app: FastAPI, shelf: Shelf) -> None:
    @app.get(
        "/v1/items/{item_id:path}/similar",
        summary="Items like one item",
        response_model=SimilarAnswer,
        responses=_refusals(404, 422),
    )
    async def similar(item_id: str, query: Annotated[SimilarQuery, Query()]) -> Response:
        one = shelf.current
        item_idx = int(one.bundle.items.index_of([item_id])[0])
        if item_idx < 0:
            raise Refusal("unknown_item", f"item_id: not in bundle {one.version}", {"current": one.version})
        head = {"bundle_version": one.version, "item_id": item_id}
        return _listed(head, "similar", one.list_json(one.similar(item_idx, query.top_k)))


def _add_bundles(app: FastAPI, shelf: Shelf) -> None:
    @app.get(
        "/v1/catalogue/{version}",
        summary="The catalogue that a device recommends from",
        response_class=Response,
        responses={
            200: {"content": {"application/octet-stream": {}}, "description": "A safetensors file, see docs/api.md"},
            304: {"description": "The one you have"},
            307: {"description": "`current`: to the current version"},
            **_refusals(404, 422),
        },
    )
    async def catalogue(version: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
        current = shelf.current
        if version == "current":
            return Response(None, 307, {"location": current.version, "cache-control": "no-cache"})
        one = shelf.get(version)
        if one is None:
            raise Refusal(
                "unknown_bundle",
                f"version: not served; the current one is {current.version}",
                {"current": current.version, "fetch": f"/v1/catalogue/{current.version}"},
            )
        headers = {"etag": f'"{one.etag}"', "cache-control": "public, max-age=31536000, immutable"}
        if if_none_match is not None and _names(if_none_match, one.etag):
            return Response(None, 304, headers)
        return Response(one.catalogue, 200, headers, "application/octet-stream")

    @app.get("/v1/bundles", summary="The served bundles", responses=_refusals())
    async def bundles() -> BundleList:
        return BundleList(bundles=[_described(one, shelf.current) for one in shelf.all()])


def _add_probes(app: FastAPI, readiness: Readiness, metrics: Metrics) -> None:
    @app.get("/healthz", summary="The process answers", responses=_refusals())
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz", summary="The current bundle and the state answer", responses=_refusals(503))
    async def readyz() -> Ready:
        return Ready(status="ready", bundle_version=await readiness.check())

    @app.get(
        "/metrics",
        summary="Counts, times and the privacy spent, as Prometheus reads them",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}, **_refusals()},
    )
    async def exposition() -> Response:
        content = await asyncio.to_thread(metrics.exposition)
        return Response(content, 200, {"cache-control": "no-store"}, CONTENT_TYPE)


def _described(one: ServedBundle, current: ServedBundle) -> BundleDescription:
    return BundleDescription(
        version=one.version,
        name=one.bundle.name,
        current=one is current,
        n_items=one.bundle.table.n_items,
        dim=one.bundle.table.dim,
        catalogue=f"/v1/catalogue/{one.version}",
        catalogue_bytes=len(one.catalogue),
    )


def _names(if_none_match: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _listed(head: Mapping[str, Any], name: str, items: bytes) -> Response:
    body = json.dumps(head, ensure_ascii=False)[:-1].encode() + f', "{name}": '.encode() + items + b"}"
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})
