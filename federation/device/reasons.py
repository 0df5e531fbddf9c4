"""Why each item of a device's list is in it, in words for its own shopper; made on the device, sent to nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from recsys.catalogue.catalogue import Catalogue
from recsys.lists.reasons import Contributions, because

History = tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""item_idx, kind and time of the events in use, oldest first."""

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

    kind: what was done with an item of the history; "repeat" for the counter of own purchases; "trend".
    item_id: that item of the history, the listed one itself for "repeat", None for "trend".
    share: this part of the sum of all positive parts of the score, in (0, 1].
    """

    kind: Literal["view", "cart", "purchase", "like", "dislike", "repeat", "trend"]
    item_id: str | None = field(repr=False)
    share: float
    text: str = field(repr=False)


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
    kind, cause = EventKind(contributions.kind[strongest]), int(contributions.item_idx[strongest])
    item_id, title = catalogue.items.ids[cause], catalogue.shown["title"][cause]
    what = "it before" if cause == item else title or item_id
    return Reason(kind.name.lower(), item_id, share, _VERBS[kind].format(what))  # type: ignore[arg-type]
