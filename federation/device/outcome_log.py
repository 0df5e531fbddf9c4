"""What a device's vault holds of experiments: its secret, what happened, in which it is, and what it has said so far.

None of it leaves the device but increments of bounded sums (recsys/experiments/analysis/layout.py) through the
private sum.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data.errors import DataError
from federation.device.interleaved_list import OpenList
from federation.device.ledger import PendingReport
from federation.device.unknown_fields import Unknown, unknown_fields, without_naming
from recsys.experiments.analysis.layout import Floats, Integers, Layout
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.definition import MAX_DAYS, Experiment, OutcomeEvent
from recsys.experiments.definition.definition_file import canonical_json, experiment_of
from recsys.experiments.device.assignment import SECRET_BYTES
from recsys.experiments.device.interleaving import CREDIT_S, Tally
from recsys.experiments.device.outcomes import MICROS, OutcomeRecord

KEEP_S = 2 * MAX_DAYS * 86_400
"""Notes older than the longest covariate and experiment together are forgotten."""

OF_ITEMS = (OutcomeEvent.CLICK, OutcomeEvent.CART, OutcomeEvent.PURCHASE)
"""What happens to items; sessions and lists are of none."""

_ENROLMENT = (
    *("experiment_id", "fixed_hash", "exposed_at", "cell", "sent", "window", "pending", "left", "tally", "open_list"),
    *("spoke", "come_back_at"),
)
_LOG = ("secret", "definitions", "notes", "enrolments", "shown")

MAX_SHOWN = 20
"""Lists that are remembered while a view may be a click on one of their items."""


@dataclass(frozen=True)
class ShownList:
    """The items of a list that the shopper saw. at: µs since 1970 UTC. surface: "" for none. Prints no item."""

    at: int
    surface: str
    item_ids: tuple[str, ...] = field(repr=False)

    def encode(self) -> list[Any]:
        """Encode for the vault's JSON."""
        return [self.at, self.surface, self.item_ids]

    @staticmethod
    def decode(stored: list[Any]) -> ShownList:
        """Decode the list of encode."""
        at, surface, item_ids = stored
        return ShownList(at, surface, tuple(item_ids))


@dataclass(frozen=True)
class Enrolment:
    """One experiment that the device is assigned to.

    fixed_hash: of what no version may change. exposed_at: µs since 1970 UTC, None before. cell: of its segments at the
    exposure. sent: (2, slots) what reports have said so far, in steps. window: of the last report, -1 before the first.
    pending: a report on its way. spoke: the windows whose reports said something. left: a report was lost, so its later
    increments would be of nobody the sums know: from then on the device says nothing but zeros. tally, open_list: of
    interleaved lists, sessions so far and the last list while it is not settled. come_back_at: when to ask for a task
    again, seconds since 1970-01-01 UTC.
    """

    experiment_id: str
    fixed_hash: bytes
    exposed_at: int | None = None
    cell: int = 0
    sent: tuple[tuple[int, ...], tuple[int, ...]] = field(default=((), ()), repr=False)
    window: int = -1
    pending: PendingReport | None = None
    left: bool = False
    tally: Tally | None = field(default=None, repr=False)
    open_list: OpenList | None = field(default=None, repr=False)
    spoke: tuple[int, ...] = ()
    come_back_at: int = 0
    unknown: Unknown = field(default_factory=dict, repr=False)

    def sent_so_far(self, layout: Layout) -> Integers:
        """Collect what was sent so far, (2, slots) int64."""
        empty: Integers = np.zeros((2, len(layout.slots)), dtype=np.int64)
        return np.array(self.sent, dtype=np.int64) if self.sent[0] else empty

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        return {
            **self.unknown,
            "experiment_id": self.experiment_id,
            "fixed_hash": self.fixed_hash.hex(),
            "exposed_at": self.exposed_at,
            "cell": self.cell,
            "sent": self.sent,
            "window": self.window,
            "pending": self.pending and self.pending.encode(),
            "left": self.left,
            "tally": self.tally and [self.tally.wins, self.tally.losses, self.tally.cap],
            "open_list": self.open_list and self.open_list.encode(),
            "spoke": self.spoke,
            "come_back_at": self.come_back_at,
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> Enrolment:
        """Decode the enrolment of encode."""
        pending, (rise, fall) = stored["pending"], stored["sent"]
        tally, open_list = stored.get("tally"), stored.get("open_list")  # a vault of before lists were interleaved
        return Enrolment(
            experiment_id=stored["experiment_id"],
            fixed_hash=bytes.fromhex(stored["fixed_hash"]),
            exposed_at=stored["exposed_at"],
            cell=stored["cell"],
            sent=(tuple(rise), tuple(fall)),
            window=stored["window"],
            pending=pending and PendingReport.decode(pending),
            left=stored["left"],
            tally=tally and Tally(*tally),
            open_list=open_list and OpenList.decode(open_list),
            spoke=tuple(stored.get("spoke", ())),  # vaults of before have none
            come_back_at=stored.get("come_back_at", 0),  # nor this
            unknown=unknown_fields(stored, _ENROLMENT),
        )


@dataclass(frozen=True)
class ExperimentLog:
    """secret: 32 random bytes that assign this device, drawn with the first definition. definitions: those running.

    shown: the last lists, only as long as a view may be a click on one of their items.
    newer_definitions: JSON of those that only a newer program understands; this one is in none of them.
    """

    secret: bytes = field(default=b"", repr=False)
    definitions: tuple[Experiment, ...] = ()
    notes: tuple[OutcomeRecord, ...] = field(default=(), repr=False)
    enrolments: tuple[Enrolment, ...] = ()
    newer_definitions: tuple[str, ...] = ()
    shown: tuple[ShownList, ...] = field(default=(), repr=False)
    unknown: Unknown = field(default_factory=dict, repr=False)

    def definition(self, experiment_id: str) -> Experiment | None:
        """Find a running experiment by id."""
        return next((experiment for experiment in self.definitions if experiment.id == experiment_id), None)

    def enrolment(self, experiment: Experiment) -> Enrolment:
        """Return the device's own part in an experiment; a fresh one before anything happened."""
        enrolment = next((entry for entry in self.enrolments if entry.experiment_id == experiment.id), None)
        return enrolment or Enrolment(experiment.id, fixed_hash(experiment))

    def with_enrolment(self, enrolment: Enrolment) -> ExperimentLog:
        """Put this part in its experiment."""
        others = [entry for entry in self.enrolments if entry.experiment_id != enrolment.experiment_id]
        return replace(self, enrolments=(*others, enrolment))

    def with_note(self, note: OutcomeRecord) -> ExperimentLog:
        """Append what happened; what is too old to matter is forgotten."""
        recent = (record for record in self.notes if record.time >= note.time - KEEP_S * MICROS)
        return replace(self, notes=(*recent, note))

    def with_shown(self, shown: ShownList) -> ExperimentLog:
        """Remember a list, and forget those that no view can be a click on any more."""
        recent = [seen for seen in self.shown if seen.at > shown.at - CREDIT_S * MICROS]
        return replace(self, shown=(*recent, shown)[-MAX_SHOWN:])

    def is_click(self, item_id: str, time: int) -> bool:
        """Check if looking at an item at `time` (µs) is a click: the first one on the last list that had it.

        It counts for half an hour from when the list was shown.
        """
        lists = [seen.at for seen in self.shown if item_id in seen.item_ids and seen.at <= time]
        if not lists or time > max(lists) + CREDIT_S * MICROS:
            return False
        clicks = (note for note in self.notes if note.event is OutcomeEvent.CLICK and note.item_id == item_id)
        return not any(max(lists) <= note.time <= time for note in clicks)

    def names(self, item_id: str) -> bool:
        """Check if a note, a list or a field of a newer program is of the item."""
        if any(item_id in seen.item_ids for seen in self.shown):
            return True
        unknown = (self.unknown, *(part.unknown for part in self.enrolments))
        return any(record.item_id == item_id for record in self.notes) or any(
            without_naming(fields, item_id) != fields for fields in unknown
        )

    def without_item(self, item_id: str) -> ExperimentLog:
        """Remove the notes of an item, and those of some item that do not say of which: they may be its."""
        remaining = (
            record
            for record in self.notes
            if record.item_id != item_id and not (record.item_id is None and record.event in OF_ITEMS)
        )
        parts = tuple(replace(part, unknown=without_naming(part.unknown, item_id)) for part in self.enrolments)
        unknown = without_naming(self.unknown, item_id)
        return replace(self, notes=tuple(remaining), enrolments=parts, unknown=unknown)

    def without_shopper(self, charged: Collection[bytes]) -> ExperimentLog:
        """Remove anything that the shopper did.

        charged: fixed hashes of the experiments that the ledger has.

        In those the device goes on like one who left: what it said cannot be unsaid, and to begin anew would say it
        twice for one charge. Its secret stays, which is random and of no shopper: with another one, forgetting would be
        a way into another arm.
        """
        silent = (
            Enrolment(enrolment.experiment_id, enrolment.fixed_hash, window=enrolment.window, left=True)
            for enrolment in self.enrolments
            if enrolment.fixed_hash in charged
        )
        return replace(self, notes=(), enrolments=tuple(silent), shown=(), unknown={})

    def without_reports(self) -> ExperimentLog:
        """Stop experiments whose reports were destroyed on their way: they go on without this device.

        Which lists were shown, and whose picks an interleaved one had, is forgotten too.
        """
        if not self.shown and not any(enrolment.pending or enrolment.open_list for enrolment in self.enrolments):
            return self
        gone = (
            replace(enrolment, pending=None, left=enrolment.left or enrolment.pending is not None, open_list=None)
            for enrolment in self.enrolments
        )
        return replace(self, enrolments=tuple(gone), shown=())

    def without_windows(self, failed: Mapping[str, Collection[int]]) -> ExperimentLog:
        """Note windows that failed, by experiment.

        Where this device had said something, it goes on like one who left.
        """
        lost = [
            enrolment
            for enrolment in self.enrolments
            if not enrolment.left and set(enrolment.spoke) & set(failed.get(enrolment.experiment_id, ()))
        ]
        gone = (replace(enrolment, left=True) if enrolment in lost else enrolment for enrolment in self.enrolments)
        return replace(self, enrolments=tuple(gone)) if lost else self

    def thresholds(self, experiment: Experiment, layout: Layout) -> Floats:
        """Derive how this device rounds in this experiment, (2, slots) in [0, 1). It is the same in every window."""
        seed = hmac.digest(self.secret, b"ownshelf/rounding/v1" + experiment.id.encode(), hashlib.sha256)
        return np.random.default_rng(int.from_bytes(seed, "big")).random((2, len(layout.slots)))

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        return {
            **self.unknown,
            "secret": self.secret.hex(),
            "definitions": [*(canonical_json(one) for one in self.definitions), *self.newer_definitions],
            "notes": [[note.time, note.event, note.value, note.item_id] for note in self.notes],
            "enrolments": [entry.encode() for entry in self.enrolments],
            "shown": [seen.encode() for seen in self.shown],
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> ExperimentLog:
        """Decode the log of encode."""
        secret = bytes.fromhex(stored["secret"])
        assert len(secret) in (0, SECRET_BYTES)
        readable = {text: _definition(text) for text in stored["definitions"]}
        return ExperimentLog(
            secret=secret,
            definitions=tuple(definition for definition in readable.values() if definition is not None),
            notes=tuple(OutcomeRecord(time, OutcomeEvent(event), *rest) for time, event, *rest in stored["notes"]),
            enrolments=tuple(Enrolment.decode(entry) for entry in stored["enrolments"]),
            newer_definitions=tuple(text for text, definition in readable.items() if definition is None),
            shown=tuple(ShownList.decode(seen) for seen in stored.get("shown", ())),  # vaults of before have none
            unknown=unknown_fields(stored, _LOG),
        )


def _definition(text: str) -> Experiment | None:
    try:
        return experiment_of(json.loads(text))
    except DataError:
        return None
