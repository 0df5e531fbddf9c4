"""Times of any shape → microseconds since 1970 UTC. A time without offset is UTC unless the caller says otherwise.

The machine's own time zone is never asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from data.errors import DataError
from data.log_reading.times.written_times import COMPACT, FIRST_LIKELY, Reading, written_column
from data.values.numbers import PLAIN, Locale

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


COMPACT_FORMATS = ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d")
_OLDEST = -2_208_902_400_000_000  # 1900-01-02: Excel writes 1899-12-30 for 0


@dataclass(frozen=True)
class TimeReader:
    """An expression that yields Int64 µs UTC (null where unreadable or outside its bounds).

    words: what it does. rival: the same with day and month the other way round, when the sample does not tell which.
    earliest: the first moment that is believed, 1990 unless the log is older or somebody said how times are written;
    years 1 to 9999 are the outermost bounds. fixed: somebody said, so no other notation is tried. wide: each value is
    read by its own notation. dates: no time of a day is in it.
    """

    micros: pl.Expr
    words: str
    rival: TimeReader | None = None
    earliest: int = _FIRST_SECOND * 1_000_000
    fixed: bool = False
    wide: bool = False
    dates: bool = False

    def bounded(self, sample: pl.DataFrame | None, *, said: bool) -> TimeReader:
        """Bound times to a date from 1990 on, unless all of the sample is of an earlier time."""
        earliest, last = _FIRST_SECOND * 1_000_000, _LAST_SECOND * 1_000_000
        if not said and sample is not None:
            latest = sample.select(self.micros.max()).item()
            old = latest is not None and _OLDEST <= latest < FIRST_LIKELY
            earliest = _OLDEST if old else FIRST_LIKELY
        micros = pl.when(self.micros.is_between(earliest, last)).then(self.micros)
        rival = self.rival and self.rival.bounded(sample, said=said)
        return replace(self, micros=micros, rival=rival, earliest=earliest, fixed=said)

    def settled(self, frame: pl.LazyFrame) -> TimeReader:
        """Choose the reader or its rival, whichever reads more of the whole column.

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
            said = " and ".join(repr(reading.words.partition(",")[0]) for reading in (self, self.rival))
            raise DataError(f"time: every date fits {said}; say which by time_format=")
        return self if read >= other else self.rival


def read_times(
    column: pl.Expr,
    sample: pl.Series,
    *,
    form: str | None,
    likely: tuple[str, ...],
    unit: str | None,
    timezone: str,
    locale: Locale = PLAIN,
    usual_unit: str | None = None,
    whole: pl.LazyFrame | None = None,
) -> TimeReader:
    """Choose how to read a column of times, from its type and a sample of its values.

    form: the strptime format, which then is the only one; None: the first of the `likely` ones that fits, else of the
    common ones. unit: s, ms, us or ns of integer times, the only one too; usual_unit: of the preset; inferred from
    their size when both are None. whole: the log, asked when the sample holds no time. timezone: where none is named.
    Raises DataError when nothing fits the sample, when two formats fit it differently, or for an unknown time zone.
    Day and month that the sample leaves open are decided by TimeReader.settled, or by the locale.
    """
    _check(form, unit, timezone)
    frame = pl.DataFrame({column.meta.output_name(): sample})
    parts = column.meta.root_names() != [column.meta.output_name()]
    try:
        reader = _reader(column, sample, form=form, likely=likely, unit=unit or usual_unit, timezone=timezone)
    except DataError:
        if form or unit or not (sample.dtype == pl.String or sample.dtype.is_numeric()):
            raise
        reader = widened(column, sample.dtype, timezone=timezone, locale=locale, unit=usual_unit)
        log = frame.lazy() if whole is None else whole
        if not log.select(reader.micros.count()).collect(engine="streaming").item():
            raise
        return reader
    if reader.rival is not None and locale.month_first is not None:
        here = reader if reader.words.startswith("%m") == locale.month_first else reader.rival
        reader = replace(here, rival=None)
    return reader.bounded(None if parts else frame, said=bool(form or unit))


def widened(column: pl.Expr, dtype: pl.DataType, *, timezone: str, locale: Locale, unit: str | None) -> TimeReader:
    """Make the reader that reads each value by its own notation; settled tells day from month over the whole log."""
    text = column if dtype == pl.String else column.cast(pl.String)

    def reader(month_first: bool) -> TimeReader:
        dates = "month/day" if month_first else "day/month"
        words = f"{dates}, each by its own notation, {timezone} where it names no zone"
        micros = written_column(text, Reading(timezone, month_first, unit))
        return TimeReader(micros, words, earliest=FIRST_LIKELY, wide=True)

    if locale.month_first is not None:
        return reader(locale.month_first)
    return replace(reader(False), rival=reader(True))


def _check(form: str | None, unit: str | None, timezone: str) -> None:
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise DataError(f"timezone={timezone!r}: must be a name such as UTC or Europe/London") from None
    if unit is not None and unit not in _UNITS:
        raise DataError(f"time_unit={unit!r}: must be one of {', '.join(_UNITS)}")
    if form and "%Z" in form:
        raise DataError(f"time_format={form!r}: %Z has names that mean several zones; use %z, or timezone= and no %Z")


def _reader(
    column: pl.Expr, sample: pl.Series, *, form: str | None, likely: tuple[str, ...], unit: str | None, timezone: str
) -> TimeReader:
    sample = sample.drop_nulls()
    if not len(sample):
        raise DataError("time: the first rows of the log hold no time at all")
    kind = sample.dtype
    if isinstance(kind, pl.Datetime) or kind == pl.Date:
        zone = kind.time_zone if isinstance(kind, pl.Datetime) else None
        moment = column.cast(pl.Datetime("us", zone))
        return TimeReader(_to_micros(moment, zone, timezone), f"dates, {zone or timezone}", dates=kind == pl.Date)
    if not (kind.is_numeric() or kind == pl.String):
        raise DataError(f"time: type {kind} is no time")
    text, texts = (column, sample) if kind == pl.String else (column.cast(pl.String), sample.cast(pl.String))
    if form:
        if reader := _text(text, texts, (form,), timezone):
            return reader
        raise DataError(f"time: {texts[0]!r} does not fit time_format={form!r}, e.g. {TEXT_FORMATS[0]!r}")
    numbers = sample.cast(pl.Float64, strict=False)
    if numbers.null_count() * 2 < len(sample):
        if unit is None and bool(texts.str.contains(COMPACT).mean() == 1):
            reader = _text(text, texts, COMPACT_FORMATS, timezone)
            if reader is not None:
                return reader
        whole = kind.is_integer() or bool(
            texts.filter(numbers.is_not_null()).str.contains(r"^-?\d+$").all() and kind == pl.String
        )
        return _epoch(column, numbers.drop_nulls(), unit, whole=whole)
    for formats in (likely, TEXT_FORMATS):
        if reader := _text(column, sample, formats, timezone):
            return reader
    raise DataError(f"time: {sample[0]!r} fits no known format; say time_format=, e.g. {TEXT_FORMATS[0]!r}")


def time_column(role: str) -> pl.Expr:
    """Read the column, or the ISO date of ``year+month+day``."""
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
    mirrored = form.replace("%d/%m", "%m/%d") if form.startswith("%d/%m") else form.replace("%m/%d", "%d/%m")
    for other, parsed in best[1:]:
        if other != mirrored and not parsed.dt.replace_time_zone(None).equals(chosen.dt.replace_time_zone(None)):
            raise DataError(f"time: {sample[0]!r} fits {form!r} and {other!r}; say which by time_format=")
    rival = mirrored != form and any(other == mirrored for other, _ in best)
    dates = "%H" not in form and "%I" not in form and "%T" not in form
    return TimeReader(
        *_as_text(column, form, timezone),
        TimeReader(*_as_text(column, mirrored, timezone), dates=dates) if rival else None,
        dates=dates,
    )


def _as_text(column: pl.Expr, form: str, timezone: str) -> tuple[pl.Expr, str]:
    aware = "UTC" if "%z" in form or "%:z" in form or form.endswith(("Z", " UTC")) else None
    moment = column.str.to_datetime(
        form, time_unit="us", time_zone="UTC" if "z" in form.rsplit("%", 1)[-1] else None, strict=False
    )
    return _to_micros(moment, aware, timezone), f"{form}, {'with offset' if aware else timezone}"


def _to_micros(moment: pl.Expr, zone: str | None, timezone: str) -> pl.Expr:
    """Convert naive local time to UTC. The hour that occurs twice is the first one, the hour that never was is null."""
    if zone is None and timezone != "UTC":
        moment = moment.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return moment.to_physical().cast(pl.Int64)
