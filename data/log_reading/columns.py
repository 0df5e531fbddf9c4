"""Which column of a source plays which role; two candidates for one role are an error, never a guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from data.errors import DataError
from data.log_reading.formats import FEEDBACK_PRESETS, FEEDBACK_REQUIRED, PRESETS, REQUIRED, ROLES, Preset
from data.log_reading.opening.source import LINE, Source


@dataclass(frozen=True)
class Columns:
    """roles: role → column (time may be ``year+month+day``); attributes: item attribute → column; extras: kept."""

    roles: Mapping[str, str]
    attributes: Mapping[str, str]
    extras: tuple[str, ...]
    notes: tuple[str, ...] = ()


def match_columns(
    preset: Preset,
    columns: Sequence[str],
    mapping: Mapping[str, str],
    keep: Sequence[str] | None,
    *,
    no_time: bool = False,
) -> Columns:
    """Match the columns of a source to roles: those the caller maps, else those the preset knows.

    Names are compared without case, spaces and underscores. Raises DataError for an unknown role or column, for a
    required role that no column or more than one fits, with the columns found and the presets that nearly match.
    """
    for role, column in mapping.items():
        if role not in ROLES:
            raise DataError(f"mapping {role}={column}: the role must be one of {', '.join(ROLES)}")
        missing = [part for part in column.split("+") if part not in columns and column not in columns]
        if missing:
            raise DataError(f"mapping {role}={column}: no such column; found {listed(columns)}")
    taken = set(mapping.values())
    free = [column for column in columns if column not in taken]
    roles, notes = dict(mapping), []
    for role, names in preset.columns.items():
        fits = [] if role in mapping else _fitting(names, free)
        if len(fits) > 1 and role in REQUIRED:
            raise DataError(f"{role}: {' and '.join(fits)} both fit; say which by {role}=COLUMN")
        if len(fits) > 1:
            notes.append(f"{role}: {' and '.join(fits)} both fit, neither was taken; say which by {role}=COLUMN")
        elif fits:
            roles[role] = fits[0]
    if "event" not in roles and "event" not in preset.columns:
        events = _fitting(PRESETS["generic"].columns["event"], free)
        if len(events) == 1:
            roles["event"] = events[0]
            notes.append(f"event: column {events[0]!r} says what happened, though a log of {preset.name} has none")
    lacking = [role for role in REQUIRED if role not in roles]
    if no_time and "time" not in mapping:
        roles["time"], lacking = LINE, [role for role in lacking if role != "time"]
    elif lacking == ["time"] and not set(columns).difference(*(c.split("+") for c in roles.values()), roles.values()):
        roles["time"], lacking = LINE, []
    if roles.get("time") == LINE:
        notes.append(
            "time: no column, so events are in the order of the file, a second apart; only leave-last-out fits"
        )
    if lacking:
        raise DataError(_lacking(preset, columns, lacking))
    attributes = {name: fits[0] for name, names in preset.attributes.items() if (fits := _fitting(names, free))}
    used = {part for column in roles.values() for part in column.split("+")} | set(roles.values())
    used |= set(attributes.values())
    if keep is not None:
        unknown = [column for column in keep if column not in columns]
        if unknown:
            raise DataError(f"keep={unknown[0]}: no such column; found {listed(columns)}")
        extras = tuple(keep)
    else:
        extras = tuple(c for c in columns if c not in used and (preset.extras is None or c in preset.extras))
    return Columns(roles, attributes, extras, tuple(notes))


def check_currency(source: Source, roles: Mapping[str, str]) -> None:
    """Raise DataError where a log has prices and a column of currencies with more than one."""
    fits = _fitting(("currency", "currency_code", "price_currency"), source.columns)
    if "price" not in roles or len(fits) != 1:
        return
    told = source.frame.filter(pl.col(roles["price"]).is_not_null()).select(pl.col(fits[0]).cast(pl.String).unique())
    try:
        names = sorted(name for name in told.collect(engine="streaming").to_series().drop_nulls() if name.strip())
    except pl.exceptions.PolarsError:
        return  # a file that polars gives up on is read by hand later
    if len({name.strip().upper() for name in names}) > 1:
        raise DataError(
            f"source={source.name}: {fits[0]}: prices in {names[0]} and in {names[1]}: one catalogue has one currency; "
            "ingest one of them, or convert"
        )


def match_names(names: Mapping[str, Sequence[str]], columns: Sequence[str]) -> dict[str, str]:
    """Match roles to the one column that goes by one of their names.

    Roles that none or several columns fit are left out.
    """
    fits = {role: _fitting(known, columns) for role, known in names.items()}
    return {role: columns_of_role[0] for role, columns_of_role in fits.items() if len(columns_of_role) == 1}


def fits_all(names: Sequence[str], columns: Sequence[str]) -> bool:
    """Check that each of the names is among the columns, compared without case, spaces and underscores."""
    return {_plain(name) for name in names} <= {_plain(column) for column in columns}


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-.]", "", name).lower()


def _fitting(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Find columns that go by one of the names; a name may be a sum of columns, which must all be there."""
    by_plain: dict[str, list[str]] = {}
    for column in columns:
        by_plain.setdefault(_plain(column), []).append(column)
    fitting: list[str] = []
    for name in names:
        parts = [by_plain.get(_plain(part), []) for part in name.split("+")]
        if len(parts) > 1 and all(parts):
            fitting.append("+".join(part[0] for part in parts))
        elif len(parts) == 1:
            fitting += [column for column in parts[0] if column not in fitting]
    return fitting


def _lacking(preset: Preset, columns: Sequence[str], lacking: Sequence[str]) -> str:
    known = "; ".join(f"{role} (known as {', '.join(preset.columns[role])})" for role in lacking)
    near = {
        other.name: sum(bool(_fitting(other.columns[role], columns)) for role in REQUIRED)
        for other in PRESETS.values()
        if other.name != preset.name
    }
    best = [name for name, fits in sorted(near.items(), key=lambda pair: -pair[1]) if fits >= 2]
    hint = f"; presets that nearly match: {', '.join(best)}" if best else ""
    if any(
        all(_fitting(other.columns[role], columns) for role in FEEDBACK_REQUIRED) for other in FEEDBACK_PRESETS.values()
    ):
        hint = "; it has propensities: such a log is read by `ownshelf off-policy`"
    if "user" in lacking and (sessions := _fitting((*PRESETS["generic"].columns["session"], "sid"), columns)):
        hint += f"; a session may stand for a shopper: user={sessions[0]}"
    if lacking == ["time"]:
        hint += "; for a log without times say no_time (--no-time): its order is that of the file"
    if any(re.fullmatch(r"-?[\d.:/TZ \-]+", column) for column in columns):
        hint += "; the first line looks like a row: say no_header (--no-header) and user=column_1 item=column_2 …"
    return f"preset={preset.name}: no column for {known}; found {listed(columns)}{hint}"


def listed(columns: Sequence[str]) -> str:
    """List the first thirty names, for an error."""
    shown = ", ".join(columns[:30])
    return shown + (f" and {len(columns) - 30} more" if len(columns) > 30 else "")
