"""Items over HTTP: one item, items like it, and a shop's changes, which every worker shows within a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Body, FastAPI, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serving.access import caller
from serving.http.bodies import MAX_ID_CHARS, invalid_field, refusals
from serving.http.resources.ask_routes import NO_STORE, with_items
from serving.http.resources.item_bodies import (
    FIELDS,
    Changed,
    ItemAnswer,
    PutItems,
    SimilarAnswer,
    SimilarQuery,
    SimilarRequest,
)
from serving.http.resources.item_json import check_fields, list_json, plain, row_text
from serving.http.resources.listing import places, shown_for, similar_to
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundle
from serving.state.item_store import ItemStore

_ID = Annotated[str, Path(min_length=1, max_length=MAX_ID_CHARS)]


def add_items(app: FastAPI, apps: Apps, store: ItemStore, look: Callable[[], None]) -> None:
    """Mount the routes. look: takes over what the store has, in this process, at once."""

    @app.get(
        "/v1/items/{item_id:path}/similar",
        summary="Items like one item",
        response_model=SimilarAnswer,
        responses=refusals(404, 422),
    )
    async def similar(item_id: _ID, query: Annotated[SimilarQuery, Query()], request: Request) -> Response:
        return _similar(
            _current(apps, request), item_id, SimilarRequest(top_k=query.top_k, exclude=[], fields=query.fields)
        )

    @app.post(
        "/v1/items/{item_id:path}/similar",
        summary="Items like one item, with a filter",
        response_model=SimilarAnswer,
        responses=refusals(404, 413, 422),
    )
    async def similar_filtered(item_id: _ID, asked: SimilarRequest, request: Request) -> Response:
        return _similar(_current(apps, request), item_id, asked)

    @app.get("/v1/items/{item_id:path}", summary="One item as it is now", responses=refusals(404, 422))
    async def item(item_id: _ID, request: Request) -> ItemAnswer:
        one = _current(apps, request)
        place = _place(one, item_id)
        row = one.live.catalogue.row(place, named=True)
        known = {*FIELDS, "item_id"}
        return ItemAnswer(
            bundle_version=one.version,
            item_id=item_id,
            **{name: row.get(name) for name in FIELDS if name != "available"},
            available=bool(one.live.available[place]),
            attributes={name: plain(value) for name, value in row.items() if name not in known},
            row=row_text(one, place),
        )

    @app.put("/v1/items", summary="Put items", responses=refusals(413, 422))
    async def put(asked: Annotated[PutItems, Body()], request: Request) -> Changed:
        owner = caller(request.scope).app
        one = apps.of(owner).current
        check_changes(one, [(item.item_id, item.fields()) for item in asked.items])
        changes = [(item.item_id, item.fields()) for item in asked.items]
        sequence = await run_in_threadpool(_stored, lambda: store.put(owner, changes), look)
        return Changed(sequence=sequence)

    @app.delete("/v1/items/{item_id:path}", summary="Delete an item", responses=refusals(404, 422))
    async def delete(item_id: _ID, request: Request) -> Changed:
        owner = caller(request.scope).app
        _place(apps.of(owner).current, item_id)
        sequence = await run_in_threadpool(_stored, lambda: store.delete(owner, [item_id]), look)
        return Changed(sequence=sequence)


def check_changes(bundle: ServedBundle, changes: list[tuple[str, dict[str, Any]]]) -> None:
    """Check changes against the current catalogue.

    Raises Refusal for what it cannot hold, with the place and without the value.
    """
    columns = bundle.live.catalogue.columns
    known = sorted(set(columns) - {"item_id"})
    for at, (_, fields) in enumerate(changes):
        for name, value in fields.items():
            if name not in columns or name == "item_id":
                raise invalid_field(f"items.{at}", f"a field that is not one of {', '.join(known)}")
            if not bundle.live.fits(name, value):
                place = name if name in FIELDS else f"attributes.{name}"
                raise invalid_field(f"items.{at}.{place}", "a value that is not of its column's type")


def _stored(change: Callable[[], int], look: Callable[[], None]) -> int:
    sequence = change()
    look()
    return sequence


def _similar(bundle: ServedBundle, item_id: str, request: SimilarRequest) -> Response:
    place = _place(bundle, item_id)
    check_fields(bundle, request.fields)
    hidden, _ = places(bundle, request.exclude)
    items, scores = similar_to(bundle, place, request.top_k, shown_for(bundle, request.filter), hidden)
    listed = list_json(bundle, items, scores, fields=request.fields)
    body = with_items({"bundle_version": bundle.version, "item_id": item_id}, "similar", listed)
    return Response(body, 200, NO_STORE, "application/json")


def _current(apps: Apps, request: Request) -> ServedBundle:
    return apps.of(caller(request.scope).app).current


def _place(bundle: ServedBundle, item_id: str) -> int:
    place = int(bundle.live.index_of([item_id])[0])
    if place < 0:
        raise Refusal("unknown_item", f"item_id: not in bundle {bundle.version}", {"current": bundle.version})
    return place
