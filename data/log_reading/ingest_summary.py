"""The account of an ingest: counts of what was read and refused, notes on what would otherwise be found out late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from data.errors import DataError
from data.interactions import EventKind
from data.log_reading.canonical import Plan
from data.log_reading.formats import PRESETS
from data.log_reading.log_source import OpenedLog
from data.log_reading.validation import UNKNOWN_EVENT
from data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Tally:
    """Counts of a part of a log, which add up over its parts.

    kinds: kind code → events. cancellations: as of data.log_reading.cancellations. late: events in the future.
    """

    events: int
    duplicates: int
    late: int
    first: datetime | None
    last: datetime | None
    kinds: Mapping[int, int]
    cancellations: Mapping[str, int]

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.events + other.events,
            self.duplicates + other.duplicates,
            self.late + other.late,
            min((one for one in (self.first, other.first) if one is not None), default=None),
            max((one for one in (self.last, other.last) if one is not None), default=None),
            _added(self.kinds, other.kinds),
            _added(self.cancellations, other.cancellations),
        )


def tally(log: pl.DataFrame, duplicates: int, cancellations: Mapping[str, int], now: datetime) -> Tally:
    """log: the events of a Dataset, or of some of its users."""
    first, last = log["time"].min(), log["time"].max()
    return Tally(
        len(log),
        duplicates,
        int((log["time"] > now + timedelta(days=1)).sum()),
        first if isinstance(first, datetime) else None,
        last if isinstance(last, datetime) else None,
        dict(log["kind"].value_counts().iter_rows()),
        cancellations,
    )


def _added(one: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in (*one, *(key for key in other if key not in one))}


def reasons(refused: pl.LazyFrame) -> dict[str, int]:
    """Reason → refused rows, the commonest first. refused: line, reason, value."""
    return dict(_counted(refused, "reason").iter_rows())


def summary(
    log: OpenedLog, plan: Plan, counted: Tally, rejected: Mapping[str, int], refused: pl.LazyFrame,
    catalogue: pl.DataFrame, users: Vocabulary, *, rows: int,
) -> dict[str, Any]:  # fmt: skip
    """Dataset.summary. rows: of the source, refused ones too."""
    told_by = [f"format: {log.preset.name}, told by {log.told}"] if log.told and log.preset.name != "generic" else []
    return {
        "source": log.source.name,
        "preset": log.preset.name,
        "rows": rows,
        "events": counted.events,
        "users": len(users),
        "items": len(catalogue),
        "from": _iso(counted.first),
        "to": _iso(counted.last),
        "kinds": {kind.name.lower(): counted.kinds[int(kind)] for kind in EventKind if int(kind) in counted.kinds},
        "rejected": dict(rejected),
        "duplicates": counted.duplicates,
        **counted.cancellations,
        "columns": dict(log.columns.roles),
        "times": plan.times.words,
        "notes": [*told_by, *log.source.notes, *log.columns.notes, *_notes(log, plan, counted, refused, catalogue)],
    }


def nothing_usable(name: str, rows: int, rejected: Mapping[str, int], refused: pl.LazyFrame) -> DataError:
    """The error of a log, each row of which was refused."""
    listed = ", ".join(f"{reason} ({count})" for reason, count in rejected.items())
    line, value = refused.select("line", "value").head(1).collect().row(0)
    shown = "" if value is None else f", e.g. line {line}: {value!r}"
    return DataError(f"source={name}: none of {rows} rows is usable: {listed}{shown}")


def only_cancellations(name: str, counts: Mapping[str, int]) -> DataError:
    """The error of a log without an event."""
    return DataError(f"source={name}: all {counts['cancellations']} usable rows are cancellations")


def _notes(log: OpenedLog, plan: Plan, counted: Tally, refused: pl.LazyFrame, catalogue: pl.DataFrame) -> list[str]:
    notes = []
    if "event" not in plan.columns.roles and plan.assumed:
        notes.append(f"event: no column says what happened, so all of it is a {plan.kind}; say otherwise by kind=")
    words = _counted(refused.filter(reason=UNKNOWN_EVENT).drop_nulls("value"), "value").head(5)
    if len(words):
        told = ", ".join(f"{word!r} ({n})" for word, n in words.iter_rows())
        notes.append(f"event: {told} of unknown meaning; say it by kinds, such as {words['value'][0]}=cart")
    if counted.late:
        notes.append(
            f"time: {counted.late} events are in the future, the last on {_iso(counted.last)[:10]}; "
            "what is popular counts from the last event, so train until= an earlier day"
        )
    if log.options.items is not None and catalogue["title"].null_count() == len(catalogue):
        known = ", ".join(PRESETS["generic"].columns["title"])
        notes.append(f"items: no column for title (known as {known}); the catalogue has none")
    return notes


def _counted(rows: pl.LazyFrame, column: str) -> pl.DataFrame:
    """value, n: the commonest first, of those that are as common the first by name."""
    counts = rows.group_by(column).len("n").sort("n", column, descending=[True, False])
    return counts.collect(engine="streaming")


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
