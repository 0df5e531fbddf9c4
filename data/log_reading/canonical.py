"""Raw columns → canonical ones: what to read of each role, as polars expressions over a lazy frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from data.interactions import EventKind
from data.log_reading.columns import Columns
from data.log_reading.formats import Preset
from data.log_reading.sources import BREAKS, EXTRA_FIELD, LINE, Source
from data.log_reading.times import TimeReader, read_times, time_column
from data.log_reading.validation import UNDOES, Check, checks, judged, kind_codes, kind_column

SAMPLE_ROWS = 1_000
NOT_AN_INT = -(2**63)  # marks an id that is no plain integer where integers were expected
_PLAIN_INT = r"^(0|-?[1-9]\d{0,17})$"
EVENT = ("time", "kind", "price", "quantity", "session", "order")
ITEM = ("title", "category", "available")


@dataclass(frozen=True)
class Plan:
    """The decisions before the first full read.

    sample: the first rows of the source. integer_ids: the roles among user and item whose ids may be read as
    integers, which is quicker; the reader must check for NOT_AN_INT and replan without them. assumed: nobody said
    what kind the events of a log without an event column are, neither the caller nor a preset of one log.
    """

    preset: Preset
    source: Source
    columns: Columns
    kind: str
    kinds: Mapping[str, str]
    times: TimeReader
    sample: pl.DataFrame
    integer_ids: frozenset[str]
    assumed: bool


def make_plan(
    source: Source, columns: Columns, preset: Preset, *, kind: str | None, kinds: Mapping[str, str],
    timezone: str, time_format: str | None, time_unit: str | None,
) -> Plan:  # fmt: skip
    """Decide how to read each role, from the types and the first rows of the source.

    Raises DataError when its times fit no format or two, and polars' own errors when it is empty or not readable.
    """
    sample = source.frame.head(SAMPLE_ROWS).collect(engine="streaming")
    if not len(sample):
        raise pl.exceptions.NoDataError
    moment = time_column(columns.roles["time"])
    times = read_times(
        moment,
        sample.select(time=moment)["time"],
        form=time_format,
        likely=preset.time_formats,
        unit=time_unit or preset.time_unit,
        timezone=timezone,
    ).settled(source.frame)
    meanings = {**preset.kinds, **kinds}
    kind_codes({"": kind or preset.kind, **meanings})
    integers = frozenset(role for role in ("user", "item") if _looks_integer(sample[columns.roles[role]]))
    assumed = kind is None and preset.name == "generic"
    return Plan(preset, source, columns, kind or preset.kind, meanings, times, sample, integers, assumed)


def canonical(plan: Plan, *, exact: bool) -> tuple[pl.LazyFrame, list[Check]]:
    """__line, user, item, time, …, reason (0 is fine, k the k-th check), value, BREAKS if exact; and the checks."""
    roles, source = plan.columns.roles, plan.source
    frame = source.exact if exact else source.frame
    schema = frame.collect_schema()
    found = checks(
        roles,
        extra_field=EXTRA_FIELD in schema,
        integer_items="item" in plan.integer_ids,
        refuse=plan.preset.refuse,
    )
    wanted = {
        "user": _id(roles["user"], schema[roles["user"]], integer="user" in plan.integer_ids),
        "item": _id(roles["item"], schema[roles["item"]], integer="item" in plan.integer_ids),
        "time": plan.times.micros,
        "kind": kind_column(roles.get("event"), plan.kind, plan.kinds),
        "price": _number(roles.get("price"), pl.Float64),
        "quantity": _number(roles.get("quantity"), pl.Float32),
        "session": _text(plan, roles["session"], as_text=True) if "session" in roles else pl.lit(None, dtype=pl.String),
        "order": _number(roles.get("order"), pl.Int64),
    }
    wanted |= {role: _text(plan, roles[role]) for role in ITEM if role in roles}
    wanted |= {f"a.{name}": _text(plan, column) for name, column in plan.columns.attributes.items()}
    wanted |= {f"x.{name}": _text(plan, name) for name in plan.columns.extras}
    raw = {
        f"raw.{role}": time_column(roles[role]) if role == "time" else pl.col(roles[role])
        for role in ("time", "event", "price", "quantity", "order")
        if role in roles
    }
    raw["raw.item"] = pl.col(roles["item"]).cast(pl.String)
    more = [name for name in (EXTRA_FIELD, BREAKS) if name in schema]
    frame = frame.select(LINE, *more, **wanted, **raw)
    if "quantity" in roles:  # negative units of a purchase are a cancellation
        undoes = (pl.col("kind") == EventKind.PURCHASE) & (pl.col("quantity") < 0)
        frame = frame.with_columns(kind=pl.when(undoes).then(UNDOES + pl.col("kind")).otherwise("kind"))
    return judged(frame, found, [*wanted, *(name for name in more if name == BREAKS)]), found


def _looks_integer(sample: pl.Series) -> bool:
    if sample.dtype.is_integer():
        return sample.dtype != pl.UInt64  # a hash may be larger than Int64 holds
    return sample.dtype == pl.String and bool(sample.drop_nulls().str.contains(_PLAIN_INT).all())


def _id(column: str, dtype: pl.DataType, *, integer: bool) -> pl.Expr:
    """Int64, or a Categorical of strings; empty ids are null, whole floats (pandas with gaps) lose their ``.0``."""
    raw = pl.col(column)
    if integer and dtype.is_integer():
        return raw.cast(pl.Int64)
    if dtype == pl.String and integer:
        number = raw.cast(pl.Int64, strict=False)
        # Of what is a number: no sign but a minus, no leading zero. To compare texts is quicker than to search them.
        plain = (raw >= "1") | (raw == "0") | raw.is_between(pl.lit("-1"), pl.lit("-:"), closed="left")
        return pl.when(number.is_not_null() & plain).then(number).when(raw != "").then(NOT_AN_INT)
    text = raw.cast(pl.String)
    if dtype.is_float():
        text = pl.when(raw == raw.round(0)).then(raw.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(text)
    return pl.when(text != "").then(text).cast(_categorical(column))


def _number(column: str | None, dtype: type[pl.DataType]) -> pl.Expr:
    """Finite numbers, null where there is none."""
    if column is None:
        return pl.lit(None, dtype=dtype)
    number = pl.col(column).cast(dtype, strict=False)
    return pl.when(number.is_finite()).then(number) if dtype.is_float() else number


def _text(plan: Plan, column: str, *, as_text: bool = False) -> pl.Expr:
    """As it is, or as text; a text that repeats itself as a Categorical, which takes a tenth of the memory."""
    sample = plan.sample[column]
    repeats = sample.dtype == pl.String and len(sample) == SAMPLE_ROWS and sample.n_unique() * 4 < len(sample)
    if repeats:
        return pl.col(column).cast(_categorical(column))
    return pl.col(column).cast(pl.String) if as_text and sample.dtype != pl.String else pl.col(column)


def _categorical(name: str) -> pl.Categorical:
    return pl.Categorical(pl.Categories.random(name, pl.UInt32))
