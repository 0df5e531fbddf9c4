"""What a device's vault holds: the shopper's choice, their events, the item rows those need, and its share in sums.

The fields are the complete list: no account, no e-mail, no device id, so that logging in or out changes nothing.
"""

from __future__ import annotations

import base64
import json
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

Consent = Literal["nothing", "observe", "contribute"]
FORMAT = 1


@dataclass(frozen=True)
class Event:
    """One thing the shopper did. time: µs since 1970 UTC; quantity: units, > 0."""

    time: int
    item_id: str
    kind: EventKind
    quantity: float = 1.0

    def __repr__(self) -> str:
        return "Event(…)"


@dataclass(frozen=True)
class OwnRows:
    """Full-precision item embeddings (n, dim) float32 of the history's own items, of one bundle."""

    bundle_version: str
    item_ids: tuple[str, ...] = field(repr=False)
    rows: npt.NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class DeviceState:
    """Everything that is stored. catalogue, clusters: sha256 of the downloaded files, which are public themselves.

    noise: what was said in mode noised, and what it cost. named: what was in mode cluster, how often, and by which
    files. experiments: what happened in them, and what was said of it.
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

    def encode(self) -> bytes:
        """JSON bytes for the vault."""
        own = self.own_rows
        return json.dumps(
            {
                "format": FORMAT,
                "consent": self.consent,
                "events": _columns(self.events),
                "own_rows": own
                and {
                    "bundle_version": own.bundle_version,
                    "item_id": own.item_ids,
                    "rows": base64.b64encode(own.rows.astype("<f4").tobytes()).decode(),
                },
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
        """The state of encode."""
        stored = json.loads(content)
        if stored["format"] != FORMAT:
            raise ServingError(f"vault: content format={stored['format']}: this version reads format {FORMAT}")
        own = stored["own_rows"]
        if own is not None:
            rows = np.frombuffer(base64.b64decode(own["rows"]), "<f4").reshape(len(own["item_id"]), -1)
            own = OwnRows(own["bundle_version"], tuple(own["item_id"]), rows)
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
            own,
            stored["catalogue"],
            participation,
            stored.get("clusters"),
            noise,
            experiments,
            named,
        )


def encode_events(events: Iterable[Event]) -> bytes:
    """The content of an export: events and nothing else."""
    return json.dumps({"format": FORMAT, "events": _columns(events)}).encode()


def decode_events(content: bytes) -> tuple[Event, ...]:
    """The events of encode_events."""
    stored = json.loads(content)
    if stored["format"] != FORMAT:
        raise ServingError(f"export: content format={stored['format']}: this version reads format {FORMAT}")
    events = _events(stored["events"])
    for event in events:
        checked_time(event.time)
    return events


def observed(events: tuple[Event, ...], event: Event) -> tuple[Event, ...]:
    """The history with one more event, oldest first; equal times stay in the order in which they were observed."""
    return tuple(sorted((*events, event), key=_time))


def merge(ours: tuple[Event, ...], theirs: tuple[Event, ...]) -> tuple[Event, ...]:
    """Union of two histories, oldest first, ours before theirs at equal times; an event in both is there once.

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
    """item_idx int32, kind uint8 and time int64, each (n,), of the events whose item the catalogue knows."""
    item_idx = items.index_of([event.item_id for event in events])
    known = item_idx >= 0
    kind = np.array([event.kind for event in events], dtype=np.uint8)
    time = np.array([event.time for event in events], dtype=np.int64)
    return item_idx[known], kind[known], time[known]


def parse_kind(kind: str | EventKind) -> EventKind:
    """An event kind by its name, as in logs: view, cart, purchase, like, dislike."""
    if isinstance(kind, EventKind):
        return kind
    try:
        return EventKind[kind.upper()]
    except KeyError:
        raise ServingError(f"kind={kind!r}: must be one of {[known.name.lower() for known in EventKind]}") from None


def parse_consent(consent: str) -> Consent:
    """A consent by its name."""
    for known in get_args(Consent):
        if consent == known:
            return known  # type: ignore[no-any-return]  # get_args forgets the literal
    raise ServingError(f"consent={consent!r}: must be one of {list(get_args(Consent))}")


def _time(event: Event) -> int:
    return event.time


def _columns(events: Iterable[Event]) -> dict[str, list[Any]]:
    kept = list(events)
    return {
        "time": [event.time for event in kept],
        "item_id": [event.item_id for event in kept],
        "kind": [int(event.kind) for event in kept],
        "quantity": [event.quantity for event in kept],
    }


def _events(columns: dict[str, list[Any]]) -> tuple[Event, ...]:
    rows = zip(columns["time"], columns["item_id"], columns["kind"], columns["quantity"], strict=True)
    return tuple(
        Event(int(time), str(item_id), EventKind(kind), float(quantity)) for time, item_id, kind, quantity in rows
    )
