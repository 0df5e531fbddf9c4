"""Raw columns → canonical ones, each row with the first reason to refuse it, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from data.errors import DataError
from data.interactions import EventKind
from data.limits import MAX_ID_CHARS
from data.log_reading.sources import EXTRA_FIELD, LINE

UNDOES = 16  # added to the kind that a row undoes
UNKNOWN_EVENT = "unknown event kind"
_UNKNOWN = 255
_CODES = {kind.name.lower(): int(kind) for kind in EventKind} | {
    f"-{kind.name.lower()}": UNDOES + int(kind) for kind in EventKind
}


@dataclass(frozen=True)
class Check:
    """One reason to refuse a row: the rows it holds for, and the column whose value to show."""

    reason: str
    refused: pl.Expr
    shown: pl.Expr | None = None


def kind_codes(kinds: Mapping[str, str]) -> dict[str, int]:
    """The log's event names → kind codes (UNDOES + kind for one that undoes); the canonical names are always known.

    Raises DataError for a meaning that is no event kind.
    """
    for name, meaning in kinds.items():
        if meaning not in _CODES:
            raise DataError(f"kinds[{name!r}]={meaning!r}: must be one of {', '.join(_CODES)}")
    return _CODES | {name: _CODES[meaning] for name, meaning in kinds.items()}


def kind_column(column: str | None, constant: str, kinds: Mapping[str, str]) -> pl.Expr:
    """UInt8 kind codes; 255 where the log's word is unknown."""
    codes = kind_codes(kinds)
    if column is None:
        return pl.lit(codes[constant], dtype=pl.UInt8)
    # Names in the order of their codes: an Enum's number then tells the code by its range. (A general replacement
    # makes the streaming engine hold the whole log.)
    names = sorted(codes, key=codes.__getitem__)
    number = pl.col(column).cast(pl.String).cast(pl.Enum(names), strict=False).to_physical()
    code = pl.lit(_UNKNOWN, dtype=pl.UInt8)
    for value in sorted(set(codes.values()), reverse=True):
        end = sum(other <= value for other in codes.values())
        code = pl.when(number < end).then(pl.lit(value, dtype=pl.UInt8)).otherwise(code)
    return code


def checks(
    roles: Collection[str], *, extra_field: bool, integer_items: bool, refuse: Sequence[tuple[str, pl.Expr]]
) -> list[Check]:
    """The reasons to refuse a row, the first that holds counts; over the canonical columns and raw.ROLE.

    integer_items: an item_id is short and of one line for certain.
    """
    unwieldy = (pl.col("raw.item").str.len_chars() > MAX_ID_CHARS) | pl.col("raw.item").str.contains("\n", literal=True)
    empty = pl.col("user").is_null() & pl.col("item").is_null() & pl.col("raw.time").is_null()
    found = [
        Check("line is empty or unreadable", empty),
        Check("user is missing", pl.col("user").is_null()),
        Check("item is missing", pl.col("item").is_null()),
        Check(
            f"item_id is longer than {MAX_ID_CHARS} characters or has a line end",
            pl.lit(False) if integer_items else unwieldy,
            pl.col("raw.item").str.head(MAX_ID_CHARS),
        ),
        Check("time is not readable", pl.col("time").is_null(), pl.col("raw.time")),
    ]
    if extra_field:
        found.insert(0, Check("more fields than columns", pl.col(EXTRA_FIELD).is_not_null(), pl.col(EXTRA_FIELD)))
    if "event" in roles:
        found.append(Check(UNKNOWN_EVENT, pl.col("kind") == _UNKNOWN, pl.col("raw.event")))
    for role in ("quantity", "price", "order"):
        if role in roles:
            raw = pl.col(f"raw.{role}")
            found.append(Check(f"{role} is not a number", pl.col(role).is_null() & (raw.cast(pl.String) != ""), raw))
    if "quantity" in roles:
        none_of = (pl.col("quantity") == 0) | (
            (pl.col("quantity") < 0) & (pl.col("kind") % UNDOES != EventKind.PURCHASE)
        )
        found.append(Check("quantity is not above zero", none_of, pl.col("raw.quantity")))
    found += [Check(reason, refused, pl.col("raw.item")) for reason, refused in refuse]
    if "price" in roles:
        found.append(Check("price is negative", pl.col("price") < 0, pl.col("raw.price")))
    return found


def judged(frame: pl.LazyFrame, found: Sequence[Check], keep: Sequence[str]) -> pl.LazyFrame:
    """The columns `keep`, __line, reason (UInt8: 0 is fine, k the k-th check) and value (of a refused row)."""
    reason = pl.lit(0, dtype=pl.UInt8)
    value = pl.lit(None, dtype=pl.String)
    for number, check in reversed(list(enumerate(found, start=1))):
        holds = check.refused.fill_null(False)
        shown = pl.lit(None, dtype=pl.String) if check.shown is None else check.shown.cast(pl.String)
        reason = pl.when(holds).then(pl.lit(number, dtype=pl.UInt8)).otherwise(reason)
        value = pl.when(holds).then(shown).otherwise(value)
    return frame.select(pl.col(LINE), *keep, reason=reason, value=value)
