"""Raw columns → canonical ones: what to read of each role, as polars expressions over a lazy frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from data.interactions import EventKind
from data.log_reading.columns import Columns
from data.log_reading.formats import Preset
from data.log_reading.opening.source import BREAKS, EXTRA_FIELD, LINE, Source
from data.log_reading.times.time_reader import TimeReader, read_times, time_column
from data.log_reading.validation import UNDOES, Check, Conditions, checks, judged, kind_codes, kind_column
from data.values.event_words import fold, meaning
from data.values.nobody import NULL_WORDS
from data.values.numbers import PLAIN, Locale, number_column

SAMPLE_ROWS = 1_000
MAX_WORDS = 1_000
"""Event words that are looked up in the field's table: a column of more is none of event words."""
ORDER_BEGINS = 946_684_800_000_000  # 2000-01-01, µs: of a log without times
NOT_AN_INT = -(2**63)  # marks an id that is no plain integer where integers were expected
_PLAIN_INT = r"^(0|-?[1-9]\d{0,17})$"
EVENT = ("time", "kind", "price", "quantity", "session", "order")
ITEM = ("title", "category", "available")


@dataclass(frozen=True)
class Plan:
    """Everything decided before a full read of the log; `data.log_reading.refine` corrects what the read disproves.

    sample: the first rows of the source. integer_ids: the roles among user and item whose ids may be read as
    integers, which is quicker; the reader must check for NOT_AN_INT and replan without them. assumed: nobody said
    what kind the events of a log without an event column are, neither the caller nor a preset of one log.
    words: event words that the field's table knows, and what each was taken for. nobody: role → ids that are none.
    wide_numbers: numbers with currencies, thousands and words for nothing are read too, which is slower.
    aliases: ids of variants → the item that they are of.
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
    locale: Locale
    timezone: str
    null: tuple[str, ...]
    guests: tuple[str, ...]
    bots: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    nobody: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wide_numbers: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)


def make_plan(
    source: Source, columns: Columns, preset: Preset, *, kind: str | None, kinds: Mapping[str, str],
    timezone: str, time_format: str | None, time_unit: str | None,
    locale: Locale = PLAIN, null: Sequence[str] = (), guests: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> Plan:  # fmt: skip
    """Decide how to read each role, from the types and the first rows of the source.

    Raises DataError when its times fit no format or two, and polars' own errors when it is empty or not readable.
    """
    sample = source.frame.head(SAMPLE_ROWS).collect(engine="streaming")
    if not len(sample):
        raise pl.exceptions.NoDataError
    moment = time_column(columns.roles["time"])
    if columns.roles["time"] == LINE:
        micros = pl.col(LINE).cast(pl.Int64) * 1_000_000 + ORDER_BEGINS
        times = TimeReader(micros, "order of the file", fixed=True)
    else:
        times = read_times(
            moment,
            sample.select(time=moment)["time"],
            form=time_format,
            likely=preset.time_formats,
            unit=time_unit,
            usual_unit=preset.time_unit,
            timezone=timezone,
            locale=locale,
            whole=source.frame,
        ).settled(source.frame)
    meanings = {**preset.kinds, **kinds}
    kind_codes({"": kind or preset.kind, **meanings})
    integers = frozenset(role for role in ("user", "item") if _looks_integer(sample[columns.roles[role]]))
    assumed = kind is None and preset.name == "generic"
    plan = Plan(
        preset, source, columns, kind or preset.kind, meanings, times, sample, integers, assumed,
        locale, timezone, tuple(null), tuple(guests),
    )  # fmt: skip
    nobody = dict.fromkeys(("user", "item"), plan.null) if null else {}
    integers = integers - {"item"} if aliases else integers
    plan = replace(plan, nobody=nobody, aliases=aliases or {}, integer_ids=integers)
    return with_words(plan, sample[columns.roles["event"]]) if "event" in columns.roles else plan


def with_words(plan: Plan, told: pl.Series) -> Plan:
    """Add to the plan the meaning of those event words that it lacks and the field's table knows."""
    known = kind_codes(plan.kinds)
    words = {}
    for word in told.cast(pl.String).drop_nulls().unique(maintain_order=True).to_list()[:MAX_WORDS]:
        if word in known:
            continue
        means = {fold(name): means for name, means in plan.kinds.items()}.get(fold(word)) or meaning(word)
        if means:
            words[word] = means
    return replace(plan, words={**plan.words, **words}, kinds={**words, **plan.kinds}) if words else plan


def canonical(plan: Plan, *, exact: bool) -> tuple[pl.LazyFrame, list[Check]]:
    """Convert a log to canonical columns and the checks of its rows.

    __line, user, item, time, …, reason (0 is fine, k the k-th check), value, BREAKS if exact.
    """
    roles, source = plan.columns.roles, plan.source
    frame = source.exact if exact else source.frame
    schema = frame.collect_schema()
    conditions = Conditions(
        extra_field=EXTRA_FIELD in schema,
        integer_items="item" in plan.integer_ids,
        nested=source.nested,
        guests=plan.guests,
        bots=plan.bots,
        null=(*NULL_WORDS, *(word.strip().lower() for word in plan.null)) if plan.wide_numbers else (),
        exempt=plan.preset.refuse,
    )
    checks_of_rows = checks(roles, conditions)
    wanted = {
        "user": _id(plan, "user", schema[roles["user"]]),
        "item": _id(plan, "item", schema[roles["item"]]),
        "time": plan.times.micros,
        "kind": kind_column(roles.get("event"), plan.kind, plan.kinds),
        "price": _number(plan, "price", pl.Float64, schema),
        "quantity": _number(plan, "quantity", pl.Float32, schema),
        "session": _text(plan, roles["session"], as_text=True) if "session" in roles else pl.lit(None, dtype=pl.String),
        "order": _number(plan, "order", pl.Int64, schema),
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
    if source.nested:
        raw["raw.user"] = pl.col(roles["user"]).cast(pl.String)
    more = [name for name in (EXTRA_FIELD, BREAKS) if name in schema]
    frame = frame.select(LINE, *more, **wanted, **raw)
    frame = _with_refunds(frame, roles)
    return judged(frame, checks_of_rows, [*wanted, *(name for name in more if name == BREAKS)]), checks_of_rows


def _with_refunds(frame: pl.LazyFrame, roles: Mapping[str, str]) -> pl.LazyFrame:
    """Convert negative units, or a negative price, of a purchase to a cancellation.

    What it cost is the price as it was.
    """
    negative = [pl.col(role) < 0 for role in ("quantity", "price") if role in roles]
    if not negative:
        return frame
    purchase = pl.col("kind") == EventKind.PURCHASE
    undoes = pl.when(purchase & pl.any_horizontal(negative)).then(UNDOES + pl.col("kind")).otherwise("kind")
    frame = frame.with_columns(kind=undoes.cast(pl.UInt8))
    if "price" in roles:
        undone = pl.col("kind") == UNDOES + EventKind.PURCHASE
        frame = frame.with_columns(price=pl.when(undone).then(pl.col("price").abs()).otherwise("price"))
    return frame


def _looks_integer(sample: pl.Series) -> bool:
    if sample.dtype.is_integer():
        return sample.dtype != pl.UInt64  # a hash may be larger than Int64 holds
    return sample.dtype == pl.String and bool(sample.drop_nulls().str.contains(_PLAIN_INT).all())


def _id(plan: Plan, role: str, dtype: pl.DataType) -> pl.Expr:
    """Read an id as Int64, or as a Categorical of strings without blanks around them.

    Words for nobody and empty ids are null.

    Whole floats (pandas with gaps) lose their ``.0``.
    """
    column, integer = plan.columns.roles[role], role in plan.integer_ids
    raw, nobody = pl.col(column), list(plan.nobody.get(role, ()))
    if integer and dtype.is_integer():
        number = raw.cast(pl.Int64)
        return pl.when(~raw.cast(pl.String).is_in(nobody)).then(number) if nobody else number
    if dtype == pl.String and integer:
        number = raw.cast(pl.Int64, strict=False)
        # Of what is a number: no sign but a minus, no leading zero. To compare texts is quicker than to search them.
        plain = (raw >= "1") | (raw == "0") | raw.is_between(pl.lit("-1"), pl.lit("-:"), closed="left")
        read = pl.when(number.is_not_null() & plain).then(number).when(raw != "").then(NOT_AN_INT)
        return pl.when(~raw.is_in(nobody)).then(read) if nobody else read
    text = id_text(raw, dtype)
    if role == "item" and plan.aliases:
        text = text.replace(list(plan.aliases), list(plan.aliases.values()))
    stands = (text != "") & ~text.is_in(nobody) if nobody else text != ""
    return pl.when(stands).then(text).cast(_categorical(column))


def id_text(raw: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write an id as text, the same at every door: no blanks around it, and whole floats without ``.0``."""
    if dtype.is_float():
        whole = raw.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(raw == raw.round(0)).then(whole).when(raw.is_finite()).then(raw.cast(pl.String))
    return raw.cast(pl.String).str.strip_chars()


def _number(plan: Plan, role: str, dtype: type[pl.DataType], schema: pl.Schema) -> pl.Expr:
    """Read finite numbers, null where there is none."""
    if role not in plan.columns.roles:
        return pl.lit(None, dtype=dtype)
    column = plan.columns.roles[role]
    if schema[column] == pl.String and (plan.wide_numbers or plan.locale.decimal == ","):
        number = number_column(pl.col(column), plan.locale)
        if not dtype.is_float():
            number = pl.when(number == number.floor()).then(number)
        number = number.cast(dtype, strict=False)
    else:
        number = pl.col(column).cast(dtype, strict=False)
    return pl.when(number.is_finite()).then(number) if dtype.is_float() else number


def _text(plan: Plan, column: str, *, as_text: bool = False) -> pl.Expr:
    """Read text as it is, or as text.

    A text that repeats itself is a Categorical, which takes a tenth of the memory.
    """
    sample = plan.sample[column]
    repeats = sample.dtype == pl.String and len(sample) == SAMPLE_ROWS and sample.n_unique() * 4 < len(sample)
    if repeats:
        return pl.col(column).cast(_categorical(column))
    return pl.col(column).cast(pl.String) if as_text and sample.dtype != pl.String else pl.col(column)


def _categorical(name: str) -> pl.Categorical:
    return pl.Categorical(pl.Categories.random(name, pl.UInt32))
