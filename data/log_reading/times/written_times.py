"""Times read value by value: each notation is a family, and a column may mix them.

Slower than one format for a whole column, so it is asked only for logs that one format does not read.
`read_written` is the plain reader of one value, `written_column` the quick one; they give the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl

FIRST_LIKELY = 631_152_000_000_000  # 1990-01-01, µs: before it no shop wrote a log
LAST_LIKELY = 4_102_444_800_000_000  # 2100-01-01
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}
_ZONE = r"(?:\s*(?P<zone>Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_REST = rf"(?:(?:[T_]|,?\s+|:){_CLOCK}{_ZONE})?"
ISO = rf"^(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){_REST}$"
PARTS = rf"^(?P<one>\d{{1,2}})[-/.](?P<two>\d{{1,2}})[-/.](?P<year>\d{{4}}|\d{{2}}){_REST}$"
COMPACT = (
    r"^(?P<year>(?:19|20)\d{2})(?P<month>\d{2})(?P<day>\d{2})"
    rf"(?:[T_]?(?P<hour>\d{{2}})(?P<minute>\d{{2}})(?:(?P<second>\d{{2}})(?:\.(?P<fraction>\d{{1,9}}))?)?{_ZONE})?$"
)
_WEEKDAY = r"^(?:[A-Za-z]{3,9}\.?,?\s+)?"
DAY_MONTH = rf"{_WEEKDAY}(?P<day>\d{{1,2}})[-/ .]+(?P<name>[A-Za-z]{{3}})[a-z]*\.?[-/ ,]+(?P<year>\d{{4}}){_REST}$"
MONTH_DAY = rf"{_WEEKDAY}(?P<name>[A-Za-z]{{3}})[a-z]*\.?\s+(?P<day>\d{{1,2}}),?\s+(?P<year>\d{{4}}){_REST}$"
EPOCH = r"^-?\d+(?:\.\d+)?(?:[eE][+]?\d{1,2})?$"
_DOTS = r"^\d{1,2}\.\d{1,2}\."
_FAMILIES = (ISO, COMPACT, PARTS, DAY_MONTH, MONTH_DAY)
_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTHS = {name: str(k) for k, name in enumerate(_NAMES.split(), start=1)}


_SIZES = (("s", 100_000_000_000), ("ms", 100_000_000_000_000), ("us", 100_000_000_000_000_000))


@dataclass(frozen=True)
class Reading:
    """A choice of what a written time leaves open.

    timezone: of a time without offset. unit: of epochs, None: told by their size. month_first: of
    01/02/2024. Dates with dots begin with the day whatever it says.
    """

    timezone: str = "UTC"
    month_first: bool = False
    unit: str | None = None


PLAINLY = Reading()


def read_written(text: str, reading: Reading = PLAINLY) -> int | None:
    """Read one value as microseconds since 1970 UTC, or None where it is no time or before 1990."""
    text = text.strip()
    for family in _FAMILIES:
        if match := re.match(family, text, re.ASCII):
            moment = _moment(match.groupdict(), reading, dots=bool(re.match(_DOTS, text, re.ASCII)))
            if moment is not None or family is not COMPACT:
                return moment
    if not re.match(EPOCH, text, re.ASCII):
        return None
    number = Decimal(text)
    if abs(number) > 10**20:
        return None
    unit = reading.unit or next((u for u, top in _SIZES if abs(number) < top), "ns")
    micros = int(number * Decimal(str(UNITS[unit])) // 1)
    return micros if FIRST_LIKELY <= micros < LAST_LIKELY else None


def written_column(column: pl.Expr, reading: Reading = PLAINLY) -> pl.Expr:
    """Read a column of text as Int64 µs UTC, each value as read_written does."""
    text = column.str.strip_chars()
    dots = text.str.contains(_DOTS)
    micros = pl.lit(None, dtype=pl.Int64)
    for family in reversed(_FAMILIES):
        read = _micros(text, family, reading, dots)
        if family is COMPACT:
            micros = pl.when(text.str.contains(family) & read.is_not_null()).then(read).otherwise(micros)
        else:
            micros = pl.when(text.str.contains(family)).then(read).otherwise(micros)
    return pl.coalesce(micros, _epochs(text, reading))


def _epochs(text: pl.Expr, reading: Reading) -> pl.Expr:
    shaped = pl.when(text.str.contains(EPOCH)).then(text)
    whole, number = shaped.cast(pl.Int64, strict=False), shaped.cast(pl.Float64, strict=False)
    micros = pl.lit(None, dtype=pl.Int64)
    for unit, top in reversed((*_SIZES, ("ns", 10**21))):
        if reading.unit not in (None, unit):
            continue
        exact = whole // 1_000 if unit == "ns" else whole * int(UNITS[unit])
        rounded = (number * UNITS[unit]).floor().cast(pl.Int64, strict=False)
        here = (
            pl.when(whole.is_not_null() & (number.abs() < 9.2e18 / max(UNITS[unit], 1))).then(exact).otherwise(rounded)
        )
        fits = pl.lit(True) if reading.unit else number.abs() < top
        micros = pl.when(fits).then(here).otherwise(micros)
    return pl.when((micros >= FIRST_LIKELY) & (micros < LAST_LIKELY)).then(micros)


def _micros(text: pl.Expr, family: str, reading: Reading, dots: pl.Expr) -> pl.Expr:
    names = re.compile(family).groupindex

    def part(name: str) -> pl.Expr:
        if name not in names:
            return pl.lit(None, dtype=pl.String)
        return text.str.extract(family, names[name])

    if family is PARTS:
        one, two = part("one"), part("two")
        first = pl.lit(reading.month_first) & ~dots
        month, day = pl.when(first).then(one).otherwise(two), pl.when(first).then(two).otherwise(one)
        year = part("year")
        full = year.str.len_chars() == 4
        year = pl.when(full).then(year).otherwise(pl.when(year < "70").then("20" + year).otherwise("19" + year))
    else:
        year, day = part("year"), part("day")
        month = part("month")
        if "name" in names:
            month = part("name").str.to_lowercase().replace_strict(_MONTHS, default=None, return_dtype=pl.String)
    hour, half = part("hour").fill_null("0").cast(pl.Int64), part("half").str.to_lowercase()
    wrong_half = half.is_not_null() & ~hour.is_between(1, 12)
    hour = pl.when(half == "p").then(hour % 12 + 12).when(half == "a").then(hour % 12).otherwise(hour)
    fraction = part("fraction").fill_null("0").str.pad_end(6, "0").str.head(6)
    clock = [hour.cast(pl.String), part("minute").fill_null("0"), part("second").fill_null("0")]
    padded = [one.str.zfill(2) for one in (month, day, *clock)]
    stamp = pl.format("{}-{}-{} {}:{}:{}.{}", year, *padded, fraction)
    naive = stamp.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False, exact=True)
    leap = padded[-1] > "59"  # a leap second is no second of 1970 + n
    zone = part("zone")
    local = naive
    if reading.timezone != "UTC":
        local = naive.dt.replace_time_zone(reading.timezone, ambiguous="earliest", non_existent="null")
        local = local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    digits = zone.str.replace(":", "").str.slice(1)
    minutes = digits.str.head(2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(2).cast(
        pl.Int64, strict=False
    ).fill_null(0)
    minutes = pl.when(zone.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    aware = naive.to_physical().cast(pl.Int64) - minutes * 60_000_000
    micros = pl.when(zone.is_null()).then(local.to_physical().cast(pl.Int64)).otherwise(aware)
    return pl.when((micros >= FIRST_LIKELY) & ~wrong_half & ~leap).then(micros)


def _moment(parts: dict[str, str | None], reading: Reading, *, dots: bool) -> int | None:
    year, month, day = parts["year"] or "", parts.get("month"), parts.get("day")
    if "one" in parts:
        month, day = parts["two"], parts["one"]
        if reading.month_first and not dots:
            month, day = day, month
        year = year if len(year) == 4 else ("20" if year < "70" else "19") + year
    if parts.get("name"):
        month = _MONTHS.get((parts["name"] or "").lower())
    hour, half = int(parts["hour"] or 0), (parts.get("half") or "").lower()
    if half and not 1 <= hour <= 12:
        return None
    hour = hour % 12 + 12 * (half == "p") if half else hour
    fraction = int((parts["fraction"] or "0").ljust(6, "0")[:6])
    try:
        minute, second = int(parts["minute"] or 0), int(parts["second"] or 0)
        naive = datetime(int(year), int(month or 0), int(day or 0), hour, minute, second, fraction)
    except ValueError:
        return None
    zone = parts["zone"]
    if zone is None:
        moment = naive.replace(tzinfo=ZoneInfo(reading.timezone))
        if moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) != naive:
            return None  # the hour that a clock change leaves out
    else:
        digits = zone[1:].replace(":", "") if zone[0] in "+-" else "0000"
        minutes = int(digits[:2]) * 60 + int(digits[2:] or 0)
        moment = naive.replace(tzinfo=UTC) - timedelta(minutes=-minutes if zone[0] == "-" else minutes)
    micros = (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return micros if micros >= FIRST_LIKELY else None
