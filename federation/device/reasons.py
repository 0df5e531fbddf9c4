"""Why each item of a device's list is in it, in words for its own shopper; made on the device, sent to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import EventKind
from federation.device.mixed_list import History, MixedList
from recsys.catalogue.catalogue import Catalogue
from recsys.lists.reasons import Contributions, because
from recsys.mix.features import NEXT_HALF_LIFE, RECENT_EVENTS
from recsys.model.items import INTENT, has_part

_VERBS = {
    EventKind.VIEW: "because you viewed {}",
    EventKind.CART: "because you put {} in your cart",
    EventKind.PURCHASE: "because you bought {}",
    EventKind.LIKE: "because you liked {}",
    EventKind.DISLIKE: "because you disliked {}",
}


@dataclass(frozen=True)
class Reason:
    """The largest of all that speaks for an item.

    kind: what was done with an item of the history; "repeat" for the own history with the listed item; "trend";
    "category" or "price" for what is like the items seen last.
    item_id: that item of the history, the listed one itself for "repeat", else None.
    share: this part of the sum of all positive parts of the score, in (0, 1].
    signals: of a list by the mix, what each signal (recsys/mix/features.SIGNALS) adds to the score, negative ones too;
    they add up to it.
    """

    kind: Literal["view", "cart", "purchase", "like", "dislike", "repeat", "trend", "category", "price"]
    item_id: str | None = field(repr=False)
    share: float
    text: str = field(repr=False)
    signals: Mapping[str, float] = field(default_factory=dict, repr=False)


POPULAR = Reason("trend", None, 1.0, "popular now")


def reasons_for(
    catalogue: Catalogue,
    history: History,
    now: int,
    listed: npt.NDArray[np.int32],
    repeated: npt.NDArray[np.int32],
    bonus: npt.NDArray[np.float32],
) -> list[Reason | None]:
    """Give one reason for each listed item (k,).

    None where nothing speaks for it and it is only the least unlikely.

    own, bonus: (m,), what the repeat counter adds to the shopper's own items.
    """
    contributions = because(catalogue.table, *history, now, catalogue.config, listed)
    trend = catalogue.config.trend_weight * catalogue.table.trend[listed].astype(np.float64)
    repeat = dict(zip(repeated.tolist(), bonus.tolist(), strict=True))
    return [
        _largest(catalogue, contributions, place, item, float(trend[place]), repeat.get(item, 0.0))
        for place, item in enumerate(listed.tolist())
    ]


def mixed_reasons(
    catalogue: Catalogue, history: History, now: int, listed: npt.NDArray[np.int32], mixed: MixedList
) -> list[Reason | None]:
    """Give one reason for each item (k,) of a list by the mix.

    It is the signal that adds most, with the event that speaks most.

    None for an item that no signal speaks for, or that is in no pool.
    """
    reasons: list[Reason | None] = []
    causes = {
        "taste": because(catalogue.table, *history, now, replace(catalogue.config, intent_share=0.0), listed),
        "transition": follows(catalogue, history, listed),
    }
    if has_part(catalogue.table.parts, INTENT):
        only = replace(catalogue.config, intent_share=1.0)
        causes["intent"] = because(catalogue.table, *history, now, only, listed)
    for place, (item, signals) in enumerate(zip(listed.tolist(), mixed.shares(listed), strict=True)):
        whole = sum(value for value in signals.values() if value > 0)
        if whole <= 0:
            reasons.append(None)
            continue
        name = max(signals, key=lambda signal: signals[signal])
        share = signals[name] / whole
        if name in causes:
            reason = _by_event(catalogue, causes[name], place, item, share)
        elif name == "own":
            reason = Reason("repeat", catalogue.items.ids[item], share, "because you had it before")
        elif name == "category":
            reason = Reason("category", None, share, f"popular in {catalogue.shown['category'][item]}")
        elif name == "price":
            reason = Reason("price", None, share, "about as dear as what you looked at")
        else:
            reason = Reason("trend", None, share, POPULAR.text)
        reasons.append(replace(reason, signals=signals))
    return reasons


def follows(catalogue: Catalogue, history: History, listed: npt.NDArray[np.int32]) -> Contributions:
    """Compute what each item of a history adds to the transitions to the listed items (k,).

    It is at the shorter half-life.
    """
    if catalogue.mix is None:
        raise ModelError("follows: the catalogue has no mix, so no transitions")
    item_idx, kind, _ = history
    speaks = kind != EventKind.DISLIKE
    item_idx, kind = item_idx[speaks][-RECENT_EVENTS:], kind[speaks][-RECENT_EVENTS:]
    distinct, where = np.unique(item_idx, return_inverse=True)
    age = np.arange(len(item_idx) - 1, -1, -1)
    weight = np.bincount(where, np.exp2(-age / NEXT_HALF_LIFE), len(distinct))
    last = np.zeros(len(distinct), dtype=np.uint8)
    last[where] = kind
    table = catalogue.mix.tables.transitions[distinct][:, listed].toarray()
    return Contributions(distinct.astype(np.int32), last, (table * weight[:, None]).T.astype(np.float64))


def _by_event(catalogue: Catalogue, contributions: Contributions, place: int, item: int, share: float) -> Reason:
    """Name the event that adds most; the trend where none adds anything."""
    parts = contributions.parts[place]
    if not len(parts) or parts.max() <= 0:
        return Reason("trend", None, share, POPULAR.text)
    strongest = int(parts.argmax())
    kind, cause = EventKind(contributions.kind[strongest]), int(contributions.item_idx[strongest])
    item_id, title = catalogue.items.ids[cause], catalogue.shown["title"][cause]
    what = "it before" if cause == item else title or item_id
    return Reason(kind.name.lower(), item_id, share, _VERBS[kind].format(what))  # type: ignore[arg-type]


def _largest(
    catalogue: Catalogue, contributions: Contributions, place: int, item: int, trend: float, repeat: float
) -> Reason | None:
    parts = contributions.parts[place]
    whole = float(parts[parts > 0].sum()) + trend + repeat
    if whole <= 0:
        return None
    strongest = int(parts.argmax())
    largest = max(float(parts[strongest]), trend, repeat)
    share = largest / whole
    if largest == trend:
        return Reason("trend", None, share, POPULAR.text)
    if largest == repeat:
        return Reason("repeat", catalogue.items.ids[item], share, "because you have bought it before")
    return _by_event(catalogue, contributions, place, item, share)
