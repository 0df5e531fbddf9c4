"""Item properties that change in time, joined as of the moment of each event. Not the catalogue, which is as of today.

A price, category or availability recorded after an event was unknown when it happened: joined by item alone, the latest
value tells the model about the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from data.errors import DataError
from data.log_reading.opening.sources import open_source
from data.log_reading.times.time_reader import read_times, time_column

SLICE = 1 << 20
"""Events joined at a time: beside the log and one property's rows, only a slice of it is copied."""
SCHEMA = {"item_id": pl.String(), "property": pl.String(), "value": pl.String(), "valid_from": pl.Datetime("us", "UTC")}
_NAMES = {
    "item_id": ("itemid", "item_id", "item", "product_id"),
    "property": ("property", "name"),
    "value": ("value",),
    "valid_from": ("timestamp", "valid_from", "time"),
}


def read_properties(
    sources: Sequence[Path | str],
    *,
    properties: Sequence[str] = (),
    timezone: str = "UTC",
    time_unit: str | None = None,
) -> pl.LazyFrame:
    """Read rows (item_id, property, value, valid_from) of one or several csv, parquet or jsonl files.

    All values are text.

    Reads Retailrocket's item_properties_part1.csv and part2 (timestamp in ms, itemid, property, value) as they are.
    properties: only these; a log of 20 M rows has a few hundred thousand of any one. Rows without item, property or
    a readable time are left out. Raises DataError for a source without these columns.
    """
    if not sources:
        raise DataError("sources=[]: must name at least one file of item properties")
    parts = []
    for source in sources:
        opened = open_source(source, separators=(",", ";", "\t"))
        column = {role: [name for name in opened.columns if name.lower() in names] for role, names in _NAMES.items()}
        if wrong := [role for role, found in column.items() if len(found) != 1]:
            known = "; ".join(f"{role} (known as {', '.join(_NAMES[role])})" for role in wrong)
            raise DataError(f"source={opened.name}: needs one column each for {known}; found {list(opened.columns)}")
        moment = time_column(column["valid_from"][0])
        sample = opened.frame.select(time=moment).head(1_000).collect()["time"]
        times = read_times(moment, sample, form=None, likely=(), unit=time_unit, timezone=timezone)
        texts = {role: pl.col(column[role][0]).cast(pl.String) for role in ("item_id", "property", "value")}
        rows = opened.frame.select(**texts, valid_from=times.micros.cast(pl.Datetime("us", "UTC")))
        parts.append(rows.drop_nulls(["item_id", "property", "valid_from"]))
    table = pl.concat(parts)
    return table.filter(pl.col("property").is_in(list(properties))) if properties else table


def as_of(events: pl.DataFrame, properties: pl.LazyFrame, names: Sequence[str]) -> pl.DataFrame:
    """Join the properties as they were known at each event, one more column a name; null before any.

    events: with item_id and time (µs, UTC), in any order, which is kept. properties: as `read_properties` gives them.
    Known are values with valid_from ≤ time; of two with the same valid_from the later row counts. Raises DataError
    where the events have a column of that name already.
    """
    for name in names:
        if name in events.columns:
            raise DataError(f"names={name!r}: the events have a column of that name already")
    for name in names:
        rows = properties.filter(pl.col("property") == name).select(
            "item_id", "valid_from", pl.col("value").alias(name)
        )
        history = rows.sort("valid_from", maintain_order=True).collect(engine="streaming")
        values = [_joined(part, history, name) for part in events.select("item_id", "time").iter_slices(SLICE)]
        joined = pl.concat(values) if values else pl.Series(name, [], dtype=pl.String)
        events = events.with_columns(joined.alias(name))
    return events


def _joined(events: pl.DataFrame, history: pl.DataFrame, name: str) -> pl.Series:
    """Join the property to each event of a slice, in its order. history: by valid_from."""
    ordered = events.with_row_index("row").sort("time")
    joined = ordered.join_asof(
        history, left_on="time", right_on="valid_from", by="item_id", strategy="backward", check_sortedness=False
    )
    return joined.sort("row")[name]
