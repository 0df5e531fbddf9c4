"""Times of any shape → microseconds since 1970 UTC. A time without offset is UTC unless the caller says otherwise.

The machine's own time zone is never asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from data.errors import DataError

TEXT_FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
)
_UNITS = {"s": 1_000_000.0, "ms": 1_000.0, "us": 1.0, "ns": 0.001}
_FIRST_SECOND = -62_135_596_800  # of the year 1
_LAST_SECOND = 253_402_300_799  # of the year 9999


@dataclass(frozen=True)
class TimeReader:
    """An expression that yields Int64 µs UTC (null where unreadable or outside the years 1 to 9999).

    words: what it does. rival: the same with day and month the other way round, when the sample does not tell which.
    """

    micros: pl.Expr
    words: str
    rival: TimeReader | None = None

    def bounded(self) -> TimeReader:
        """Times that have a date."""
        bounds = _FIRST_SECOND * 1_000_000, _LAST_SECOND * 1_000_000
        micros = pl.when(self.micros.is_between(*bounds)).then(self.micros)
        return TimeReader(micros, self.words, self.rival and self.rival.bounded())

    def settled(self, frame: pl.LazyFrame) -> TimeReader:
        """The reader or its rival, whichever reads more of the whole column.

        Raises DataError when both read as much of it, and not the same.
        """
        if self.rival is None:
            return self
        ours, theirs = self.micros, self.rival.micros
        count = frame.select(
            ours=ours.is_not_null().sum(),
            theirs=theirs.is_not_null().sum(),
            unlike=(ours != theirs).fill_null(False).sum(),
        ).collect(engine="streaming")
        read, other, unlike = count.row(0)
        if read == other and unlike:
            said = " and ".join(repr(one.words.partition(",")[0]) for one in (self, self.rival))
            raise DataError(f"time: every date fits {said}; say which by time_format=")
        return self if read >= other else self.rival


def read_times(
    column: pl.Expr, sample: pl.Series, *, form: str | None, likely: tuple[str, ...], unit: str | None, timezone: str
) -> TimeReader:
    """How to read a column of times, from its type and a sample of its values.

    form: the strptime format; None: the first of the `likely` ones that fits, else of the common ones. unit: s, ms,
    us or ns of integer times; inferred from their size when None. timezone: of times without offset.
    Raises DataError when nothing fits the sample, when two formats fit it differently, or for an unknown time zone.
    Day and month that the sample leaves open are decided by TimeReader.settled.
    """
    return _reader(column, sample, form=form, likely=likely, unit=unit, timezone=timezone).bounded()


def _reader(
    column: pl.Expr, sample: pl.Series, *, form: str | None, likely: tuple[str, ...], unit: str | None, timezone: str
) -> TimeReader:
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(f"timezone={timezone!r}: must be a name such as UTC or Europe/London") from None
    if unit is not None and unit not in _UNITS:
        raise DataError(f"time_unit={unit!r}: must be one of {', '.join(_UNITS)}")
    sample = sample.drop_nulls()
    if not len(sample):
        raise DataError("time: the first rows of the log hold no time at all")
    kind = sample.dtype
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        zone = kind.time_zone if isinstance(kind, pl.Datetime) else None
        moment = column.cast(pl.Datetime("us", zone))
        return TimeReader(_to_micros(moment, zone, timezone), f"dates, {zone or timezone}")
    if kind.is_numeric():
        return _epoch(column, sample.cast(pl.Float64), unit, whole=kind.is_integer())
    if kind != pl.String:
        raise DataError(f"time: type {kind} is no time")
    numbers = sample.cast(pl.Float64, strict=False)
    if numbers.null_count() * 2 < len(sample):
        whole = sample.filter(numbers.is_not_null()).str.contains(r"^-?\d+$").all()
        return _epoch(column, numbers.drop_nulls(), unit, whole=bool(whole))
    for formats in ((form,),) if form else (likely, TEXT_FORMATS):
        if reader := _text(column, sample, formats, timezone):
            return reader
    fault = f"does not fit time_format={form!r}" if form else "fits no known format; say time_format="
    raise DataError(f"time: {sample[0]!r} {fault}, e.g. {TEXT_FORMATS[0]!r}")


def time_column(role: str) -> pl.Expr:
    """The column, or the ISO date of ``year+month+day``."""
    parts = role.split("+")
    if len(parts) == 1:
        return pl.col(role)
    padded = [pl.col(part).cast(pl.String).str.zfill(2) for part in parts]
    return pl.concat_str(padded, separator="-")


def _epoch(column: pl.Expr, numbers: pl.Series, unit: str | None, *, whole: bool) -> TimeReader:
    words = f"epoch in {unit}"
    if unit is None:
        size = float(numbers.median() or 0)  # type: ignore[arg-type]
        unit = next((key for key, top in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if size < top), "ns")
        if size < 1e8:
            raise DataError(f"time: values near {size:g} are no epoch; say time_unit=s, ms, us or ns")
        words = f"epoch in {unit} (inferred from values near {size:.4g})"
    number = column.cast(pl.Int64 if whole else pl.Float64, strict=False)
    number = pl.when(number.abs() <= _LAST_SECOND * 1_000_000 / _UNITS[unit]).then(number)  # before it overflows
    if not whole:
        return TimeReader((number * _UNITS[unit]).round(0).cast(pl.Int64, strict=False), words)
    return TimeReader(number // 1_000 if unit == "ns" else number * int(_UNITS[unit]), words)


def _text(column: pl.Expr, sample: pl.Series, formats: tuple[str, ...], timezone: str) -> TimeReader | None:
    fitting: list[tuple[str, pl.Series]] = []
    for form in formats:
        zone = "UTC" if "%z" in form or "%:z" in form else None
        parsed = sample.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
        if parsed.null_count() < len(sample):
            fitting.append((form, parsed))
    if not fitting:
        return None
    fewest = min(parsed.null_count() for _, parsed in fitting)
    best = [(form, parsed) for form, parsed in fitting if parsed.null_count() == fewest]
    form, chosen = best[0]
    for other, parsed in best[1:]:
        if not parsed.dt.replace_time_zone(None).equals(chosen.dt.replace_time_zone(None)):
            raise DataError(f"time: {sample[0]!r} fits {form!r} and {other!r}; say which by time_format=")
    mirrored = form.replace("%d/%m", "%m/%d") if form.startswith("%d/%m") else form.replace("%m/%d", "%d/%m")
    rival = mirrored != form and any(other == mirrored for other, _ in best)
    return TimeReader(
        *_as_text(column, form, timezone), TimeReader(*_as_text(column, mirrored, timezone)) if rival else None
    )


def _as_text(column: pl.Expr, form: str, timezone: str) -> tuple[pl.Expr, str]:
    aware = "UTC" if "%z" in form or "%:z" in form or form.endswith(("Z", " UTC")) else None
    moment = column.str.to_datetime(
        form, time_unit="us", time_zone="UTC" if "z" in form.rsplit("%", 1)[-1] else None, strict=False
    )
    return _to_micros(moment, aware, timezone), f"{form}, {'with offset' if aware else timezone}"


def _to_micros(moment: pl.Expr, zone: str | None, timezone: str) -> pl.Expr:
    """Naive local time → UTC: the hour that occurs twice is the first one, the hour that never was is null."""
    if zone is None and timezone != "UTC":
        moment = moment.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return moment.to_physical().cast(pl.Int64)
