"""What a change of a device's state only adds: small enough to be appended to the vault instead of writing it anew.

Whatever removes or replaces something is none, and is written as a snapshot. So the vault's file never has anything
that is not in the state, and an account of what was sent is never in the part of the file that could be cut off.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind
from federation.device.state import DeviceState, Event, OwnRows, add_event, seen_as
from federation.device.unknown_fields import Unknown, hashable, unknown_fields
from recsys.experiments.definition.definition import OutcomeEvent
from recsys.experiments.device.outcomes import OutcomeRecord

_EVENT = ("time", "item_id", "kind", "quantity", "price", "available")
_ADDITION = ("event", "rows", "place", "notes")
_UNKNOWN_ADDITIONS = "unknown_additions"
"""Field of a state with what a newer program appended and this one does not know, in the order in which it came."""


@dataclass(frozen=True)
class Addition:
    """An event, rows that stand together among the own rows from `place` on, and notes for experiments; some or none.

    unknown: what a newer program added.
    """

    event: Event | None = None
    rows: OwnRows | None = None
    place: int = 0
    notes: tuple[OutcomeRecord, ...] = field(default=(), repr=False)
    unknown: Unknown = field(default_factory=dict, repr=False)

    def encode(self) -> bytes:
        """Encode as JSON bytes for the vault's log."""
        stored: dict[str, Any] = dict(self.unknown)
        if self.event is not None:
            event = self.event
            stored["event"] = {name: json.loads(value) for name, value in event.unknown} | {
                "time": event.time,
                "item_id": event.item_id,
                "kind": int(event.kind),
                "quantity": event.quantity,
                "price": event.price,
                "available": event.available,
            }
        if self.rows is not None:
            stored |= {"rows": self.rows.encode(), "place": self.place}
        if self.notes:
            stored["notes"] = [[note.time, note.event, note.value, note.item_id] for note in self.notes]
        return json.dumps(stored).encode()

    @staticmethod
    def decode(content: bytes) -> Addition:
        """Read the addition of encode."""
        stored = json.loads(content)
        event = None
        if "event" in stored:
            kept = stored["event"]
            unknown = hashable(unknown_fields(kept, _EVENT))
            seen = seen_as(kept.get("price"), kept.get("available"))
            event = Event(kept["time"], kept["item_id"], EventKind(kept["kind"]), kept["quantity"], unknown, *seen)
        rows = OwnRows.decode(stored["rows"]) if "rows" in stored else None
        notes = tuple(OutcomeRecord(time, OutcomeEvent(kind), *rest) for time, kind, *rest in stored.get("notes", ()))
        return Addition(event, rows, stored.get("place", 0), notes, unknown_fields(stored, _ADDITION))


def add_all(state: DeviceState, additions: Sequence[Addition]) -> DeviceState:
    """Make the state with all of these in it, in their order."""
    events = [addition.event for addition in additions if addition.event is not None]
    if len(events) == 1:
        state = replace(state, events=add_event(state.events, events[0]))
    elif events:
        state = replace(state, events=tuple(sorted((*state.events, *events), key=lambda event: event.time)))
    rows = [addition for addition in additions if addition.rows is not None]
    if rows:
        state = replace(state, own_rows=_with_rows(state.own_rows, rows))
    notes = [note for addition in additions for note in addition.notes]
    if notes:
        log = state.experiments
        state = replace(state, experiments=replace(log, notes=(*log.notes, *notes)))
    unknown = [dict(addition.unknown) for addition in additions if addition.unknown]
    if unknown:
        later = [*state.unknown.get(_UNKNOWN_ADDITIONS, ()), *unknown]
        state = replace(state, unknown={**state.unknown, _UNKNOWN_ADDITIONS: later})
    return state


def added_notes(before: DeviceState, after: DeviceState) -> Addition | None:
    """Find what a change added where it added notes and did nothing else; None otherwise."""
    had, has = before.experiments.notes, after.experiments.notes
    if len(has) <= len(had) or has[: len(had)] != had:
        return None
    notes = has[len(had) :]
    same = replace(before, experiments=replace(before.experiments, notes=has))
    return Addition(notes=notes) if _is_same(same, after) else None


def _is_same(one: DeviceState, other: DeviceState) -> bool:
    """Compare by identity but for the log of experiments: a change that touches nothing else keeps the others."""
    names = ("events", "own_rows", "catalogue", "participation", "clusters", "noise", "named", "minor", "unknown")
    identical = all(getattr(one, name) is getattr(other, name) for name in names)
    return identical and one.consent == other.consent and one.experiments == other.experiments


def _with_rows(own: OwnRows | None, additions: Sequence[Addition]) -> OwnRows:
    item_ids: list[str] = [] if own is None else list(own.item_ids)
    rows: list[npt.NDArray[np.float32]] = [] if own is None else list(own.rows)
    for addition in additions:
        assert addition.rows is not None
        own = own or addition.rows
        item_ids[addition.place : addition.place] = addition.rows.item_ids
        rows[addition.place : addition.place] = addition.rows.rows
    assert own is not None
    return replace(own, item_ids=tuple(item_ids), rows=np.stack(rows))
