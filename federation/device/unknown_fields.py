"""Fields of a vault that a newer program wrote and this one does not know: kept as they are, and written again.

Objects (dicts) of the vault's JSON are open: a newer minor format may add fields to any of them. Arrays are closed: one
more element, or a new value of a choice, is a new major format.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

Unknown = Mapping[str, Any]


def unknown_fields(stored: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Select the fields that are not among the known ones."""
    return {name: value for name, value in stored.items() if name not in known}


def without_naming(unknown: Unknown, item_id: str) -> Unknown:
    """Drop the fields in whose values an item_id stands, wherever: when the shopper forgets it, they may be of it."""
    return {name: value for name, value in unknown.items() if not _names(value, item_id)}


def hashable(unknown: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Turn fields into sorted pairs of name and JSON, for a value that is a key itself."""
    return tuple(sorted((name, json.dumps(value)) for name, value in unknown.items()))


def _names(value: Any, item_id: str) -> bool:
    if isinstance(value, dict):
        return any(_names(part, item_id) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(_names(part, item_id) for part in value)
    return isinstance(value, str) and item_id in value
