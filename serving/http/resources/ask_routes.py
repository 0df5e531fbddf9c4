"""Asking for recommendations over HTTP: one question, or many. Starlette handlers, strict body in, bytes out."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from serving.access import caller
from serving.http.batching import Batcher
from serving.http.bodies import invalid
from serving.http.hot_path import check_json
from serving.http.resources.ask_bodies import CURRENT, Ask, BatchRequest, ProfileRequest, parse_ask
from serving.http.resources.item_json import list_json
from serving.http.resources.listing import ListResult, candidates_for, list_for, listed, question_of, search_all
from serving.http.resources.placement_listing import placement_answer
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundle, ServedBundles

NO_STORE = {"cache-control": "no-store"}


def add_asking(app: FastAPI, apps: Apps) -> None:
    """Mount the batch; the single question is answered by the hot path (serving/http/hot_path.py)."""

    async def batch(request: Request) -> Response:
        check_json(request.scope)
        try:
            sent = BatchRequest.model_validate_json(await request.body())
        except ValidationError as error:
            raise invalid(error.errors(include_url=False)) from None
        shelf = apps.of(caller(request.scope).app)
        answers = b",".join([_one_of_many(shelf, request_body) for request_body in sent.requests])
        return Response(b'{"answers": [' + answers + b"]}", 200, NO_STORE, "application/json")

    app.add_route("/v1/recommendations/batch", batch, methods=["POST"], include_in_schema=False)


def hot_answer(apps: Apps) -> Callable[[MutableMapping[str, Any], bytes], Awaitable[bytes]]:
    """Make what answers `POST /v1/recommendations`, for the hot path."""
    batcher = Batcher(search_all)

    async def answered(state: MutableMapping[str, Any], body: bytes) -> bytes:
        request = parse_ask(body)
        state["mode"] = mode_of(request)
        shelf = apps.of(state["caller"].app)
        if not isinstance(request, ProfileRequest):
            return answer(shelf, request)
        if request.placement is not None:
            return answer(shelf, request)
        question = question_of(served(shelf, request), request)
        return list_answer(question.one, listed(question, await batcher.submit(question)), request.fields)

    return answered


def mode_of(request: Ask) -> str:
    """Name the mode for counts: without a profile it is the trend's."""
    return "trend" if isinstance(request, ProfileRequest) and request.profile is None else request.mode


def answer(shelf: ServedBundles, request: Ask) -> bytes:
    """Answer one question. Raises Refusal."""
    bundle = served(shelf, request)
    if not isinstance(request, ProfileRequest):
        candidates, unknown = candidates_for(bundle, request)
        whole = {
            "bundle_version": bundle.version,
            "mode": request.mode,
            "unknown_exclude": unknown,
            "candidates": candidates,
        }
        return json.dumps(whole, ensure_ascii=False, allow_nan=False).encode()
    if request.placement is not None:
        return placement_answer(shelf, bundle, request)
    return list_answer(bundle, list_for(bundle, request), request.fields)


def list_answer(bundle: ServedBundle, result: ListResult, fields: Sequence[str] | None) -> bytes:
    """Write a list as it is answered. fields: of its items; None for the usual ones."""
    missing = b'[], "unknown_items": []'
    if result.unknown_exclude or result.unknown_items:
        ids = [
            json.dumps(unknown, ensure_ascii=False, allow_nan=False)
            for unknown in (result.unknown_exclude, result.unknown_items)
        ]
        missing = f'{ids[0]}, "unknown_items": {ids[1]}'.encode()
    return (
        b'{"bundle_version": "%b", "mode": "profile", "recommendation_id": "%b", "fallback": %b, '
        b'"unknown_exclude": %b, "cursor": %b, "recommendations": %b}'
    ) % (
        bundle.version.encode(),
        os.urandom(16).hex().encode(),
        b'"trend"' if result.fallback else b"null",
        missing,
        b"null" if result.cursor is None else b'"%b"' % result.cursor.encode(),
        list_json(bundle, result.items, result.scores, result.reasons, fields),
    )


def served(shelf: ServedBundles, request: Ask) -> ServedBundle:
    """Find the bundle that is asked for, if it is still answered. Raises Refusal, which says what to fetch."""
    bundle = shelf.get(request.bundle_version)
    if bundle is None:
        current = shelf.current
        problem = "not served"
        if request.bundle_version == CURRENT:
            if isinstance(request, ProfileRequest) and request.profile is None:
                return current
            problem = "`current` is for questions without a profile; profiles and clusters belong to one version"
        raise Refusal(
            "bundle_too_old",
            f"bundle_version: {problem}; the current one is {current.version}",
            {"current": current.version, "fetch": f"/v1/catalogue/{current.version}"},
        )
    return bundle


def with_items(head: Mapping[str, Any], name: str, items: bytes) -> bytes:
    """Write a JSON object with a list that is JSON already as its last member."""
    return json.dumps(head, ensure_ascii=False, allow_nan=False)[:-1].encode() + f', "{name}": '.encode() + items + b"}"


def _one_of_many(shelf: ServedBundles, sent: Any) -> bytes:
    try:
        return answer(shelf, parse_ask(sent))
    except Refusal as refusal:
        error = {"code": refusal.code, "message": str(refusal), "details": refusal.details}
        return json.dumps({"error": error}, allow_nan=False).encode()
