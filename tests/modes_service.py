"""The least that a service of modes cluster and noised must do, by the functions that the real one calls."""

from __future__ import annotations

import base64
import hashlib

import httpx
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from recsys.bundle import Bundle
from recsys.candidates import Quantized, encode_candidates
from recsys.catalogue import catalogue_of, encode_catalogue
from recsys.clusters import cluster_queries, clusters_of, direction_queries, encode_clusters, interleave
from recsys.retrieval import ItemIndex
from tests.shop import InProcess


def modes_app(*bundles: Bundle) -> Starlette:
    """Answers for these bundles, the first one current: candidates, the trend, both files for devices."""
    served = {one.version: one for one in bundles}
    clusters = {one.version: clusters_of(one) for one in bundles}
    indexes = {one.version: ItemIndex(one.table) for one in bundles}
    files = {("clusters", one.version): encode_clusters(clusters[one.version]) for one in bundles} | {
        ("catalogue", one.version): encode_catalogue(one) for one in bundles
    }

    async def recommend(request: Request) -> Response:
        asked = await request.json()
        bundle = served.get(asked["bundle_version"])
        if bundle is None:
            return JSONResponse({"error": {"code": "bundle_too_old", "message": "old", "details": {}}}, 409)
        if asked["mode"] == "profile":
            assert asked["profile"] is None
            return JSONResponse({"recommendations": trend(bundle, asked["top_k"])})
        known = clusters[bundle.version]
        if asked["mode"] == "cluster":
            queries = cluster_queries(known, asked["clusters"])
        else:
            vector = np.frombuffer(base64.b64decode(asked["noised"]), "<f4")
            queries = direction_queries(vector[None], known.mean_profile)
        hidden = catalogue_of(bundle).unavailable
        weight = bundle.config.trend_weight
        found, _ = indexes[bundle.version].search(queries, asked["candidates"], trend_weight=weight, exclude=hidden)
        candidates = encode_candidates(Quantized.of(bundle), interleave(found, asked["candidates"]))
        return JSONResponse({"bundle_version": bundle.version, "mode": asked["mode"], "candidates": candidates})

    async def file(request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params["version"]
        if version == "current":
            return Response(None, 307, {"location": bundles[0].version})
        content = files[name, version]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        held = request.headers.get("if-none-match") == etag
        return Response(None if held else content, 304 if held else 200, {"etag": etag})

    return Starlette(
        routes=[
            Route("/v1/recommendations", recommend, methods=["POST"]),
            Route("/v1/{name}/{version}", file),
        ]
    )


def trend(bundle: Bundle, top_k: int) -> list[dict[str, object]]:
    shown = catalogue_of(bundle).shown.to_dicts()
    order = np.argsort(-bundle.table.trend, kind="stable")
    best = [int(item) for item in order if shown[item]["available"]][:top_k]
    names = ("item_id", "title", "category", "price")
    return [{name: shown[item][name] for name in names} | {"score": float(bundle.table.trend[item])} for item in best]


def modes_service(*bundles: Bundle) -> httpx.Client:
    """A client of such a service, without a socket."""
    return httpx.Client(transport=InProcess(modes_app(*bundles)), base_url="http://shop.test")
