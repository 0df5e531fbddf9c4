"""A log as the caller asked to read it: its preset, its columns and the plan to read them; no row is read yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from data.checked_log import CheckedLog, DatasetAxes
from data.errors import DataError
from data.exports.flat import FIELDS
from data.exports.registry import EXPORTS
from data.feeds.feed import Feed
from data.log_reading.canonical import Plan, make_plan
from data.log_reading.columns import Columns, check_currency, listed, match_columns
from data.log_reading.formats import EVENT_ROLES, FEEDBACK_PRESETS, PRESETS, Preset
from data.log_reading.opening.export_files import open_export
from data.log_reading.opening.feed_files import open_feed
from data.log_reading.opening.source import Source
from data.log_reading.opening.sources import Table, files_of, open_source, unreadable
from data.log_reading.recognition import AUTO, recognise
from data.log_reading.validation import kind_codes
from data.values.numbers import Locale
from data.vocabulary import Vocabulary

T = TypeVar("T")


@dataclass(frozen=True)
class LogOptions:
    """Options of reading a log.

    preset: a name of `data.log_reading.formats.PRESETS`, or `auto`: the one whose own columns or first line the
    source has, else
        generic.
    mapping: role → column where the preset's own names do not fit (user, item, time, event, price, quantity, session,
        order, title, category, available). kind: of every event where there is no event column. kinds: the log's
        event names → view, cart, purchase, like, dislike, or -purchase, -cart, … for one that undoes.
    keep: extra columns to keep with the events; generic keeps all by default.
    timezone: of times without offset; never the machine's. time_format, time_unit: instead of inferring.
    locale: how numbers and dates are written, such as de_DE; None: what is not open.
    items: a catalogue file or frame; by default the preset's own beside the log.
    base: a dataset (`data.dataset.open_known` reads one without its events) or an item vocabulary to grow, so that no
        item_idx (and with a dataset no user_idx) ever changes.
    null: words that mean nothing, beside NULL, None, nan and the like. guests: ids that stand for many people.
    max_refused: share of rows that may be refused (guests and rows of no product aside) before all is an error; None:
        20 %, of more than 10 rows.
    no_header: the first line of a text file is a row; its columns are column_1, column_2, …
    no_time: the log has no times; its order is that of the file.
    max_per_day: events of one shopper on one day (UTC) above which that shopper is a bot; None: nobody is.
    head: records of a nested export that are read, for a look at a large one; None: all.
    """

    preset: str = AUTO
    mapping: Mapping[str, str] | None = None
    timezone: str = "UTC"
    kind: str | None = None
    kinds: Mapping[str, str] | None = None
    keep: Sequence[str] | None = None
    separator: str | None = None
    time_format: str | None = None
    time_unit: str | None = None
    items: Table | None = None
    base: CheckedLog | DatasetAxes | Vocabulary | None = None
    locale: str | None = None
    null: Sequence[str] = ()
    guests: Sequence[str] = ()
    max_refused: float | None = None
    no_header: bool = False
    no_time: bool = False
    max_per_day: int | None = None
    head: int | None = None

    def __post_init__(self) -> None:
        if self.max_refused is not None and not 0 <= self.max_refused <= 1:
            raise DataError(f"max_refused={self.max_refused}: must be a share in 0..1")
        if self.max_per_day is not None and self.max_per_day < 1:
            raise DataError(f"max_per_day={self.max_per_day}: must be at least 1")

    @property
    def known(self) -> tuple[Vocabulary, Vocabulary, pl.DataFrame | None]:
        """Items, users and catalogue of the base."""
        if isinstance(self.base, (CheckedLog, DatasetAxes)):
            return self.base.items, self.base.users, self.base.catalogue
        return self.base or Vocabulary(), Vocabulary(), None


@dataclass(frozen=True)
class OpenedLog:
    """told: how the preset was recognised, "" where the caller named it. feed: the items file, if it is a feed."""

    source: Source
    preset: Preset
    columns: Columns
    options: LogOptions
    told: str
    feed: Feed | None = None


def open_log(source: Table, options: LogOptions, scratch: Path | None = None) -> OpenedLog:
    """Open a log and plan how it is read. Raises DataError when the source is no log or a column is missing."""
    separators = (options.separator,) if options.separator else ()
    name, told = options.preset, ""
    if name == AUTO:
        name, told = recognise(source, separators=separators)
    preset, mapping = _preset(name), options.mapping or {}
    feed = None if options.items is None else open_feed(options.items, scratch, Locale.of(options.locale))
    if name in EXPORTS:
        opened = open_export(EXPORTS[name], files_of(source), scratch, options.head)
        columns = match_columns(preset, opened.columns, mapping, options.keep)
        return OpenedLog(opened, preset, _with_variants(columns, feed), options, told, feed)
    opened = open_source(
        source,
        separators=separators or preset.separators,
        header=preset.header,
        known=_known_names(preset, mapping, options.keep or ()),
        events_in=preset.events_in,
        scratch=scratch,
        no_header=options.no_header,
    )
    columns = match_columns(preset, opened.columns, mapping, options.keep, no_time=options.no_time)
    check_currency(opened, columns.roles)
    kind_codes(options.kinds or {})
    if options.kinds and "event" not in columns.roles:
        raise DataError(
            f"kinds: no column says what happened; say which by event=COLUMN; found {listed(opened.columns)}"
        )
    return OpenedLog(opened, preset, _with_variants(columns, feed), options, told, feed)


def _with_variants(columns: Columns, feed: Feed | None) -> Columns:
    """Keep the id of the variant beside its product's: two variants in one order are two events."""
    item = columns.roles["item"]
    if feed is None or not feed.aliases or item in columns.extras:
        return columns
    return replace(columns, extras=(*columns.extras, item))


def read_planned(log: OpenedLog, read: Callable[[Plan], tuple[Plan, T]]) -> tuple[Plan, T]:
    """Plan a log and read it: the quick way, or the patient one where polars gives up.

    Returns the plan, and what `read` makes of the log.

    read: gives the plan back that it ended with. Raises DataError when both ways fail.
    """
    return _read(log.source, log, read)


def _read(source: Source, log: OpenedLog, read: Callable[[Plan], tuple[Plan, T]]) -> tuple[Plan, T]:
    options = log.options
    try:
        plan = make_plan(
            source, log.columns, log.preset,
            kind=options.kind, kinds=options.kinds or {}, timezone=options.timezone,
            time_format=options.time_format, time_unit=options.time_unit,
            locale=Locale.of(options.locale), null=options.null, guests=options.guests,
            aliases={} if log.feed is None else log.feed.aliases,
        )  # fmt: skip
        return read(plan)
    except (pl.exceptions.PolarsError, OSError) as error:
        if source.patient is not None:
            return _read(source.patient(), log, read)
        if isinstance(error, pl.exceptions.NoDataError):
            raise DataError(f"source={source.name}: the log is empty, it has columns but no rows") from None
        raise unreadable(source, error) from None


def _known_names(preset: Preset, mapping: Mapping[str, str], keep: Sequence[str]) -> frozenset[str]:
    """List columns that would mean something if the source had them."""
    names = [name for known in (*preset.columns.values(), *preset.attributes.values()) for name in known]
    return frozenset(part for name in (*names, *mapping.values(), *keep) for part in (name, *name.split("+")))


def _preset(name: str) -> Preset:
    if name in FEEDBACK_PRESETS and name not in PRESETS:
        raise DataError(f"preset={name!r}: such a log names no shoppers; read it with `ownshelf off-policy`")
    if name in EXPORTS:
        columns = {role: (role,) for role in (*EVENT_ROLES, "title", "category") if role in FIELDS}
        return Preset(name, columns=columns, extras=("order_id",))
    if name not in PRESETS:
        raise DataError(f"preset={name!r}: must be one of {AUTO}, {', '.join((*PRESETS, *EXPORTS))}")
    return PRESETS[name]
