"""The HTTP service: public lists from public tables, for a profile that it uses once and forgets.

The hot route is a Starlette handler (strict body in, bytes out); the others are FastAPI's. It holds no profile type,
no session and no history; searches run in the event loop, for they are shorter than a thread switch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from recsys.catalogue.bundle import Bundle
from serving.access import OPEN_APP, Access, caller
from serving.http.bodies import Health, Ready, invalid, refusals
from serving.http.cross_origin import CrossOrigin
from serving.http.guard import NO_TELEMETRY, Guard, GuardBounds, error_json
from serving.http.hot_path import HotPath
from serving.http.metrics import CONTENT_TYPE, Metrics
from serving.http.openapi import document
from serving.http.rates import KeyRates
from serving.http.readiness import RECALL_FLOOR, Readiness
from serving.http.request_record import AccessLogKind, Observer, RequestRecord, access_log
from serving.http.resources.ask_routes import add_asking, hot_answer
from serving.http.resources.bundle_routes import Releases, add_bundles
from serving.http.resources.candidate_routes import add_candidates
from serving.http.resources.dashboard import add_dashboard
from serving.http.resources.item_routes import add_items
from serving.http.site.front_pages import add_front_pages
from serving.http.site.shop_pages import add_shop
from serving.http.statuses import STATUS as STATUS
from serving.http.surfaces.placement_routes import add_placements
from serving.http.surfaces.rank_routes import add_ranking
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundles
from serving.shelf.store_watcher import KEEP, StoreWatcher
from serving.state.stores import Stores

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


@dataclass(frozen=True)
class ServiceSettings:
    """Bounds of the service. max_body_bytes: room for a profile of 4,096 numbers and 1,000 excluded ids.

    workers: among which rate_limit is shared out. serving/process/settings.py says what each of them means.
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
    keep_bundles: int = KEEP
    shop: bool = False


class _Service(FastAPI):
    """FastAPI without what it puts before the guard: no error passes the guard, and bounds and telemetry are ours.

    What is left out costs every request as much as writing its answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the application's start and end."""
        if scope["type"] != "http" or self.middleware_stack is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Build the middleware from the guard inwards."""
        stack: Any = super().build_middleware_stack()
        while not isinstance(stack, Guard):
            stack = stack.app
        return stack


def create_app(
    bundles: Sequence[Bundle] | Mapping[str, Sequence[Bundle]],
    settings: ServiceSettings | None = None,
    *,
    access: Access | None = None,
    state: Callable[[], object] | None = None,
    observers: Sequence[Observer] = (),
    stores: Stores | None = None,
    releases: Releases | None = None,
    coordinator: Any = None,
) -> FastAPI:
    """Create the application.

    bundles: of the app `shop`, or by app: the first is current, the others are still answered.

    access: who may ask; without it anybody may. state: asks the state something small, or raises. observers: are told
    of every request. stores: shared by all workers; without them changes are gone with the process. releases: who
    activates bundles, the stores unless live training does. coordinator: of live training, for the dashboard.
    Raises ServingError for no bundle or the same one twice.
    """
    bounds = settings or ServiceSettings()
    by_app = bundles if isinstance(bundles, Mapping) else {OPEN_APP: bundles}
    apps = Apps({name: ServedBundles(some, bounds.index_folder) for name, some in by_app.items()})
    shared = stores or Stores.passing()
    watcher = StoreWatcher(
        apps,
        shared,
        elsewhere=() if coordinator is None else (OPEN_APP,),
        folder=bounds.index_folder,
        keep=bounds.keep_bundles,
    )
    if stores is None:
        _remember(shared, by_app)
    watcher.sync()
    metrics = Metrics()
    readiness = Readiness(apps, state, floor=bounds.recall_floor)
    metrics.add(readiness.gauges)
    app = _Service(
        title="Ownshelf",
        version="1",
        description="Recommendations from a profile that the service never keeps.",
        docs_url=None,  # the built-in pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry=NO_TELEMETRY,
    )
    _add_errors(app)
    app.state.apps, app.state.metrics, app.state.watcher, app.state.stores = apps, metrics, watcher, shared
    add_asking(app, apps)
    add_items(app, apps, shared.items, watcher.sync)
    add_placements(app, apps, shared.placements, watcher.sync)
    add_ranking(app, apps)
    add_bundles(app, apps, releases or shared.bundles, watcher.sync)
    add_candidates(app, apps)
    add_dashboard(app, apps, shared.traffic, coordinator)
    add_front_pages(app)
    add_shop(app, on=bounds.shop)
    _add_probes(app, readiness, metrics)
    log = access_log(bounds.access_log)
    guard_access = access or Access()
    app.add_middleware(HotPath, hot_answer(apps))
    app.add_middleware(
        Guard,
        GuardBounds(bounds.max_body_bytes, bounds.max_depth, bounds.request_timeout_s),
        STATUS,
        access=guard_access,
        rates=KeyRates(bounds.rate_limit, bounds.workers) if bounds.rate_limit else None,
        origins=CrossOrigin(bounds.cors_origins) if bounds.cors_origins else None,
        observers=(metrics.observe, _counted(shared), *([log] if log else ()), *observers),
    )
    written: dict[object, dict[str, Any]] = {}
    app.openapi = lambda: _document(app, apps, guard_access, written)  # type: ignore[method-assign]  # to extend it
    return app


def _remember(stores: Stores, by_app: Mapping[str, Sequence[Bundle]]) -> None:
    """Remember bundles that were given and not added, so that they can be switched between."""
    for name, bundles in by_app.items():
        for bundle in reversed(bundles):
            if bundle.folder.is_dir():
                stores.bundles.add(name, bundle.folder, bundle.made_at)


def _counted(stores: Stores) -> Observer:
    kinds = {"/v1/recommendations/batch": "batch", "/v1/items/{item_id}/similar": "similar"}

    def count(seen: RequestRecord) -> None:
        kind = seen.mode if seen.mode else kinds.get(seen.route, "other")
        if not seen.mode and seen.route.startswith(("/v1/catalogue", "/v1/clusters")):
            kind = "catalogue"
        if seen.app:
            stores.traffic.count(seen.app, kind, seen.status, int(time.time()))

    return count


def _document(app: FastAPI, apps: Apps, access: Access, written: dict[object, dict[str, Any]]) -> dict[str, Any]:
    """Document what is served now; written: the last document, under what it was written of."""
    names = apps.names()
    served = [bundle for name in names for bundle in apps.of(name).all()]
    state = (*(bundle.version for bundle in served), len(names), access.is_open)
    if state not in written:
        fresh = document(app, served, named=len(names) == 1, is_open=access.is_open)
        written.clear()
        written[state] = fresh
    return written[state]


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


def _add_probes(app: FastAPI, readiness: Readiness, metrics: Metrics) -> None:
    @app.get("/healthz", summary="The process answers", responses=refusals())
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz", summary="The current bundle and the state answer", responses=refusals())
    async def readyz() -> Ready:
        return Ready(status="ready", bundle_version=await readiness.check())

    @app.get(
        "/metrics",
        summary="Counts, times and the privacy spent, as Prometheus reads them",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}, **refusals()},
    )
    async def exposition(request: Request) -> Response:
        content = await asyncio.to_thread(metrics.exposition, caller(request.scope).app)
        return Response(content, 200, {"cache-control": "no-store"}, CONTENT_TYPE)
