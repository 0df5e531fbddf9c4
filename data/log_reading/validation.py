"""Raw columns → canonical ones, each row with the first reason to refuse it, or none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from data.errors import DataError
from data.interactions import EventKind
from data.limits import MAX_ID_CHARS, MAX_PRICE
from data.log_reading.opening.source import EXTRA_FIELD, LINE
from data.values.event_words import IGNORED

UNDOES = 16  # added to the kind that a row undoes
UNKNOWN_EVENT = "unknown event kind"
_UNKNOWN = 255
_IGNORED = 254
_CODES = {
    **{kind.name.lower(): int(kind) for kind in EventKind},
    **{f"-{kind.name.lower()}": UNDOES + int(kind) for kind in EventKind},
    IGNORED: _IGNORED,
}
NO_PRODUCT_EVENT = "event of no product"
MISSING_USER = "user is missing"
GUEST = "user is a guest"
BOT = "user is a bot"
UNREADABLE_TIME = "time is not readable"
NOT_A_NUMBER = "{} is not a number"


@dataclass(frozen=True)
class Check:
    """One reason to refuse a row: the rows it holds for, and the column whose value to show."""

    reason: str
    refused: pl.Expr
    shown: pl.Expr | None = None


def kind_codes(kinds: Mapping[str, str]) -> dict[str, int]:
    """Map the log's event names to kind codes (UNDOES + kind for one that undoes).

    The canonical names are always known.

    Raises DataError for a meaning that is no event kind.
    """
    for name, meaning in kinds.items():
        if meaning not in _CODES:
            raise DataError(f"kinds[{name!r}]={meaning!r}: must be one of {', '.join(_CODES)}")
    return _CODES | {name: _CODES[meaning] for name, meaning in kinds.items()}


def kind_column(column: str | None, constant: str, kinds: Mapping[str, str]) -> pl.Expr:
    """Make UInt8 kind codes; 255 where the log's word is unknown."""
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


@dataclass(frozen=True)
class Conditions:
    """Properties of a log that change its checks.

    extra_field: a line may have more fields than the header. integer_items: an item_id is short and of one line for
    certain. nested: a value may be a list or an object. guests, bots: user ids. null: folded words that mean nothing.
    exempt: reasons of the preset, over the roles as columns and raw.item.
    """

    extra_field: bool
    integer_items: bool
    nested: bool
    guests: Sequence[str]
    bots: Sequence[str]
    null: Collection[str]
    exempt: Sequence[tuple[str, pl.Expr]]


def checks(roles: Collection[str], log: Conditions) -> list[Check]:
    """List the reasons to refuse a row, the first that holds counts; over the canonical columns and raw.ROLE."""
    raw_item = pl.col("raw.item")
    unwieldy = (raw_item.str.len_chars() > MAX_ID_CHARS) | raw_item.str.contains("[\x00-\x1f\x7f]")
    empty = pl.col("user").is_null() & pl.col("item").is_null() & pl.col("raw.time").is_null()
    row_checks = [Check("line is empty or unreadable", empty)]
    if log.extra_field:
        row_checks.insert(0, Check("more fields than columns", pl.col(EXTRA_FIELD).is_not_null(), pl.col(EXTRA_FIELD)))
    if "event" in roles:
        row_checks.append(Check(NO_PRODUCT_EVENT, pl.col("kind") == _IGNORED, pl.col("raw.event")))
    user = pl.col("user").cast(pl.String) if log.guests or log.bots else pl.col("user")
    if log.guests:
        row_checks.append(Check(GUEST, user.is_in(list(log.guests)), user))
    if log.bots:
        row_checks.append(Check(BOT, user.is_in(list(log.bots)), user))
    if log.nested:
        row_checks += [
            Check(
                f"{role} is a list or an object", pl.col(f"raw.{role}").str.contains(r"^[\[{]"), pl.col(f"raw.{role}")
            )
            for role in ("user", "item")
        ]
    row_checks += [
        Check(MISSING_USER, pl.col("user").is_null()),
        Check("item is missing", pl.col("item").is_null()),
    ]
    if not log.integer_items:
        row_checks += [
            Check(
                f"item_id is longer than {MAX_ID_CHARS} characters or has a line end or control character",
                unwieldy,
                raw_item.str.head(MAX_ID_CHARS),
            ),
            Check("item_id is . or .., which no address can carry", raw_item.is_in([".", ".."]), raw_item),
        ]
    row_checks.append(Check(UNREADABLE_TIME, pl.col("time").is_null(), pl.col("raw.time")))
    if "event" in roles:
        row_checks.append(Check(UNKNOWN_EVENT, pl.col("kind") == _UNKNOWN, pl.col("raw.event")))
    for role in ("quantity", "price", "order"):
        if role in roles:
            raw = pl.col(f"raw.{role}")
            text = raw.cast(pl.String)
            told = text.str.strip_chars().str.to_lowercase().is_in(["", *log.null]) if log.null else text == ""
            row_checks.append(Check(NOT_A_NUMBER.format(role), pl.col(role).is_null() & ~told, raw))
    if "quantity" in roles:
        none_of = (pl.col("quantity") == 0) | (
            (pl.col("quantity") < 0) & (pl.col("kind") % UNDOES != EventKind.PURCHASE)
        )
        row_checks.append(Check("quantity is not above zero", none_of, pl.col("raw.quantity")))
    row_checks += [Check(reason, refused, raw_item) for reason, refused in log.exempt]
    if "price" in roles:
        row_checks += [
            Check("price is negative", pl.col("price") < 0, pl.col("raw.price")),
            Check(f"price is above {MAX_PRICE:g}", pl.col("price") > MAX_PRICE, pl.col("raw.price")),
        ]
    return row_checks


def judged(frame: pl.LazyFrame, row_checks: Sequence[Check], keep: Sequence[str]) -> pl.LazyFrame:
    """Judge rows: the columns `keep`, __line, reason and value.

    reason is UInt8: 0 is fine, k the k-th check. value is of a refused row.
    """
    reason = pl.lit(0, dtype=pl.UInt8)
    value = pl.lit(None, dtype=pl.String)
    for number, check in reversed(list(enumerate(row_checks, start=1))):
        holds = check.refused.fill_null(False)
        shown = pl.lit(None, dtype=pl.String) if check.shown is None else check.shown.cast(pl.String)
        reason = pl.when(holds).then(pl.lit(number, dtype=pl.UInt8)).otherwise(reason)
        value = pl.when(holds).then(shown).otherwise(value)
    return frame.select(pl.col(LINE), *keep, reason=reason, value=value)
