"""The account of an ingest: counts of what was read and refused, notes on what would otherwise be found out late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from data.errors import DataError
from data.interactions import EventKind
from data.log_reading.canonical import Plan
from data.log_reading.items_file import ItemsTable
from data.log_reading.log_source import OpenedLog
from data.log_reading.opening.source import LINE
from data.log_reading.validation import UNKNOWN_EVENT
from data.values.nobody import GIANT_SHARE, GIANT_USERS, SUSPECT_SHARE, SUSPECTS
from data.vocabulary import Vocabulary

_OVER_MEAN = 3  # times as many events as a shopper has on average
_BELIEVED = datetime(1990, 1, 1, tzinfo=UTC)


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
            min((moment for moment in (self.first, other.first) if moment is not None), default=None),
            max((moment for moment in (self.last, other.last) if moment is not None), default=None),
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


def _added(counts: Mapping[Any, int], other: Mapping[Any, int]) -> dict[Any, int]:
    return {
        key: counts.get(key, 0) + other.get(key, 0) for key in (*counts, *(key for key in other if key not in counts))
    }


def reasons(refused: pl.LazyFrame) -> dict[str, int]:
    """Count refused rows by reason, the commonest first. refused: line, reason, value."""
    return dict(_counted(refused, "reason").iter_rows())


def summary(
    log: OpenedLog, plan: Plan, counted: Tally, rejected: Mapping[str, int], refused: pl.LazyFrame,
    catalogue: pl.DataFrame, users: Vocabulary, *, rows: int, largest: tuple[int, int], known: ItemsTable | None,
    ids: pl.Series,
) -> dict[str, Any]:  # fmt: skip
    """Make Dataset.summary.

    rows: of the source, refused ones too. largest: user_idx and events of who has most.

    known: the items file. ids: the items of the log.
    """
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
        "columns": {role: "order of the file" if name == LINE else name for role, name in log.columns.roles.items()},
        "times": plan.times.words,
        "notes": [
            *told_by,
            *plan.source.notes,
            *log.columns.notes,
            *_refusals(rows, rejected),
            *_notes(log, plan, counted, refused),
            *_shoppers(counted, users, largest),
            *(() if known is None else (*known.notes, *known.matched(ids))),
        ],
    }


def nothing_usable(name: str, rows: int, rejected: Mapping[str, int], refused: pl.LazyFrame) -> DataError:
    """Make the error of a log, each row of which was refused."""
    listed = ", ".join(f"{reason} ({count})" for reason, count in rejected.items())
    line, value = refused.select("line", "value").head(1).collect().row(0)
    shown = "" if value is None else f", e.g. line {line}: {value!r}"
    return DataError(f"source={name}: none of {rows} rows is usable: {listed}{shown}")


def only_cancellations(name: str, counts: Mapping[str, int]) -> DataError:
    """Make the error of a log without an event."""
    return DataError(f"source={name}: all {counts['cancellations']} usable rows are cancellations")


def _refusals(rows: int, rejected: Mapping[str, int]) -> list[str]:
    if not rejected:
        return []
    total = sum(rejected.values())
    return [f"rows: {total} of {rows} were refused ({total / rows:.1%}); each is in rejects.jsonl with its reason"]


def _notes(log: OpenedLog, plan: Plan, counted: Tally, refused: pl.LazyFrame) -> list[str]:
    notes = []
    if "event" not in plan.columns.roles and plan.assumed:
        notes.append(f"event: no column says what happened, so all of it is a {plan.kind}; say otherwise by kind=")
    if plan.words:
        told = ", ".join(f"{word!r} as {means}" for word, means in sorted(plan.words.items()))
        notes.append(f"event: read {told}; say otherwise by kinds")
    words = _counted(refused.filter(reason=UNKNOWN_EVENT).drop_nulls("value"), "value").head(20)
    if len(words):
        told = ", ".join(f"{word!r} ({n})" for word, n in words.iter_rows())
        names = " ".join(f"{word}=KIND" for word in words["value"])
        kinds = "view, cart, purchase, like, dislike, one of these with a minus to undo it, or ignore"
        notes.append(f"event: {told} of unknown meaning; say it by kinds: {names}, KIND being {kinds}")
    if plan.times.wide:
        notes.append("time: it is written in more than one way; each value was read by its own notation")
    if plan.nobody and any(plan.nobody.values()):
        told = "; ".join(f"{role}: {', '.join(map(repr, words))}" for role, words in plan.nobody.items() if words)
        notes.append(f"ids: words for nobody are missing ids ({told})")
    if counted.late:
        notes.append(
            f"time: {counted.late} events are in the future, the last on {_iso(counted.last)[:10]}; "
            "what is popular counts from the last event, so train until= an earlier day"
        )
    if counted.first is not None and counted.first < _BELIEVED:
        notes.append(f"time: events are before 1990, the first on {_iso(counted.first)[:10]}: is it read as meant?")
    if counted.duplicates and plan.times.dates:
        notes.append(
            f"duplicates: {counted.duplicates} rows repeat another in every column, and the log has days without "
            "a time: they may have happened; a column that tells them apart, such as an order number, keeps them"
        )
    return notes


def _shoppers(counted: Tally, users: Vocabulary, largest: tuple[int, int]) -> list[str]:
    """Note one shopper who has a share that a person hardly has, or an id that guests share."""
    user, events = largest
    if user < 0:
        return []
    name, share = users.ids[user], events / counted.events
    suspect = name.lower() in SUSPECTS and share >= max(SUSPECT_SHARE, _OVER_MEAN / len(users))
    giant = share >= GIANT_SHARE and len(users) >= GIANT_USERS
    if not (suspect or giant):
        return []
    advice = "a guest id? say guests=" if suspect else "a bot, a till or a guest id? say guests= or max_per_day="
    return [f"user: shopper {name!r} has {share:.0%} of all events: {advice}{name if suspect else ''}"]


def _counted(rows: pl.LazyFrame, column: str) -> pl.DataFrame:
    """value, n: the commonest first, of those that are as common the first by name."""
    counts = rows.group_by(column).len("n").sort("n", column, descending=[True, False])
    return counts.collect(engine="streaming")


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
