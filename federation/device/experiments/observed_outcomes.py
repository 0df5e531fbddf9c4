"""Outcomes that a device notes by itself: lists that were shown, clicks on them, carts, purchases. Sends nothing."""

from __future__ import annotations

import math
from dataclasses import replace

from data.interactions import EventKind
from federation.device.experiments.enrolment import exposed
from federation.device.lists import Recommendations
from federation.device.outcome_log import ShownList
from federation.device.state import DeviceState, Event
from federation.device.vault.state_additions import Addition, add_all
from recsys.catalogue.catalogue import Catalogue
from recsys.experiments.definition.definition import OutcomeEvent
from recsys.experiments.device.outcomes import OutcomeRecord
from recsys.lists.diversity import intra_list_similarity


def with_list_shown(
    state: DeviceState, catalogue: Catalogue | None, listed: Recommendations, now: int
) -> tuple[DeviceState, tuple[str, ...]]:
    """Record that a list was shown at `now` (µs), and which experiments the shopper comes into by it.

    Into those alone whose arms made this very list. Without consent, an experiment or an item nothing is recorded.
    """
    log, item_ids = state.experiments, every_item_id(listed)
    if state.consent != "contribute" or not log.definitions or not item_ids:
        return state, ()
    surface = listed.placement or None
    state, entered = exposed(state, catalogue, "list_shown", surface, now, listed.experiments)
    shown = OutcomeRecord(now, OutcomeEvent.LIST, diversity_of(catalogue, item_ids))
    log = state.experiments.with_note(shown).with_shown(ShownList(now, listed.placement, item_ids))
    return replace(state, experiments=log), entered


def every_item_id(listed: Recommendations) -> tuple[str, ...]:
    """Name every item of a list or of a page of rows, each once."""
    items = [*listed.items, *(item for row in listed.rows for item in row.items)]
    return tuple(dict.fromkeys(item.item_id for item in items))


def with_outcomes(
    before: DeviceState, after: DeviceState | Addition, event: Event, value: float | None
) -> DeviceState | Addition:
    """Add to what an event changes the outcomes that it is.

    before: the state without the event. value: money paid; None takes the price that the catalogue had, 0 without one.
    """
    noted = outcome_of(before, event, value)
    if noted is None:
        return after
    log = before.experiments.with_note(noted)
    if isinstance(after, Addition) and len(log.notes) == len(before.experiments.notes) + 1:
        return replace(after, notes=(noted,))
    if isinstance(after, Addition):  # old notes were forgotten, which no addition can do
        after = add_all(before, (after,))
    return replace(after, experiments=log)


def outcome_of(state: DeviceState, event: Event, value: float | None) -> OutcomeRecord | None:
    """Name the outcome that an event is: a click on an item that was shown, a cart, a purchase; None for no outcome.

    Looking at an item is a click once a list that had it, within half an hour. Carts and purchases are outcomes of
    every device that contributes: what was spent before an exposure is what covariates are made of.
    """
    if state.consent != "contribute":
        return None
    if event.kind in (EventKind.VIEW, EventKind.LIKE):
        clicked = state.experiments.is_click(event.item_id, event.time)
        return OutcomeRecord(event.time, OutcomeEvent.CLICK, 1.0, event.item_id) if clicked else None
    if event.kind is EventKind.CART:
        return OutcomeRecord(event.time, OutcomeEvent.CART, event.quantity, event.item_id)
    if event.kind is EventKind.PURCHASE:
        money = (event.price or 0.0) * event.quantity if value is None else value
        return OutcomeRecord(event.time, OutcomeEvent.PURCHASE, money, event.item_id)
    return None


def diversity_of(catalogue: Catalogue | None, item_ids: tuple[str, ...]) -> float:
    """Compute one minus the mean cosine of a list's items, 0..2; 0 for fewer than two that the catalogue knows."""
    if catalogue is None:
        return 0.0
    item_idx = catalogue.items.index_of(list(item_ids))
    alike = intra_list_similarity(catalogue.table.item_embeddings[item_idx[item_idx >= 0]])
    return 0.0 if math.isnan(alike) else max(1.0 - float(alike), 0.0)
