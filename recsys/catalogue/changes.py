"""What changed about a bundle's items since it was made, as a device is told and keeps it: public, one change an item.

The JSON of GET /v1/catalogue/{version}/changes, which is also what a device's file of them holds.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from recsys.lists.placements.placements_file import placements_of

MAX_SEQUENCE = 2**53
MAX_EPOCH_CHARS = 64
FIELDS = ("title", "category", "price", "available")


@dataclass(frozen=True, eq=False)
class CatalogueChange:
    """One item as it is now. fields: all FIELDS and the attributes that devices hold, None once it is deleted.

    row: (dim,) float32 embedding of an item that the bundle does not know, None for one that it knows or deleted.
    """

    item_id: str
    fields: Mapping[str, Any] | None
    row: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class CatalogueChanges:
    """All changes of a bundle's items up to `sequence`, each item once, new items in the order they first appeared.

    epoch: which count the sequence is of; sequences of two epochs say nothing of each other. "" of an older service.
    placements: those of the shop as they are now, as plain values; None where they are the bundle's.
    """

    bundle_version: str
    sequence: int
    changes: tuple[CatalogueChange, ...] = ()
    epoch: str = ""
    placements: Mapping[str, Any] | None = None

    def encode(self) -> bytes:
        """Encode as JSON bytes, those of decode_changes."""
        return json.dumps(
            {
                "bundle_version": self.bundle_version,
                "epoch": self.epoch,
                "sequence": self.sequence,
                "changes": [
                    {
                        "item_id": change.item_id,
                        "fields": change.fields and dict(change.fields),
                        "row": _text(change.row),
                    }
                    for change in self.changes
                ],
                **({} if self.placements is None else {"placements": dict(self.placements)}),
            },
            ensure_ascii=False,
            allow_nan=False,
        ).encode()

    def then(self, newer: CatalogueChanges) -> CatalogueChanges:
        """Append newer changes over these; an item that is in both keeps its place."""
        latest = {change.item_id: change for change in (*self.changes, *newer.changes)}
        return CatalogueChanges(
            newer.bundle_version, newer.sequence, tuple(latest.values()), newer.epoch, newer.placements
        )


def decode_changes(content: bytes) -> CatalogueChanges:
    """Decode the changes in an answer or a file. Raises ModelError for anything else."""
    try:
        body = json.loads(content)
        version, sequence = body["bundle_version"], body["sequence"]
        if not isinstance(version, str) or type(sequence) is not int or not 0 <= sequence <= MAX_SEQUENCE:
            raise ModelError("changes: bundle_version or sequence is none")
        epoch = body.get("epoch", "")
        if not isinstance(epoch, str) or len(epoch) > MAX_EPOCH_CHARS:
            raise ModelError("changes: epoch is none")
        changes = tuple(_change(entry) for entry in body["changes"])
        placements = body.get("placements")
        if placements is not None:
            placements_of(placements)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"changes: not changes of a catalogue ({type(error).__name__})") from None
    if len({change.item_id for change in changes}) < len(changes):
        raise ModelError("changes: an item is there twice")
    return CatalogueChanges(version, sequence, changes, epoch, placements)


def _change(entry: Mapping[str, Any]) -> CatalogueChange:
    item_id, fields, text = entry["item_id"], entry["fields"], entry["row"]
    if not isinstance(item_id, str) or not item_id:
        raise ModelError("changes: an item_id is none")
    item_id.encode()  # half of a surrogate pair is a ValueError here, and no item
    row = None
    if text is not None:
        row = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
        if not len(row) or not np.isfinite(row).all():
            raise ModelError("changes: a row is none")
        row.flags.writeable = False
    if fields is None:
        return CatalogueChange(item_id, None)
    shown = {"title": _word(fields["title"]), "category": _word(fields["category"]), "price": _number(fields["price"])}
    available = fields["available"]
    if available not in (None, True, False):
        raise ModelError("changes: available is neither true nor false")
    more = {name: _attribute(value) for name, value in fields.items() if name not in FIELDS}
    return CatalogueChange(item_id, more | shown | {"available": available is None or bool(available)}, row)


def _attribute(value: Any) -> str | float | bool | None:
    if value is None or isinstance(value, (str, bool)):
        return _word(value) if isinstance(value, str) else value
    return _number(value)


def _word(value: Any) -> str | None:
    """Convert to text, as which a number of a shop's own column is shown."""
    if value is None or isinstance(value, str):
        (value or "").encode()
        return value
    if isinstance(value, (bool, list, dict)):
        raise ModelError("changes: a title or category is no text")
    return str(value)


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ModelError("changes: a price is no number")
    return float(value)


def _text(row: npt.NDArray[np.float32] | None) -> str | None:
    return None if row is None else base64.b64encode(row.astype("<f4").tobytes()).decode()
