"""The list of a placement, made on the device from its own history and a public catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from federation.device.lists import (
    Recommendations,
    RecommendedRow,
    check_top_k,
    listed_items,
    own_arm,
    personal_scores,
    profile_of,
    without_seen,
)
from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue
from recsys.lists.placements.history_lists import OwnHistory, history_source
from recsys.lists.placements.placement import Placement, Source
from recsys.lists.placements.public_lists import (
    Bounds,
    Near,
    SourceScores,
    place_list,
    place_rows,
    public_source,
    stand_in,
)
from recsys.lists.placements.queries import list_query
from recsys.lists.placements.shop_items import ShopItems
from recsys.lists.rules import parse_rules
from recsys.search.filters import parse_filter

MAX_CART = 100


@dataclass(frozen=True)
class PlacementRequest:
    """What is asked of a placement on this page.

    None keeps what the placement says: top_k, diversity, unseen. filter and rules, JSON values as in a request, hold
    beside its own. repeat: whether own purchases count.
    """

    top_k: int | None = None
    context: str | None = None
    cart: Sequence[str] = ()
    filter: object | None = None
    rules: object | None = None
    exclude: Sequence[str] = ()
    diversity: float | None = None
    unseen: bool | None = None
    repeat: bool = True


def list_placement(
    state: DeviceState, catalogue: Catalogue, name: str, placement: Placement, asked: PlacementRequest, now: int
) -> Recommendations:
    """Make the list of a placement as of now (µs). Raises ServingError or ModelError with the place of a mistake."""
    placement = _as_asked(placement, asked)
    items = catalogue.shop_items
    unseen = without_seen(state, ()) if placement.unseen else []
    hidden, _ = items.places([*asked.exclude, *unseen])
    _, unknown_exclude = items.places(list(asked.exclude))
    near, unknown = _near(items, asked)
    bounds = Bounds(
        None if asked.filter is None else parse_filter(asked.filter),
        parse_rules({} if asked.rules is None else asked.rules),
        np.concatenate((hidden, near.items)),
    )
    unknown += items.prepared(bounds.rules).unknown
    profile = profile_of(state, catalogue, now)
    vector = None if profile is None else profile.vector
    shopper = _Shopper(state, catalogue, vector, asked.repeat, now)
    scored, about = score_placement(shopper, placement, near, bounds)
    told = Recommendations(
        (), catalogue.bundle_version, "device", "trend" if vector is None else None,
        tuple(unknown_exclude), unknown, name, placement.source, about,
    )  # fmt: skip
    if placement.source == "rows":
        rows = [] if scored is None else place_rows(items, placement, scored, bounds)
        return replace(
            told,
            rows=tuple(
                RecommendedRow(row.category, listed_items(catalogue, row.listed.item_idx, row.listed.scores))
                for row in rows
            ),
        )
    nothing = SourceScores(items.trend, np.zeros(items.n_items, dtype=np.bool_))
    source: Source = placement.source
    listed = place_list(items, placement, scored or nothing, bounds)
    if not len(listed.item_idx):
        query = list_query(items, vector)
        listed, source = stand_in(items, placement, query, near, now, bounds)
        told = replace(told, about=None)
    return replace(told, items=listed_items(catalogue, listed.item_idx, listed.scores), source=source)


@dataclass(frozen=True, eq=False, repr=False)
class _Shopper:
    """Who a list is for. profile: (dim,), None without one."""

    state: DeviceState
    catalogue: Catalogue
    profile: npt.NDArray[np.float32] | None
    repeat: bool
    now: int


def score_placement(
    shopper: _Shopper, placement: Placement, near: Near, bounds: Bounds
) -> tuple[SourceScores | None, str | None]:
    """Score a placement's source for this device, and name the item that it is about, if any.

    What is for the shopper alone is ranked as `recommend` does it; what is beside an item or a cart by one query.
    """
    catalogue, items, source = shopper.catalogue, shopper.catalogue.shop_items, placement.source
    if placement.needs_history:
        scored, about = history_source(
            items,
            source,
            own_history(shopper.state, catalogue),
            _personal(shopper, placement, bounds) if source == "buy-again" else items.trend,
            shopper.profile,
            shopper.now,
            sold_out_before=_sold_out_before(catalogue),
            intervals=None if catalogue.surfaces is None else catalogue.surfaces.intervals,
        )
        return scored, None if about is None else str(catalogue.shown["item_id"][about])
    query = list_query(items, shopper.profile, near.context, near.cart)
    scored = public_source(items, source, query, near, shopper.now, placement.days)
    alone = source in ("for-you", "rows", "on-sale", "new-for-you") and not len(near.items)
    if scored is None or not alone or shopper.profile is None:
        return scored, None
    return SourceScores(_personal(shopper, placement, bounds), scored.within), None


def _personal(shopper: _Shopper, placement: Placement, bounds: Bounds) -> npt.NDArray[np.float32]:
    """Score all items as `recommend` does, among those that may be listed."""
    items = shopper.catalogue.shop_items
    allowed = items.allowed(placement.condition) & items.allowed(bounds.condition)
    allowed[bounds.hidden] = False
    by = own_arm(shopper.catalogue, shopper.repeat)
    return personal_scores(
        shopper.state, shopper.catalogue, shopper.now, by=by, new=placement.unseen, allowed=allowed
    ).scores


def own_history(state: DeviceState, catalogue: Catalogue) -> OwnHistory:
    """Convert the events in use to columns; none without consent."""
    events = () if state.consent == "nothing" else state.events
    item_idx = catalogue.items.index_of([event.item_id for event in events])
    known = item_idx >= 0
    codes = {None: -1, False: 0, True: 1}
    columns: list[npt.NDArray[np.generic]] = [
        np.array([event.kind for event in events], dtype=np.uint8),
        np.array([event.time for event in events], dtype=np.int64),
        np.array([np.nan if event.price is None else event.price for event in events], dtype=np.float64),
        np.array([codes[event.available] for event in events], dtype=np.int8),
    ]
    return OwnHistory(item_idx[known], *(column[known] for column in columns))  # type: ignore[arg-type]


def _near(items: ShopItems, asked: PlacementRequest) -> tuple[Near, tuple[str, ...]]:
    if len(asked.cart) > MAX_CART:
        raise ServingError(f"cart: {len(asked.cart)} items: must be at most {MAX_CART}")
    page, unknown = items.places([] if asked.context is None else [asked.context])
    cart, unknown_cart = items.places(list(asked.cart))
    return Near(int(page[0]) if len(page) else None, cart), (*unknown, *unknown_cart)


def _as_asked(placement: Placement, asked: PlacementRequest) -> Placement:
    given = {"top_k": asked.top_k, "diversity": asked.diversity, "unseen": asked.unseen}
    if asked.top_k is not None:
        check_top_k(asked.top_k)
    return replace(placement, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _sold_out_before(catalogue: Catalogue) -> npt.NDArray[np.bool_]:
    out = np.zeros(catalogue.table.n_items, dtype=np.bool_)
    out[catalogue.of_bundle.unavailable] = True
    return out


def as_shown(catalogue: Catalogue | None, item_id: str) -> tuple[float | None, bool | None]:
    """Look up price and availability of an item as they are now, None for what is not known: noted with an event."""
    place = -1 if catalogue is None else int(catalogue.items.index_of([item_id])[0])
    if catalogue is None or place < 0:
        return None, None
    return catalogue.shown["price"][place], bool(catalogue.shown["available"][place])
