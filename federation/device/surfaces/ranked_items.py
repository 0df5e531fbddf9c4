"""A shop's own list re-ordered on the device: what it knows of every item is made once for each change of history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from federation.device.lists import own_arm, personal_scores
from federation.device.mixed_list import events_of
from federation.device.state import DeviceState, known_columns
from recsys.catalogue.catalogue import Catalogue
from recsys.lists.rank_items import (
    Impact,
    RankSignals,
    Surface,
    base_heights,
    check_rank,
    rank_scores,
    reorder,
)
from recsys.mix.features import OWN_COLUMNS
from recsys.mix.mixed_arm import Mixed
from recsys.mix.pools import features_of_history, halves
from recsys.model.profile import make_profile

HOUR_US = 3_600_000_000
"""Ages of events are read by the hour, so that lists within it need no new signals."""


@dataclass(frozen=True)
class RankedItems:
    """The shop's items in the device's order, with their scores; unknown: those that the catalogue does not have."""

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class HeldSignals:
    """Signals, and of which history, catalogue and hour they are."""

    events: tuple[object, ...]
    catalogue: Catalogue
    hour: int
    signals: RankSignals | None


def rank_items(
    state: DeviceState,
    catalogue: Catalogue,
    items: Sequence[str],
    base: Sequence[float] | None,
    impact: Impact,
    surface: Surface,
    now: int,
    held: HeldSignals | None,
) -> tuple[RankedItems, HeldSignals]:
    """Re-order a shop's list as of now (µs), its own order kept where nothing is known of the shopper.

    held: of an earlier call, used while they are good. Raises ModelError for an impossible list.
    """
    check_rank(items, impact, surface)
    events, hour = () if state.consent == "nothing" else state.events, now // HOUR_US
    if held is None or held.events is not events or held.catalogue is not catalogue or held.hour != hour:
        held = HeldSignals(events, catalogue, hour, rank_signals(state, catalogue, hour * HOUR_US))
    heights = base_heights(len(items), base)
    item_idx = catalogue.items.index_of(list(items))
    unknown = tuple(item_id for item_id, place in zip(items, item_idx.tolist(), strict=True) if place < 0)
    if held.signals is None:
        order, scores = np.argsort(-heights, kind="stable"), heights
    else:
        start = np.argsort(-heights, kind="stable")
        scores = rank_scores(held.signals, item_idx, heights, impact, surface)
        order = start[reorder(scores[start], impact)]
    ranked = tuple(items[place] for place in order.tolist())
    return RankedItems(ranked, tuple(scores[order].tolist()), unknown), held


def rank_signals(state: DeviceState, catalogue: Catalogue, now: int) -> RankSignals | None:
    """Make what a device knows of every item as of now (µs); None without a history in use."""
    history = known_columns(() if state.consent == "nothing" else state.events, catalogue.items)
    item_idx, kind, time = history
    if not len(item_idx):
        return None
    n_items = catalogue.table.n_items
    liked = kind != EventKind.DISLIKE
    present = np.zeros(n_items, dtype=np.bool_)
    present[item_idx[liked]] = True
    by = own_arm(catalogue)
    own: npt.NDArray[np.float32] = np.zeros(n_items, dtype=np.float32)
    if isinstance(by, Mixed):
        vector = make_profile(catalogue.table, *history, now, halves(catalogue.config), "").vector
        features = features_of_history(by.signals, events_of(history, n_items), now, vector)
        weights = by.weights("new")
        weights[list(OWN_COLUMNS)] = 0.0
        personal = features @ weights
        columns = list(OWN_COLUMNS)
        own = features[:, columns] @ by.weights("all")[columns]
    else:
        allowed = np.ones(n_items, dtype=np.bool_)
        plain = personal_scores(state, catalogue, now, by=own_arm(catalogue, repeat=False), new=True, allowed=allowed)
        lifted = personal_scores(state, catalogue, now, by=by, new=False, allowed=allowed)
        spread = float(plain.scores.std(dtype=np.float64))
        unit = np.float32(1.0 / spread if spread > 0 else 1.0)
        personal, own = plain.scores * unit, (lifted.scores - plain.scores) * unit
    baskets = len(np.unique(time[kind == EventKind.PURCHASE]))
    return RankSignals(personal, own, present, int(present.sum()), baskets)
