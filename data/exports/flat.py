"""The flat row that every export ends as, and what it takes to describe an export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
FIELDS = (
    "user", "item", "time", "event", "price", "quantity", "session", "title", "category", "currency", "order_id",
)  # fmt: skip
IGNORED = "ignore"
NEEDS_ITEM = frozenset(["purchase", "refund", "add_to_cart", "remove_from_cart", "order_completed", "order_refunded"])


@dataclass(frozen=True)
class Export:
    """One format of a program.

    fits: whether a record is of it (of a csv: a row by its header). rows: the flat rows of a record, at least one,
    whose keys are some of FIELDS; what tells of no product has the event `ignore`. carry: columns of a csv that a row
    leaves empty where it belongs to the same thing as the row before, and the column that says so. partly_refunded:
    whether a record is the first of an order refunded in part, where the format does not say which lines.
    """

    name: str
    fits: Callable[[Record], bool]
    rows: Callable[[Record], Iterator[Record]]
    carry: tuple[str, tuple[str, ...]] | None = None
    partly_refunded: Callable[[Record], bool] | None = None


def has(record: Record, *names: str) -> bool:
    """Check if a record has all of these fields, whatever their values."""
    return all(name in record for name in names)


def first(record: Mapping[str, Any] | None, *names: str) -> Any:
    """Take the first of some fields that says something."""
    for name in names:
        value = (record or {}).get(name)
        if value not in (None, "", [], {}):
            return value
    return None


def within(record: Mapping[str, Any] | None, *path: str) -> Any:
    """Look up the value at a path of objects, None where any is missing."""
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def objects(value: Any) -> list[Record]:
    """List the objects of a list, or of the one object that stands for a list; none of anything else."""
    if isinstance(value, Mapping):
        return [dict(value)]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [entry for entry in value if isinstance(entry, dict)]
    return []


def each(head: Record, items: Sequence[Record], wanted: Mapping[str, Sequence[str]]) -> Iterator[Record]:
    """Yield one row an item, or one row without an item: then only an event that must have one keeps its word.

    wanted: field of the row → names it goes by in an item.
    """
    for item in items:
        yield {**head, **{field: told for field, names in wanted.items() if (told := first(item, *names)) is not None}}
    if not items:
        word = str(head.get("event") or "").strip().lower().replace(" ", "_")
        yield head if word in NEEDS_ITEM else {**head, "event": IGNORED}
