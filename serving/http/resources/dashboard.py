"""The dashboard: versions, quality, rounds, experiments, ε, traffic. Counts and sums only; no user rows exist.

The page itself is public and holds no data; it asks for the figures with the key that is typed into it, which it keeps
in memory alone.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from serving.access import OPEN_APP, caller
from serving.http.bodies import refusals
from serving.http.resources.dashboard_bodies import Budget, DashboardAnswer, TrafficMinute, Version
from serving.http.resources.dashboard_experiments import experiments_of
from serving.http.resources.federation_bodies import entry_of
from serving.http.web_pages import web_page
from serving.shelf.served import Apps, ServedBundle
from serving.state.traffic import Traffic

if TYPE_CHECKING:
    from federation.service.coordinator import Coordinator

SHOWN_ROUNDS = 200
HOURS = 6


def add_dashboard(app: FastAPI, apps: Apps, traffic: Traffic, coordinator: Coordinator | None) -> None:
    """Mount the page and its figures."""
    page = web_page("dashboard.html")

    @app.get(
        "/dashboard",
        summary="The dashboard's page",
        response_class=Response,
        responses={200: {"content": {"text/html": {}}, "description": "The page, without any figure"}, **refusals()},
    )
    async def shown() -> Response:
        return page.response()

    @app.get("/v1/dashboard", summary="What the dashboard shows", responses=refusals(401, 403, 422))
    def figures(request: Request, hours: Annotated[int, Query(ge=1, le=168)] = HOURS) -> DashboardAnswer:
        owner = caller(request.scope).app
        shelf = apps.of(owner)
        now = int(time.time())
        training = coordinator if owner == OPEN_APP else None  # live rounds train that app's bundles alone
        rounds = [] if training is None else training.store.rounds(SHOWN_ROUNDS)
        return DashboardAnswer(
            app=owner,
            now=now,
            hours=hours,
            index_recall=shelf.current.recall,
            bundles=[_version(one, one is shelf.current) for one in shelf.all()],
            epsilon=None if training is None else _budget(training),
            rounds=[entry_of(one) for one in rounds],
            experiments=experiments_of(getattr(app.state, "experiments", None), owner),
            traffic=[
                TrafficMinute(minute=one.minute, kind=one.kind, outcome=one.outcome, n=one.n)
                for one in traffic.since(owner, now - hours * 3_600)
            ],
        )


def _version(bundle: ServedBundle, current: bool) -> Version:
    manifest = bundle.bundle.manifest
    training = manifest["training"]
    measured = training.get("round", training)  # a live round's own figure, never that of the bundle it began from
    return Version(
        version=bundle.version,
        current=current,
        made_at=bundle.bundle.made_at,
        n_items=manifest["n_items"],
        dim=manifest["dim"],
        holdout_ndcg=measured.get("holdout_ndcg"),
        privacy=manifest["privacy"],
    )


def _budget(coordinator: Coordinator) -> Budget:
    spent, lifetime = coordinator.epsilon(), coordinator.plan.epsilon
    return Budget(
        spent=spent if math.isfinite(spent) else None,
        lifetime=lifetime if math.isfinite(lifetime) else None,
        delta=coordinator.plan.delta,
    )
