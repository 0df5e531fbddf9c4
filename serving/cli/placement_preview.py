"""One page with every placement's list: for a new shopper, for three typical histories, and for one's own device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.interactions import EventKind
from federation.device.lists import Recommendation, Recommendations
from federation.device.state import DeviceState, Event
from federation.device.surfaces.placement_list import PlacementRequest, list_placement
from recsys.catalogue.catalogue import Catalogue
from recsys.lists.placements.placement import Placement
from recsys.model.items import TASTE
from recsys.reports.templates import render

PAGES = Path(__file__).with_name("pages")
TYPICAL, EVENTS = 3, 8
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class PreviewList:
    """One list of the page. why: what stands in, or what it is about, in words."""

    shopper: str
    items: tuple[Recommendation, ...]
    why: str


def preview_page(catalogue: Catalogue, own: DeviceState | None, now: int, top_k: int = 8) -> str:
    """Render the page. own: a device's state, whose lists are shown too; the page is for its shopper's eyes then."""
    shoppers = {"a new shopper": DeviceState(consent="observe")}
    shoppers |= typical_shoppers(catalogue, now)
    if own is not None:
        shoppers["this device"] = own
    sections = [
        (name, placement, [_list(shopper, state, catalogue, name, placement, now, top_k)
                           for shopper, state in shoppers.items()])
        for name, placement in catalogue.placements.every.items()
    ]  # fmt: skip
    histories = {name: _history(catalogue, state) for name, state in shoppers.items() if name != "a new shopper"}
    return render(PAGES, "placements.html", name=catalogue.name, sections=sections, histories=histories)


def typical_shoppers(catalogue: Catalogue, now: int) -> dict[str, DeviceState]:
    """Make three shoppers of tastes apart: what is popular around an item, looked at and then bought.

    The first item is the most popular one, each further one the popular item least like those before; no log is read.
    """
    table = catalogue.of_bundle.table
    rows = table.rows_of(TASTE)
    directions = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    popular = np.argsort(-table.trend, kind="stable")[: max(EVENTS * TYPICAL, len(rows) // 4)]
    chosen = [int(popular[0])]
    while len(chosen) < min(TYPICAL, len(popular)):
        likeness = (directions[popular] @ directions[chosen].T).max(axis=1)
        chosen.append(int(popular[np.argmin(likeness)]))
    shoppers = {}
    ids = catalogue.shown["item_id"]
    for place, seed in enumerate(chosen, 1):
        near = popular[np.argsort(-(directions[popular] @ directions[seed]), kind="stable")][:EVENTS]
        events = []
        for age, item in enumerate(near.tolist()[::-1]):
            kind = EventKind.PURCHASE if age % 3 == 0 else EventKind.VIEW
            time = now - (EVENTS - age) * 24 * HOUR_US
            price = catalogue.shown["price"][item]
            events.append(Event(time, str(ids[item]), kind, price=None if price is None else price * 1.25))
        shoppers[f"shopper {place}"] = DeviceState(consent="observe", events=tuple(events))
    return shoppers


def _list(
    shopper: str, state: DeviceState, catalogue: Catalogue, name: str, placement: Placement, now: int, top_k: int
) -> PreviewList:
    near: Mapping[str, object] = {}
    if placement.source in ("similar", "goes-with"):
        last = next((event.item_id for event in reversed(state.events)), None)
        page = last or str(catalogue.shown["item_id"][int(np.argmax(catalogue.of_bundle.table.trend))])
        near = {"context": page}
    asked = PlacementRequest(min(top_k, placement.top_k), **near)  # type: ignore[arg-type]
    listed = list_placement(state, catalogue, name, placement, asked, now)
    if placement.source == "rows":
        firsts = tuple(item for row in listed.rows for item in row.items[:2])
        return PreviewList(shopper, firsts[:top_k], ", ".join(row.category for row in listed.rows) or "no categories")
    return PreviewList(shopper, listed.items, _why(listed, placement, catalogue, near.get("context")))


def _why(listed: Recommendations, placement: Placement, catalogue: Catalogue, page: object) -> str:
    if not listed.items:
        return "nothing to list"
    if listed.source != placement.source:
        return f"{listed.source} stands in"
    about = listed.about or page
    return "" if about is None else f"of {_title(catalogue, str(about))}"


def _history(catalogue: Catalogue, state: DeviceState) -> str:
    latest = [f"{event.kind.name.lower()} {_title(catalogue, event.item_id)}" for event in state.events[-EVENTS:][::-1]]
    return "; ".join(latest) or "nothing yet"


def _title(catalogue: Catalogue, item_id: str) -> str:
    place = int(catalogue.items.index_of([item_id])[0])
    return item_id if place < 0 else str(catalogue.shown["title"][place] or item_id)
