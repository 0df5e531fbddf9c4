"""Ingest: any log of the presets → a checked Dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from data.cancellations import STANDS, undo
from data.canonical import NOT_AN_INT, Plan, canonical, make_plan
from data.catalogue import items_table, make_catalogue
from data.columns import Columns, match_columns
from data.dataset import REJECTS, RESERVED, Dataset
from data.errors import DataError
from data.formats import FEEDBACK_PRESETS, PRESETS, Preset
from data.interactions import EventKind
from data.numbering import Numbered, number
from data.reading import LINE, Source, Table, open_source, unreadable
from data.recognition import AUTO, recognise
from data.validation import UNKNOWN_EVENT
from data.vocabulary import Vocabulary


def ingest(
    source: Table,
    *,
    preset: str = AUTO,
    mapping: Mapping[str, str] | None = None,
    out: Path | str | None = None,
    timezone: str = "UTC",
    kind: str | None = None,
    kinds: Mapping[str, str] | None = None,
    keep: Sequence[str] | None = None,
    separator: str | None = None,
    time_format: str | None = None,
    time_unit: str | None = None,
    items: Table | None = None,
    base: Dataset | Vocabulary | None = None,
    name: str | None = None,
) -> Dataset:
    """Read a log, check every row, number users and items, and keep what is usable.

    source: a csv, parquet or jsonl file, or a polars or pandas frame. preset: a name of
        `data.formats.PRESETS`, or `auto`: the one whose own columns or first line the source has, else generic.
    mapping: role → column where the preset's own names do not fit (user, item, time, event, price, quantity, session,
        order, title, category, available). kind: of every event where there is no event column. kinds: the log's
        event names → view, cart, purchase, like, dislike, or -purchase, -cart, … for one that undoes.
    keep: extra columns to keep with the events; generic keeps all by default.
    timezone: of times without offset; never the machine's. time_format, time_unit: instead of inferring.
    items: a catalogue file or frame; by default the preset's own beside the log.
    base: a dataset or item vocabulary to grow, so that no item_idx (and with a dataset no user_idx) ever changes.
    out: a folder to save to.

    Rows that cannot be used are in `.rejects` (line of the file, reason, value) and counted in `.summary`, exact
    duplicates too. Raises DataError when the source is no log, a column is missing, or no row is usable.
    """
    separators = (separator,) if separator else ()
    told = ""
    if preset == AUTO:
        preset, told = recognise(source, separators=separators)
    chosen = _preset(preset)
    opened = open_source(
        source,
        separators=separators or chosen.separators,
        header=chosen.header,
        known=_known_names(chosen, mapping or {}, keep or ()),
        events_in=chosen.events_in,
    )
    columns = match_columns(chosen, opened.columns, mapping or {}, keep)
    plan, rows, refused = _read(
        opened,
        lambda opened: make_plan(
            opened, columns, chosen,
            kind=kind, kinds=kinds or {}, timezone=timezone, time_format=time_format, time_unit=time_unit,
        ),
    )  # fmt: skip
    usable = np.flatnonzero(rows.drop_in_place("reason").to_numpy() == 0)
    reasons = dict(refused["reason"].value_counts(sort=True).iter_rows())
    if not len(usable):
        shown = "" if refused["value"][0] is None else f", e.g. line {refused['line'][0]}: {refused['value'][0]!r}"
        raise DataError(f"source={opened.name}: none of {len(rows)} rows is usable: {_listed(reasons)}{shown}")
    known_items = base.items if isinstance(base, Dataset) else base or Vocabulary()
    numbered = number(rows, usable, known_items, base.users if isinstance(base, Dataset) else Vocabulary())
    older = base.catalogue if isinstance(base, Dataset) else None
    try:
        catalogue = make_catalogue(rows, numbered, plan, items_table(chosen, source, items), older)
    except pl.exceptions.PolarsError as error:  # a list where a title should be
        raise DataError(f"source={opened.name}: no catalogue: {str(error).strip().splitlines()[0]}") from None
    told_by = [f"format: {preset}, told by {told}"] if told and preset != "generic" else []
    n_rows = len(rows)
    log, counts = _log(rows, numbered, columns)
    if not len(log):
        raise DataError(f"source={opened.name}: all {counts['cancellations']} usable rows are cancellations")
    summary: dict[str, Any] = {
        "source": opened.name,
        "preset": chosen.name,
        "rows": n_rows,
        "events": len(log),
        "users": len(numbered.users),
        "items": len(numbered.items),
        "from": _iso(log["time"].min()),
        "to": _iso(log["time"].max()),
        "kinds": _kinds(log),
        "rejected": reasons,
        "duplicates": numbered.duplicates,
        **counts,
        "columns": dict(columns.roles),
        "times": plan.times.words,
        "notes": [*told_by, *opened.notes, *columns.notes, *_notes(plan, refused, log, catalogue, items)],
    }
    dataset = Dataset(name or chosen.name, log, catalogue, numbered.items, numbered.users, summary, refused)
    return dataset if out is None else dataset.save(out)


def _known_names(preset: Preset, mapping: Mapping[str, str], keep: Sequence[str]) -> frozenset[str]:
    """Columns that would mean something if the source had them."""
    names = [name for known in (*preset.columns.values(), *preset.attributes.values()) for name in known]
    return frozenset(part for name in (*names, *mapping.values(), *keep) for part in (name, *name.split("+")))


def _preset(name: str) -> Preset:
    if name in FEEDBACK_PRESETS and name not in PRESETS:
        raise DataError(f"preset={name!r}: such a log names no shoppers; read it with `ownshelf off-policy`")
    if name not in PRESETS:
        raise DataError(f"preset={name!r}: must be one of {AUTO}, {', '.join(PRESETS)}")
    return PRESETS[name]


def _read(source: Source, make: Callable[[Source], Plan]) -> tuple[Plan, pl.DataFrame, pl.DataFrame]:
    """The plan, the canonical columns and reason code of every row, and the refused rows as (line, reason, value).

    The quick way, or the patient one where polars gives up on the source. Raises DataError when both fail.
    """
    try:
        plan = make(source)
        return plan, *_rows(plan)
    except (pl.exceptions.ComputeError, pl.exceptions.NoDataError) as error:
        if source.patient is not None:
            return _read(source.patient(), make)
        if isinstance(error, pl.exceptions.NoDataError):
            raise DataError(f"source={source.name}: the log is empty, it has columns but no rows") from None
        raise unreadable(source, error) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(source, error) from None


def _rows(plan: Plan) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One pass over the log, two where rows are refused: only then lines and values are wanted."""
    # Without __line, polars does not notice that it lost a row at a stray quote.
    read = canonical(plan, exact=False)[0].drop("value").collect(engine="streaming").drop(LINE)
    # Gathering from the hundreds of chunks of a streamed frame is ten times slower; column by column, to save memory.
    rows = pl.DataFrame([read.drop_in_place(name).rechunk() for name in read.columns])
    odd = [role for role in plan.integer_ids if (rows[role] == NOT_AN_INT).any()]
    if odd:
        return _rows(replace(plan, integer_ids=plan.integer_ids.difference(odd)))
    if rows["reason"].max() == 0:
        return rows, pl.DataFrame(schema=REJECTS)
    frame, found = canonical(plan, exact=True)
    refused = frame.filter(pl.col("reason") > 0).select(LINE, "reason", "value").collect(engine="streaming")
    words = pl.Series(["", *(check.reason for check in found)], dtype=pl.String)
    told = refused.select(line=LINE, reason=words.gather(refused["reason"]), value="value")
    return rows, told.cast({"line": pl.Int64})


def _log(rows: pl.DataFrame, numbered: Numbered, columns: Columns) -> tuple[pl.DataFrame, dict[str, int]]:
    """The log of a Dataset in its final order, and the counts of cancellations.

    Empties rows as it goes: two copies of a large log need not fit.
    """
    order = numbered.order
    kind, time = rows["kind"].to_numpy()[order], rows["time"].to_numpy()[order]
    units = rows["quantity"].fill_null(1.0).to_numpy()[order]
    undone = undo(numbered.user_idx, numbered.item_idx, kind, time, units)
    stays = undone.is_event
    gone = pl.Series(undone.time[stays])
    made = {
        "user_idx": pl.Series(numbered.user_idx[stays]),
        "item_idx": pl.Series(numbered.item_idx[stays]),
        "kind": pl.Series(kind[stays]),
        "time": pl.Series(time[stays]),
    }
    rows.drop_in_place("kind")
    rows.drop_in_place("time")
    kept = pl.Series(order[stays])
    names = {"price": "price", "quantity": "quantity", "session": "session_id"}
    names |= {f"x.{name}": f"source_{name}" if name in RESERVED else name for name in columns.extras}
    for name in rows.columns:
        column = rows.drop_in_place(name)
        if name in names:
            made[names[name]] = column.gather(kept)
    made["undone_time"] = gone.set(gone == STANDS, None)
    log = pl.DataFrame(made).select(*list(made)[:4], *names.values(), "undone_time")
    return log.with_columns(pl.col("time", "undone_time").cast(pl.Datetime("us", "UTC"))), undone.counts


def _notes(
    plan: Plan, refused: pl.DataFrame, log: pl.DataFrame, catalogue: pl.DataFrame, items: Table | None
) -> list[str]:
    """What a reader of the summary would otherwise find out late."""
    notes = []
    if "event" not in plan.columns.roles and plan.assumed:
        notes.append(f"event: no column says what happened, so all of it is a {plan.kind}; say otherwise by kind=")
    words = refused.filter(reason=UNKNOWN_EVENT)["value"].drop_nulls().value_counts(sort=True, name="n").head(5)
    if len(words):
        told = ", ".join(f"{word!r} ({n})" for word, n in words.iter_rows())
        notes.append(f"event: {told} of unknown meaning; say it by kinds, such as {words['value'][0]}=cart")
    late = log["time"] > datetime.now(UTC) + timedelta(days=1)
    if late.any():
        notes.append(
            f"time: {late.sum()} events are in the future, the last on {_iso(log['time'].max())[:10]}; "
            "what is popular counts from the last event, so train until= an earlier day"
        )
    if items is not None and catalogue["title"].null_count() == len(catalogue):
        known = ", ".join(PRESETS["generic"].columns["title"])
        notes.append(f"items: no column for title (known as {known}); the catalogue has none")
    return notes


def _kinds(log: pl.DataFrame) -> dict[str, int]:
    counts = dict(log["kind"].value_counts().iter_rows())
    return {kind.name.lower(): counts[int(kind)] for kind in EventKind if int(kind) in counts}


def _iso(moment: object) -> str:
    return moment.isoformat() if isinstance(moment, datetime) else ""


def _listed(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
