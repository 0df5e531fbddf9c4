"""Candidates of public centroids by GET, so that caches may hold them: an id is answered alike to everybody."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from fastapi import FastAPI, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from serving.access import caller
from serving.http.bodies import refusals
from serving.http.resources.ask_bodies import (
    MAX_CANDIDATES,
    MAX_CLUSTERS,
    CandidateAnswer,
    ClusterRequest,
    ListedFields,
)
from serving.http.resources.ask_routes import answer
from serving.http.resources.bundle_routes import names, unknown_bundle
from serving.shelf.served import Apps

REVALIDATED = "public, no-cache"
"""Any cache may keep the answer, and asks before each use whether it still holds: what is sold out is in no list."""
_FORM = "1"
"""Of the answer; another one for an answer of another shape, or a cache would give out the old one."""


class CandidatesQuery(BaseModel):
    """Which candidates. Ascending ids and round numbers of candidates are found in a cache more often."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    clusters: Annotated[list[Annotated[int, Field(ge=0, lt=65_536)]], Field(min_length=1, max_length=MAX_CLUSTERS)]
    candidates: int = Field(500, ge=1, le=MAX_CANDIDATES)
    fields: ListedFields = None


def add_candidates(app: FastAPI, apps: Apps) -> None:
    """Mount the route."""

    @app.get(
        "/v1/clusters/{version}/candidates",
        summary="Candidates for a device to rank, of the nearest public centroids; what POST answers in mode cluster",
        response_model=CandidateAnswer,
        responses={304: {"description": "The ones you have"}, **refusals(404, 422)},
    )
    async def candidates(
        version: Annotated[str, Path(min_length=1, max_length=64)],
        query: Annotated[CandidatesQuery, Query()],
        request: Request,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        request.scope["state"]["mode"] = "cluster"
        shelf = apps.of(caller(request.scope).app)
        bundle = shelf.get(version)
        if bundle is None:
            raise unknown_bundle(shelf, "clusters")
        state = [_FORM, version, shelf.epoch, bundle.live.sequence, query.clusters, query.candidates, query.fields]
        tag = hashlib.sha256(json.dumps(state, allow_nan=False).encode()).hexdigest()
        headers = {"etag": f'"{tag}"', "cache-control": REVALIDATED}
        if if_none_match is not None and names(if_none_match, tag):
            return Response(None, 304, headers)
        cluster_request = ClusterRequest(
            mode="cluster",
            bundle_version=version,
            clusters=query.clusters,
            candidates=query.candidates,
            filter=None,
            fields=query.fields,
        )
        return Response(answer(shelf, cluster_request), 200, headers, "application/json")
