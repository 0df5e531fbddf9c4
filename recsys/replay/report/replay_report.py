"""The report of a replay: one HTML file that needs nothing else, made of the tables beside it. It computes no figure.

Every number in its text stands in a `<data>` element that names the table, row and column it was read from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DataError
from recsys.evaluation.statistics import LEVEL
from recsys.replay.report import report_plots as plots
from recsys.replay.settings import Target
from recsys.reports.page import SourcedNumber, report_page, sourced, upper

PAGES = Path(__file__).with_name("pages")
TABLES = ("cuts", "comparisons", "rounds", "lists", "adaptation")
TARGETS: dict[Target, str] = {
    "next_item": "the next item",
    "next_purchase": "the next purchase",
    "session": "the rest of the session",
}
CUTS = {
    "past": ("From cold to warm", "by the number of events a device had behind it"),
    "hours": ("Since the first visit", "by hours since the device's first event"),
    "history": ("New and repeated items", "by whether the device had had the item before"),
    "popularity": ("Head and tail", "by whether the item was among the most popular, which hold half of all events"),
    "category": ("Categories", "by the category of the wanted item"),
    "price": ("Price bands", "by the price of the wanted item"),
    "group": ("Groups of devices", "by the group of the device"),
}
LISTS = {
    "coverage": "Share of the items that could be listed that were listed to anybody.",
    "gini": "How unequally items were shown: 0 all alike, 1 one item only.",
    "novelty": "Bits of surprise of a listed item: the less popular, the more.",
    "diversity": "How unlike each other the items of one list are.",
    "churn": "Share of a list that the bundle before would not have shown at the same moment.",
}


def report_of(folder: Path | str) -> str:
    """Render the report as HTML, from a folder that `Replay.write` made. Raises DataError when it is none."""
    place = Path(folder)
    try:
        protocol = json.loads((place / "replay.json").read_text(encoding="utf-8"))["protocol"]
        tables = {name: pl.read_parquet(place / f"{name}.parquet") for name in TABLES}
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{place}: is not a folder that `ownshelf replay --out` made: {error}") from None
    return report_html(protocol, tables)


def report_html(protocol: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> str:
    """Render the report as HTML: self-contained, without scripts and without requests to anywhere.

    protocol: as in replay.json. tables: at least those of TABLES, as docs/replay.md describes them.
    """
    report = _Report(protocol, {name: tables[name].with_row_index("row") for name in TABLES})
    return report_page(
        PAGES,
        "replay.html",
        title=f"Replay of {protocol['dataset']}",
        report=report,
        protocol=protocol,
        targets=[report.target(target) for target in protocol["targets"]],
        adaptation=report.adaptation(),
        lists=report.lists(),
        rounds=report.rounds(),
        settings=[(key, _json(value)) for key, value in protocol.items()],
        upper=upper,
    )


Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Cut:
    """One cut of a target: its picture, the rows of each bucket by arm, and the comparisons of arms in buckets."""

    title: str
    what: str
    svg: str
    buckets: list[tuple[str, dict[str, Row]]]
    comparisons: list[dict[str, Any]]


@dataclass(frozen=True)
class _Target:
    """What is told of one target. summary: of each arm, its rows by metric. over_time: a picture of several days."""

    name: str
    words: str
    comparisons: list[dict[str, Any]]
    bars: str
    metrics: list[str]
    summary: list[tuple[str, dict[str, Row]]]
    over_time: str | None
    cuts: list[_Cut]


class _Report:
    """What the template asks of a replay's tables: rows, pictures, numbers with where they are from."""

    def __init__(self, protocol: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> None:
        self._protocol, self._tables = protocol, tables
        self.arms: list[str] = list(protocol["arms"])
        self._k = int(protocol["k"])
        self.metric = f"ndcg@{self._k}"

    def target(self, name: Target) -> _Target:
        """Gather what is told of a target."""
        overall = self._frame("cuts", target=name, cut="all")
        days = self._of_metric(self._frame("cuts", target=name, cut="day"))
        several = days["bucket"].n_unique() > 1
        return _Target(
            name,
            TARGETS.get(name, name),
            self._frame("comparisons", target=name, cut="all").to_dicts(),
            plots.bars(self._of_metric(overall), self.arms, self.metric),
            overall["metric"].unique(maintain_order=True).to_list(),
            [(arm, rows) for arm, rows in self._by_arm(overall, "metric") if rows],
            plots.over_time(days, self.arms, self.metric) if several else None,
            [cut for cut in (self._cut(name, cut) for cut in CUTS) if cut is not None],
        )

    def _cut(self, target: Target, name: str) -> _Cut | None:
        """Gather a cut; None where it has one bucket or none."""
        rows = self._frame("cuts", target=target, cut=name)
        if rows["bucket"].n_unique() < 2:
            return None
        chosen = self._of_metric(rows)
        buckets: list[tuple[str, dict[str, Row]]] = [
            (str(bucket), {row["arm"]: row for row in bucket_rows.iter_rows(named=True)})
            for (bucket, _), bucket_rows in chosen.sort("order").group_by(["bucket", "order"], maintain_order=True)
        ]
        compared = self._frame("comparisons", target=target, cut=name).to_dicts()
        return _Cut(*CUTS[name], plots.by_bucket(chosen, self.arms, self.metric), buckets, compared)

    def adaptation(self) -> dict[str, Any] | None:
        """Gather what lists do after a change of taste; None where there was none."""
        rows = self._tables["adaptation"]
        if rows.is_empty():
            return None
        svg = plots.over_steps(
            rows, self.arms, "since", "share of the list in the new category", "events since the change"
        )
        steps = rows["since"].unique().sort().to_list()
        return {"svg": svg, "steps": steps, "by_arm": self._by_arm(rows, "since")}

    def lists(self) -> dict[str, Any]:
        """Gather what the lists of each arm are like, over all bundles and by bundle."""
        rows = self._tables["lists"]
        overall = rows.filter(pl.col("bundle").is_null())
        metrics = overall["metric"].unique(maintain_order=True).to_list()
        pictures = []
        for name, words in LISTS.items():
            metric = f"{name}@{self._k}"
            series = rows.filter((pl.col("metric") == metric) & pl.col("bundle").is_not_null())
            if metric in metrics and not series.is_empty():
                pictures.append((name, words, plots.over_steps(series, self.arms, "bundle", metric, "bundle")))
        return {"metrics": metrics, "by_arm": self._by_arm(overall, "metric"), "pictures": pictures}

    def rounds(self) -> dict[str, Any]:
        """Gather the devices before each bundle, and the last row of the rounds."""
        rows = self._tables["rounds"]
        long = rows.unpivot(["active", "cohort"], index="bundle", variable_name="arm", value_name="value")
        empty = pl.lit(None, dtype=pl.Float64)
        svg = plots.over_steps(
            long.with_columns(low=empty, high=empty), ["active", "cohort"], "bundle", "devices", "bundle"
        )
        return {"svg": svg, "last": rows.row(-1, named=True)}

    def is_open(self, row: Row) -> bool:
        """Tell whether a comparison shows no difference."""
        return row["p_holm"] is None or row["p_holm"] > 1 - LEVEL

    def day(self, key: str) -> str:
        """Write the day of a moment of the protocol."""
        return str(self._protocol[key])[:10]

    def number(self, table: str, row: Row, column: str, style: str) -> SourcedNumber | None:
        """Read a number of a table's row."""
        return sourced(row[column], f"{table} {row['row']} {column}", style)

    def protocol(self, *path: str) -> SourcedNumber | None:
        """Read a number of the protocol; None for one that is not there."""
        value: Any = self._protocol
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return sourced(value, f"protocol {' '.join(path)}", ",")

    def _frame(self, table: str, **equal: str) -> pl.DataFrame:
        return self._tables[table].filter(pl.all_horizontal(pl.col(key) == value for key, value in equal.items()))

    def _of_metric(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter(pl.col("metric") == self.metric)

    def _by_arm(self, rows: pl.DataFrame, key: str) -> list[tuple[str, dict[str, Row]]]:
        """List each arm with its rows by the value of a column."""
        return [
            (arm, {row[key]: row for row in rows.filter(pl.col("arm") == arm).iter_rows(named=True)})
            for arm in self.arms
        ]


def _json(value: object) -> str:
    return "–" if value is None else json.dumps(value, ensure_ascii=False)
