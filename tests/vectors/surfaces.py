"""Writes surfaces.json: what every surface of a device lists, for implementations of other languages.

`python -m tests.vectors.surfaces`; tests/vectors/README.md has the format. Lists are of what a device holds: the
catalogue's file, in int8, and what changed since.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.interactions import EventKind, interactions
from federation.device.asking.catalogue_file import now_shown
from federation.device.state import DeviceState, Event
from federation.device.surfaces.placement_list import PlacementRequest, list_placement
from federation.device.surfaces.ranked_items import rank_items
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import Catalogue, decode_catalogue, encode_catalogue
from recsys.catalogue.changes import CatalogueChange, CatalogueChanges
from recsys.lists.placements.placement import SOURCES, Placements
from recsys.lists.placements.placements_file import placements_of
from recsys.lists.placements.surface_tables import build_surface_tables
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.model import MixModel
from recsys.mix.priors import LISTS, prior_weights
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from recsys.model.trend import trend

PATH = Path(__file__).with_name("surfaces.json")
N_ITEMS, DIM, DAY = 48, 8, 86_400_000_000
NOW = 1_767_225_600_000_000  # 2026-01-01
SAVED = {
    "placements": {
        "home": {"source": "for-you", "top_k": 8, "trend_share": 0.3, "diversity": 0.3,
                 "rules": {"cap": [{"by": "category", "most": 3}]}},
        "page": {"source": "goes-with", "top_k": 6, "filter": {"price": {"max": 40}},
                 "rules": {"boost": [{"filter": {"attributes.brand": "oak"}, "by": 0.5}]}},
        "fresh": {"source": "new-for-you", "top_k": 5, "days": 20, "fallback": "none"},
        "others": {"source": "for-you", "top_k": 7, "unseen": True},
    },
    "attributes": ["size"],
}  # fmt: skip


def a_bundle(folder: Path, *, mixed: bool) -> Bundle:
    """A shop of 48 items in four categories, with baskets, prices, brands, sizes and dates; the same every time."""
    rng = np.random.Generator(np.random.PCG64(7))
    n_events = 1200
    taste = rng.integers(0, 4, 60)
    user = rng.integers(0, 60, n_events)
    item = np.where(
        rng.random(n_events) < 0.7, rng.integers(0, 12, n_events) * 4 + taste[user], rng.integers(0, N_ITEMS, n_events)
    )
    time = NOW - rng.integers(0, 90, n_events) * DAY
    kind = np.where(rng.random(n_events) < 0.6, EventKind.PURCHASE, EventKind.VIEW).astype(np.uint8)
    log = interactions(user, item, time, n_users=60, n_items=N_ITEMS, kind=kind)
    place = np.arange(N_ITEMS)
    catalogue = pl.DataFrame(
        {
            "item_id": [f"i{number:02d}" for number in place],
            "title": [f"Thing {number}" for number in place],
            "category": [None if number == 5 else ["tea", "cups", "lamps", "rugs"][number % 4] for number in place],
            "price": [None if number == 9 else 5.0 + 1.25 * int(number) for number in place],
            "available": [number not in (3, 11) for number in place],
            "brand": [[None, "oak", "elm", "ash", "fir"][number % 5] for number in place],
            "size": [float(36 + number % 7) for number in place],
            "regular_price": [9.0 + 1.25 * int(number) if number % 6 == 0 else None for number in place],
            "added_at": [f"2025-12-{1 + int(number) % 28:02d}" if number % 3 == 0 else None for number in place],
        }
    )
    rows = np.eye(4, DIM)[place % 4] * 0.5 + rng.normal(0, 0.2, (N_ITEMS, DIM))
    table = ItemTable(rows.astype(np.float32), trend(log, NOW), rng.normal(0, 0.1, DIM).astype(np.float32))
    mix = None
    if mixed:
        weights = {name: prior_weights("purchases", name) for name in LISTS}
        mix = MixModel(weights, dict.fromkeys(LISTS, "prior"), 0, build_tables(log, NOW, attributes_of(catalogue)))
    return save_bundle(
        folder, name="vectors", table=table, catalogue=catalogue, seed=0,
        config=ProfileConfig(trend_weight=0.15, repeat_weight=0.5),
        data_hash="vectors", privacy="none: drawn", mix=mix, overwrite=True,
        surfaces=build_surface_tables(log, catalogue["category"]), placements=placements_of(SAVED),
    )  # fmt: skip


def changes_of(bundle: Bundle) -> CatalogueChanges:
    """A new item, one that came back, one that costs less, one that is gone."""
    row = np.linspace(-0.4, 0.5, DIM).astype(np.float32)
    fields = {"title": "New thing", "category": "tea", "price": 12.5, "available": True, "brand": "oak", "size": 40.0,
              "regular_price": None, "added_at": None}  # fmt: skip
    shown = {"title": "Thing", "brand": None, "size": 38.0, "regular_price": None, "added_at": None}
    return CatalogueChanges(
        bundle.version,
        4,
        (
            CatalogueChange("i03", shown | {"category": "rugs", "price": 8.75, "available": True}),
            CatalogueChange("i08", shown | {"category": "tea", "price": 10.0, "available": True}),
            CatalogueChange("i20", None),
            CatalogueChange("n00", fields, row),
        ),
        "e",
    )


def histories() -> dict[str, list[list[Any]]]:
    """item_id, kind, time, price, available of each event, oldest first."""
    rng = np.random.Generator(np.random.PCG64(11))
    long = []
    for number in range(24):
        item = int(rng.integers(0, 6)) * 4 + (0 if number % 5 else 1)
        kind = "purchase" if number % 3 == 0 else "view"
        long.append([f"i{item:02d}", kind, NOW - (50 - 2 * number) * DAY, 5.0 + 1.25 * item, True])
    looked = [
        ["i03", "view", NOW - 9 * DAY, 8.75, False],
        ["i08", "view", NOW - 8 * DAY, 15.0, True],
        ["i12", "cart", NOW - 7 * DAY, 20.0, True],
        ["i30", "dislike", NOW - 6 * DAY, None, None],
        ["gone", "view", NOW - 5 * DAY, None, None],
        ["n00", "view", NOW - 4 * DAY, 14.0, True],
    ]
    return {"nobody": [], "one": [["i16", "purchase", NOW - DAY, 25.0, True]], "looked": looked, "long": long}


def state_of(events: list[list[Any]]) -> DeviceState:
    """A device of these events."""
    made = tuple(
        Event(time, item_id, EventKind[kind.upper()], price=price, available=available)
        for item_id, kind, time, price, available in events
    )
    return DeviceState(consent="observe", events=made)


def requests(placements: Placements) -> list[dict[str, Any]]:
    """What is asked: every source, every saved placement, and what a request may say beside."""
    asked: list[dict[str, Any]] = [
        {"placement": source, "top_k": 7} for source in SOURCES if source not in ("similar", "goes-with")
    ]
    asked += [{"placement": name} for name in placements.placements]
    for source in ("similar", "goes-with"):
        asked += [{"placement": source, "context": "i16"}, {"placement": source, "context": "n00", "top_k": 5}]
    asked += [
        {"placement": "goes-with", "cart": ["i16", "i01", "unknown"]},
        {"placement": "page", "context": "i16", "cart": ["i02"]},
        {"placement": "for-you", "context": "i16", "cart": ["i02", "i05"], "top_k": 6},
        {"placement": "for-you", "cart": ["n00"], "top_k": 6},
        {"placement": "for-you", "filter": {"attributes.size": {"min": 40}, "not": {"category": "tea"}}},
        {"placement": "for-you", "filter": {"any": [{"attributes.brand": ["oak", "elm"]}, {"price": {"max": 8}}]}},
        {"placement": "for-you", "exclude": ["i16", "i20", "nothing"], "diversity": 0.5},
        {"placement": "for-you", "unseen": True},
        {"placement": "for-you", "repeat": False},
        {"placement": "trending", "rules": {
            "pin": [{"item_id": "i40", "position": 2}, {"item_id": "i11", "position": 1}],
            "bury": [{"filter": {"category": "tea"}, "by": 1.5}], "cap": [{"by": "attributes.brand", "most": 2}]}},
        {"placement": "home", "rules": {
            "pin": [{"item_id": "i47", "position": 1}], "cap": [{"by": "category", "most": 1}]}},
    ]  # fmt: skip
    return asked


def ranks() -> list[dict[str, Any]]:
    """Lists to be ranked: by order and by scores, each impact and surface, unknown items among them."""
    rng = np.random.Generator(np.random.PCG64(13))
    items = [f"i{number:02d}" for number in rng.permutation(N_ITEMS)[:20].tolist()]
    items[4] = "unknown"
    scores = np.sort(rng.gamma(2.0, 3.0, len(items)))[::-1].round(3).tolist()
    return [
        {"items": items, "base": base, "impact": impact, "surface": surface}
        for base in (None, scores)
        for impact in ("low", "medium", "high")
        for surface in ("search", "category")
    ] + [{"items": items[:1], "base": None, "impact": "medium", "surface": "search"},
         {"items": [], "base": None, "impact": "low", "surface": "search"}]  # fmt: skip


def shop(mixed: bool) -> dict[str, Any]:
    """One shop's catalogue, changes and answers."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = a_bundle(Path(folder) / "b", mixed=mixed)
        content, changes = encode_catalogue(bundle), changes_of(bundle)
    return {
        "catalogue": base64.b64encode(content).decode(),
        "changes": json.loads(changes.encode()),
        "answers": answers(now_shown(decode_catalogue(content), changes)),
    }


def answers(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Every request of every history, and what a device answers."""
    told = []
    for name, events in histories().items():
        state = state_of(events)
        for request in requests(catalogue.placements):
            rest = {key: value for key, value in request.items() if key != "placement"}
            placement = catalogue.placements.named(request["placement"])
            listed = list_placement(state, catalogue, request["placement"], placement, PlacementRequest(**rest), NOW)
            answer: dict[str, Any] = {
                "item_ids": listed.item_ids,
                "scores": [item.score for item in listed.items],
                "source": listed.source,
                "fallback": listed.fallback,
                "about": listed.about,
                "unknown_items": list(listed.unknown_items),
                "unknown_exclude": list(listed.unknown_exclude),
            }
            if listed.rows:
                answer["rows"] = [{"category": row.category, "item_ids": [item.item_id for item in row.items],
                                   "scores": [item.score for item in row.items]} for row in listed.rows]  # fmt: skip
            told.append({"history": name, "recommend": request, "answer": answer})
        for request in ranks():
            ranked, _ = rank_items(state, catalogue, *request.values(), NOW, None)
            answer = {"item_ids": list(ranked.item_ids), "scores": list(ranked.scores), "unknown": list(ranked.unknown)}
            told.append({"history": name, "rank": request, "answer": answer})
    return told


def vectors() -> dict[str, Any]:
    """The file's content."""
    return {"now": NOW, "histories": histories(), "shops": {"mix": shop(True), "plain": shop(False)}}


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), separators=(",", ":"), allow_nan=False) + "\n")
