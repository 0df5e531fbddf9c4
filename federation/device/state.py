"""What a device's vault holds: the shopper's choice, their events, the item rows those need, and its share in sums.

The fields are the complete list: no account, no e-mail, no device id, so that logging in or out changes nothing.
"""

from __future__ import annotations

import base64
import bisect
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from data.interactions import EventKind
from data.vocabulary import Vocabulary
from federation.device.cluster_ledger import ClusterAccount
from federation.device.ledger import Participation
from federation.device.noise_ledger import NoiseAccount
from federation.device.outcome_log import ExperimentLog
from federation.device.timestamps import checked_time
from federation.device.unknown_fields import Unknown, hashable, unknown_fields

Consent = Literal["nothing", "observe", "contribute"]
FORMAT = 2
"""A vault of a higher one is refused. 1: ledger entries and messages as arrays; no `minor`."""

MINOR = 4
"""Rises with every field that is added, anywhere; a reader keeps what it does not know. 1: when an experiment's device
is to come back. 2: what was named in mode cluster. 3: which reports were taken back, where an answer of mode cluster
lies. 4: an event's price and availability."""

EXPORT_FORMAT = 1

_EVENT = ("time", "item_id", "kind", "quantity", "price", "available")
_OWN_ROWS = ("bundle_version", "item_id", "rows")
_STATE = (
    *("format", "minor", "consent", "events", "own_rows", "catalogue", "participation", "clusters", "noise"),
    *("experiments", "named"),
)


@dataclass(frozen=True)
class Event:
    """One thing the shopper did. time: µs since 1970 UTC; quantity: units, > 0.

    price, available: of the item as the device's catalogue had it then, None where it had none; they make no other
    event of it. unknown: fields of a newer program, as pairs of name and JSON; they make no other event of it.
    """

    time: int
    item_id: str
    kind: EventKind
    quantity: float = 1.0
    unknown: tuple[tuple[str, str], ...] = field(default=(), compare=False)
    price: float | None = field(default=None, compare=False)
    available: bool | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return "Event(…)"


@dataclass(frozen=True)
class OwnRows:
    """Full-precision item embeddings (n, dim) float32 of the history's own items, of one bundle."""

    bundle_version: str
    item_ids: tuple[str, ...] = field(repr=False)
    rows: npt.NDArray[np.float32] = field(repr=False)
    unknown: Unknown = field(default_factory=dict, repr=False)

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        rows = base64.b64encode(self.rows.astype("<f4").tobytes()).decode()
        return {**self.unknown, "bundle_version": self.bundle_version, "item_id": self.item_ids, "rows": rows}

    @staticmethod
    def decode(stored: dict[str, Any]) -> OwnRows:
        """Read the rows of encode."""
        rows = np.frombuffer(base64.b64decode(stored["rows"]), "<f4").reshape(len(stored["item_id"]), -1)
        return OwnRows(stored["bundle_version"], tuple(stored["item_id"]), rows, unknown_fields(stored, _OWN_ROWS))


@dataclass(frozen=True)
class DeviceState:
    """The state that a vault stores. catalogue, clusters: sha256 of the downloaded files, which are public themselves.

    noise: what was said in mode noised, and what it cost. named: what was in mode cluster, how often, and by which
    files. experiments: what happened in them, and what was said of it. minor: of the format, the highest that any
    program wrote. unknown: fields of a program newer than this one.
    """

    consent: Consent = "nothing"
    events: tuple[Event, ...] = field(default=(), repr=False)
    own_rows: OwnRows | None = field(default=None, repr=False)
    catalogue: str | None = None
    participation: Participation = field(default_factory=Participation)
    clusters: str | None = None
    noise: NoiseAccount = field(default_factory=NoiseAccount, repr=False)
    experiments: ExperimentLog = field(default_factory=ExperimentLog, repr=False)
    named: ClusterAccount = field(default_factory=ClusterAccount, repr=False)
    minor: int = MINOR
    unknown: Unknown = field(default_factory=dict, repr=False)

    def encode(self) -> bytes:
        """Encode as JSON bytes for the vault."""
        return json.dumps(
            {
                **self.unknown,
                "format": FORMAT,
                "minor": self.minor,
                "consent": self.consent,
                "events": _columns(self.events) | _unknown_columns(self.events),
                "own_rows": self.own_rows and self.own_rows.encode(),
                "catalogue": self.catalogue,
                "participation": self.participation.encode(),
                "clusters": self.clusters,
                "noise": self.noise.encode(),
                "experiments": self.experiments.encode(),
                "named": self.named.encode(),
            }
        ).encode()

    @staticmethod
    def decode(content: bytes) -> DeviceState:
        """Read the state of encode. Raises ServingError for a newer major format."""
        stored = json.loads(content)
        if not 1 <= stored["format"] <= FORMAT:
            raise ServingError(
                f"vault: content format={stored['format']}: this version reads formats 1 to {FORMAT}; use a newer one"
            )
        own = stored["own_rows"]
        held = stored.get("participation")  # a vault of before there were rounds has none
        participation = Participation() if held is None else Participation.decode(held)
        said = stored.get("noise")  # nor has one of before there were modes any
        noise = NoiseAccount() if said is None else NoiseAccount.decode(said)
        tried = stored.get("experiments")  # nor of before there were experiments
        experiments = ExperimentLog() if tried is None else ExperimentLog.decode(tried)
        answered = stored.get("named")  # nor of before answers of mode cluster were counted
        named = ClusterAccount() if answered is None else ClusterAccount.decode(answered)
        return DeviceState(
            stored["consent"],
            _events(stored["events"]),
            None if own is None else OwnRows.decode(own),
            stored["catalogue"],
            participation,
            stored.get("clusters"),
            noise,
            experiments,
            named,
            max(MINOR, stored.get("minor", 0)),
            unknown_fields(stored, _STATE),
        )


def encode_events(events: Iterable[Event]) -> bytes:
    """Encode the content of an export: events and nothing else."""
    return json.dumps({"format": EXPORT_FORMAT, "events": _columns(events)}).encode()


def decode_events(content: bytes) -> tuple[Event, ...]:
    """Decode the events of encode_events."""
    stored = json.loads(content)
    if stored["format"] != EXPORT_FORMAT:
        raise ServingError(f"export: content format={stored['format']}: this version reads format {EXPORT_FORMAT}")
    events = _events(stored["events"])
    for event in events:
        checked_time(event.time)
    return events


def add_event(events: tuple[Event, ...], event: Event) -> tuple[Event, ...]:
    """Add an event to the history, oldest first; equal times stay in the order in which they were observed."""
    if not events or events[-1].time <= event.time:
        return events + (event,)  # noqa: RUF005  # one copy of a long history instead of two
    place = bisect.bisect_right(events, event.time, key=_time)
    return (*events[:place], event, *events[place:])


def merge(ours: tuple[Event, ...], theirs: tuple[Event, ...]) -> tuple[Event, ...]:
    """Unite two histories, oldest first, ours before theirs at equal times.

    An event in both is there once.

    Two equal events within ONE history (a log with times to the minute) both stay: the larger count wins. So merging
    again changes nothing, and devices may exchange exports in any order.
    """
    missing = Counter(theirs) - Counter(ours)
    fresh = []
    for event in theirs:
        if missing[event] > 0:
            missing[event] -= 1
            fresh.append(event)
    return tuple(sorted((*ours, *fresh), key=_time))


def known_columns(
    events: tuple[Event, ...], items: Vocabulary
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Convert the events whose item the catalogue knows to columns.

    item_idx int32, kind uint8 and time int64, each (n,).
    """
    item_idx = items.index_of([event.item_id for event in events])
    known = item_idx >= 0
    kind = np.array([event.kind for event in events], dtype=np.uint8)
    time = np.array([event.time for event in events], dtype=np.int64)
    return item_idx[known], kind[known], time[known]


def parse_kind(kind: str | EventKind) -> EventKind:
    """Parse an event kind by its name, as in logs: view, cart, purchase, like, dislike."""
    if isinstance(kind, EventKind):
        return kind
    try:
        return EventKind[kind.upper()]
    except KeyError:
        raise ServingError(f"kind={kind!r}: must be one of {[known.name.lower() for known in EventKind]}") from None


def parse_consent(consent: str) -> Consent:
    """Parse a consent by its name."""
    for known in get_args(Consent):
        if consent == known:
            return known  # type: ignore[no-any-return]  # get_args forgets the literal
    raise ServingError(f"consent={consent!r}: must be one of {list(get_args(Consent))}")


def seen_as(price: object, available: object) -> tuple[float | None, bool | None]:
    """Read price and availability of an event; what is none of that is none."""
    number = isinstance(price, (int, float)) and not isinstance(price, bool) and math.isfinite(price)
    return float(price) if number else None, available if isinstance(available, bool) else None  # type: ignore[arg-type]


def _time(event: Event) -> int:
    return event.time


def _columns(events: Iterable[Event]) -> dict[str, list[Any]]:
    rows = list(events)
    return {
        "time": [event.time for event in rows],
        "item_id": [event.item_id for event in rows],
        "kind": [int(event.kind) for event in rows],
        "quantity": [event.quantity for event in rows],
        "price": [event.price for event in rows],
        "available": [event.available for event in rows],
    }


def _unknown_columns(events: Iterable[Event]) -> dict[str, list[Any]]:
    """Collect columns of a newer program; None where an event has no value."""
    every = [dict(event.unknown) for event in events]
    names = sorted({name for unknown in every for name in unknown})
    return {name: [json.loads(unknown.get(name, "null")) for unknown in every] for name in names}


def _events(columns: dict[str, list[Any]]) -> tuple[Event, ...]:
    unknown: list[tuple[tuple[str, str], ...]] = [()] * len(columns["time"])
    if more := unknown_fields(columns, _EVENT):
        unknown = [hashable(dict(zip(more, values, strict=True))) for values in zip(*more.values(), strict=True)]
    nothing = [None] * len(columns["time"])  # of before prices were kept
    price, available = columns.get("price", nothing), columns.get("available", nothing)
    known = (columns[name] for name in ("time", "item_id", "kind", "quantity"))
    rows = zip(*known, unknown, price, available, strict=True)
    return tuple(
        Event(int(time), str(item_id), EventKind(kind), float(quantity), rest, *seen_as(price, available))
        for time, item_id, kind, quantity, rest, price, available in rows
    )
