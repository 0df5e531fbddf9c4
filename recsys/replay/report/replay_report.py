"""The report of a replay: one HTML file that needs nothing else, made of the tables beside it. It computes no figure.

Every number in its text stands in a `<data>` element that names the table, row and column it was read from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import polars as pl

from data.errors import DataError
from recsys.evaluation.statistics import LEVEL
from recsys.replay.report import report_plots as plots
from recsys.replay.settings import Target
from recsys.reports.page import document, figure, table, upper

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
    numbered = {name: tables[name].with_row_index("row") for name in TABLES}
    body = "".join(_Report(protocol, numbered).parts())
    title = f"Replay of {protocol['dataset']}"
    return document(title, body)


class _Report:
    """One report in the making; `parts` are its sections in order."""

    def __init__(self, protocol: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> None:
        self._protocol, self._tables = protocol, tables
        self._arms: list[str] = list(protocol["arms"])
        self._k = int(protocol["k"])
        self._metric = f"ndcg@{self._k}"

    def parts(self) -> Iterator[str]:
        yield self._head()
        for target in self._protocol["targets"]:
            yield self._target(target)
        yield self._adaptation()
        yield self._lists()
        yield self._rounds()
        yield self._method()

    def _head(self) -> str:
        protocol = self._protocol
        start, end = escape(str(protocol["from"])[:10]), escape(str(protocol["to"])[:10])
        sizes = ", ".join(
            f"{self._protocol_text(key)} {noun}"
            for key, noun in (("n_users", "shoppers"), ("n_items", "items"), ("n_events", "events"))
        )
        links = [(target, TARGETS.get(target, target)) for target in protocol["targets"]]
        links += [("adaptation", "changes of taste"), ("lists", "lists"), ("rounds", "rounds"), ("method", "method")]
        nav = "".join(f'<a href="#{escape(place)}">{escape(name)}</a>' for place, name in links)
        verdicts = "".join(self._verdict(target) for target in protocol["targets"])
        return (
            f"<header><h1>Replay of {escape(str(protocol['dataset']))}</h1>"
            f'<p class="soft">{sizes}, {start} to {end}. Had these arms been live, what would each shopper have seen '
            f"before every event, and was it what they then wanted?</p><nav>{nav}</nav></header>{verdicts}"
        )

    def _verdict(self, target: Target) -> str:
        rows = self._rows("comparisons", target=target, cut="all")
        if not rows:
            return ""
        lines = "".join(f"<li>{self._comparison(row)}</li>" for row in rows)
        return f'<div class="verdict"><b>{escape(upper(TARGETS.get(target, target)))}</b><ul>{lines}</ul></div>'

    def _comparison(self, row: Mapping[str, Any]) -> str:
        a, b = escape(row["a"]), escape(row["b"])
        if row["p_holm"] is None or row["p_holm"] > 1 - LEVEL:
            words = f"No difference between <b>{a}</b> and <b>{b}</b> is shown"
        else:
            better, worse = (a, b) if row["difference"] > 0 else (b, a)
            words = f"<b>{better}</b> lists it better than <b>{worse}</b>"
        difference = self._number("comparisons", row, "difference", "+.4f")
        bounds = (
            f"{self._number('comparisons', row, 'low', '+.4f')} to {self._number('comparisons', row, 'high', '+.4f')}"
        )
        return (
            f"{words}: {escape(row['metric'])} of {a} minus {b} is {difference} (95 % interval {bounds}, "
            f"p {self._number('comparisons', row, 'p_holm', '.4f')} corrected for all comparisons, "
            f"{self._number('comparisons', row, 'users', ',')} shoppers)."
        )

    def _target(self, target: Target) -> str:
        overall = self._frame("cuts", target=target, cut="all")
        n_questions = self._protocol_text("questions", target)
        unlistable = self._protocol_text("unlistable", target)
        parts = [
            f'<section id="{escape(target)}"><h2>{escape(upper(TARGETS.get(target, target)))}</h2>',
            f'<p class="soft">{n_questions} questions; in {unlistable} of them nothing right could be listed '
            "by anybody, and "
            "they are in no figure. Every figure is the mean over shoppers of each shopper's mean.</p>",
            figure(plots.bars(_of(overall, self._metric), self._arms, self._metric), "Bars: 95 % intervals."),
            self._summary(overall),
        ]
        days = _of(self._frame("cuts", target=target, cut="day"), self._metric)
        if days["bucket"].n_unique() > 1:
            parts += ["<h3>Over time</h3>", figure(plots.over_time(days, self._arms, self._metric), "By day, UTC.")]
        for cut, (title, what) in CUTS.items():
            rows = self._frame("cuts", target=target, cut=cut)
            if rows["bucket"].n_unique() > 1:
                parts.append(self._cut(target, cut, rows, title, what))
        return "".join(parts) + "</section>"

    def _summary(self, rows: pl.DataFrame) -> str:
        metrics = rows["metric"].unique(maintain_order=True).to_list()
        body = []
        for arm in self._arms:
            arm_rows = {row["metric"]: row for row in rows.filter(pl.col("arm") == arm).iter_rows(named=True)}
            if not arm_rows:
                continue
            cells = "".join(
                f'<td class="n">{self._interval("cuts", arm_rows[m])}</td>' for m in metrics if m in arm_rows
            )
            first = next(iter(arm_rows.values()))
            users, events = (self._number("cuts", first, column, ",") for column in ("users", "events"))
            body.append(f'<tr><th>{escape(arm)}</th>{cells}<td class="n">{users}</td><td class="n">{events}</td></tr>')
        return table(["arm", *metrics, "shoppers", "questions"], body)

    def _cut(self, target: str, cut: str, rows: pl.DataFrame, title: str, what: str) -> str:
        chosen = _of(rows, self._metric)
        picture = plots.by_bucket(chosen, self._arms, self._metric)
        body = []
        for (bucket, _), bucket_rows in chosen.sort("order").group_by(["bucket", "order"], maintain_order=True):
            cells = {row["arm"]: row for row in bucket_rows.iter_rows(named=True)}
            tds = "".join(
                f'<td class="n">{self._interval("cuts", cells[arm]) if arm in cells else "–"}</td>'
                for arm in self._arms
            )
            first = next(iter(cells.values()))
            users, events = (self._number("cuts", first, column, ",") for column in ("users", "events"))
            body.append(
                f'<tr><th>{escape(str(bucket))}</th>{tds}<td class="n">{users}</td><td class="n">{events}</td></tr>'
            )
        compared = self._rows("comparisons", target=target, cut=cut)
        lines = "".join(
            f"<tr><th>{escape(row['bucket'])}</th><td>{escape(row['a'])} − {escape(row['b'])}</td>"
            f'<td class="n">{self._interval("comparisons", row, "difference", "+.4f")}</td>'
            f'<td class="n">{self._number("comparisons", row, "p_holm", ".4f")}</td></tr>'
            for row in compared
        )
        details = table(["bucket", *self._arms, "shoppers", "questions"], body)
        if lines:
            details += table(["bucket", "difference", "with interval", "p, corrected"], [lines])
        return (
            f"<h3>{escape(title)}</h3>{figure(picture, f'{self._metric} {what}.')}"
            f"<details><summary>table</summary>{details}</details>"
        )

    def _adaptation(self) -> str:
        rows = self._tables["adaptation"]
        changes = self._protocol_text("changes_of_taste")
        section = (
            '<section id="adaptation"><h2>When taste changes</h2><p class="soft">A change of taste is the first event '
            f"of a device in a category new to it that it then stays with; there are {changes} in this log. How soon "
            "does the list follow?</p>"
        )
        if rows.is_empty():
            return section + "<p>There is nothing to show.</p></section>"
        picture = plots.over_steps(
            rows, self._arms, "since", "share of the list in the new category", "events since the change"
        )
        steps = rows["since"].unique().sort().to_list()
        body = []
        for arm in self._arms:
            arm_rows = {row["since"]: row for row in rows.filter(pl.col("arm") == arm).iter_rows(named=True)}
            cells = "".join(
                f'<td class="n">{self._interval("adaptation", arm_rows[step]) if step in arm_rows else "–"}</td>'
                for step in steps
            )
            body.append(f"<tr><th>{escape(arm)}</th>{cells}</tr>")
        rows_of = table(["arm", *(f"{step}" for step in steps)], body)
        shown = figure(picture, "0 is just before it.")
        return f"{section}{shown}<details><summary>table</summary>{rows_of}</details></section>"

    def _lists(self) -> str:
        rows = self._tables["lists"]
        overall = rows.filter(pl.col("bundle").is_null())
        metrics = overall["metric"].unique(maintain_order=True).to_list()
        body = []
        for arm in self._arms:
            arm_rows = {row["metric"]: row for row in overall.filter(pl.col("arm") == arm).iter_rows(named=True)}
            cells = "".join(
                f'<td class="n">{self._interval("lists", arm_rows[m]) if m in arm_rows else "–"}</td>' for m in metrics
            )
            body.append(f"<tr><th>{escape(arm)}</th>{cells}</tr>")
        parts = ['<section id="lists"><h2>What the lists are like</h2>', table(["arm", *metrics], body)]
        for name, words in LISTS.items():
            metric = f"{name}@{self._k}"
            series = rows.filter((pl.col("metric") == metric) & pl.col("bundle").is_not_null())
            if metric not in metrics or series.is_empty():
                continue
            picture = plots.over_steps(series, self._arms, "bundle", metric, "bundle")
            parts.append(f"<h3>{escape(upper(name))}</h3>{figure(picture, words)}")
        return "".join(parts) + "</section>"

    def _rounds(self) -> str:
        rows = self._tables["rounds"]
        long = rows.unpivot(["active", "cohort"], index="bundle", variable_name="arm", value_name="value")
        empty = pl.lit(None, dtype=pl.Float64)
        picture = plots.over_steps(
            long.with_columns(low=empty, high=empty), ["active", "cohort"], "bundle", "devices", "bundle"
        )
        last = rows.row(-1, named=True)
        return (
            '<section id="rounds"><h2>Rounds and bundles</h2><p class="soft">Before each bundle the devices that were '
            "active since the one before may train; those that do are the cohort. No device took part more than "
            f"{self._number('rounds', last, 'max_participations', ',')} times; at the end "
            f"{self._number('rounds', last, 'candidates', ',')} items could be listed.</p>"
            f"{figure(picture, 'Devices before each bundle.')}</section>"
        )

    def _method(self) -> str:
        rows = "".join(
            f"<dt>{escape(key)}</dt><dd>{escape('–' if value is None else json.dumps(value, ensure_ascii=False))}</dd>"
            for key, value in self._protocol.items()
        )
        return (
            '<section id="method"><h2>How this was measured</h2><p>No arm was given anything of the moment it was '
            f"asked at or after it. Ranking: {escape(str(self._protocol['ranking']))}, of items that were in the log "
            "before the bundle. Intervals are 95 % bootstrap intervals over shoppers; p-values are corrected for all "
            "comparisons of a target and cut (Holm 1979). Every number of the text was read from a parquet table "
            "beside this file, and the cuts can be computed anew from events.parquet.</p>"
            f"<dl>{rows}</dl></section>"
        )

    def _frame(self, table: str, **equal: str) -> pl.DataFrame:
        return self._tables[table].filter(pl.all_horizontal(pl.col(key) == value for key, value in equal.items()))

    def _rows(self, table: str, **equal: str) -> list[dict[str, Any]]:
        return self._frame(table, **equal).to_dicts()

    def _interval(self, table: str, row: Mapping[str, Any], column: str = "value", style: str = ".4f") -> str:
        value = self._number(table, row, column, style)
        if row["low"] is None or row["high"] is None:
            return value
        return (
            f"{value} <small>{self._number(table, row, 'low', style)}…{self._number(table, row, 'high', style)}</small>"
        )

    def _number(self, table: str, row: Mapping[str, Any], column: str, style: str) -> str:
        value = row[column]
        if value is None:
            return "–"
        return f'<data value="{value!r}" data-from="{table} {row["row"]} {column}">{value:{style}}</data>'

    def _protocol_text(self, *path: str) -> str:
        value: Any = self._protocol
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is None:
            return "–"
        return f'<data value="{value!r}" data-from="protocol {" ".join(path)}">{value:,}</data>'


def _of(rows: pl.DataFrame, metric: str) -> pl.DataFrame:
    return rows.filter(pl.col("metric") == metric)
