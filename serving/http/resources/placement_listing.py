"""From a question for a placement to its list: what needs no history, as a device makes it too."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.lists.placements.placement import Placement, Placements, Source
from recsys.lists.placements.public_lists import Bounds, Near, place_rows, public_list, public_source
from recsys.lists.placements.queries import ListQuery, list_query
from recsys.lists.placements.shop_items import ShopItems
from recsys.lists.rules import RankedList, parse_rules
from recsys.search.filters import parse_filter
from serving.http.bodies import invalid_field, profile_vector
from serving.http.resources.ask_bodies import ProfileRequest
from serving.http.resources.item_json import check_fields, list_json
from serving.refusal import Refusal
from serving.shelf.served import ServedBundle, ServedBundles

MICROS = 1_000_000


def placement_answer(shelf: ServedBundles, served: ServedBundle, request: ProfileRequest) -> bytes:
    """Answer a question that names a placement. Raises Refusal; no message holds what was sent."""
    placement = named(shelf.placements_of(served), request)
    check_fields(served, request.fields)
    if request.cursor is not None or request.reasons:
        raise invalid_field("cursor" if request.cursor is not None else "reasons", "not with a placement")
    items, now = served.shop_items, int(time.time() * MICROS)
    source: Source = placement.source
    near, unknown_items = _near(items, request)
    exclude, unknown_exclude = items.places(request.exclude)
    try:
        condition = None if request.filter is None else parse_filter(request.filter)
        bounds = Bounds(condition, parse_rules({} if request.rules is None else request.rules), exclude)
        unknown_items += items.prepared(bounds.rules).unknown
        profile = None if request.profile is None else profile_vector(request.profile, served.bundle.table.dim)[0]
        query = list_query(items, profile, near.context, near.cart)
        if placement.source == "rows":
            rows = _rows(served, placement, query, near, bounds, request, now)
            listed = b"[]"
        else:
            ranked, source = public_list(items, placement, query, near, now, bounds)
            rows, listed = None, _written(served, ranked, request)
    except ModelError as error:
        where, _, problem = str(error).partition(": ")
        raise invalid_field(where, problem) from None
    told = {
        "bundle_version": served.version,
        "mode": "profile",
        "recommendation_id": os.urandom(16).hex(),
        "fallback": "trend" if query.vector is None else None,
        "unknown_exclude": unknown_exclude,
        "unknown_items": list(unknown_items),
        "cursor": None,
        "placement": request.placement,
        "source": source,
    }
    head = json.dumps(told, ensure_ascii=False, allow_nan=False)[:-1].encode()
    more = b"" if rows is None else b', "rows": ' + rows
    return head + more + b', "recommendations": ' + listed + b"}"


def named(placements: Placements, request: ProfileRequest) -> Placement:
    """Find the placement of a request, with what the request itself sets. Raises Refusal for one of a history."""
    try:
        placement = placements.named(request.placement or "")
    except ModelError as error:
        raise invalid_field("placement", str(error).partition(": ")[2]) from None
    if placement.needs_history or placement.unseen:
        what = "unseen" if not placement.needs_history else f"source {placement.source}"
        raise Refusal("needs_device", f"placement: {what} needs the history, which only the device has", {})
    given = request.model_fields_set
    if "top_k" in given:
        placement = replace(placement, top_k=request.top_k)
    return replace(placement, diversity=request.diversity) if "diversity" in given else placement


def _near(items: ShopItems, request: ProfileRequest) -> tuple[Near, tuple[str, ...]]:
    page, unknown = items.places([] if request.context is None else [request.context])
    cart, unknown_cart = items.places(request.cart)
    return Near(int(page[0]) if len(page) else None, cart), (*unknown, *unknown_cart)


def _rows(
    served: ServedBundle,
    placement: Placement,
    query: ListQuery,
    near: Near,
    bounds: Bounds,
    request: ProfileRequest,
    now: int,
) -> bytes:
    items = served.shop_items
    hidden: npt.NDArray[np.int32] = np.concatenate((bounds.hidden, near.items))
    scored = public_source(items, "rows", query, near, now)
    rows = [] if scored is None else place_rows(items, placement, scored, replace(bounds, hidden=hidden))
    written = [
        b'{"category": %b, "recommendations": %b}'
        % (
            json.dumps(row.category, ensure_ascii=False, allow_nan=False).encode(),
            _written(served, row.listed, request),
        )
        for row in rows
    ]
    return b"[" + b", ".join(written) + b"]"


def _text(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


def _written(served: ServedBundle, ranked: RankedList, request: ProfileRequest) -> bytes:
    return list_json(served, ranked.item_idx, ranked.scores, fields=request.fields)
