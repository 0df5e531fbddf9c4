"""Pictures of a replay's report, as SVG text: functions of its tables; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from recsys.reports.page import svg_of

mpl.use("Agg")

_COLOURS = ("#1b6ca8", "#d1495b", "#5f7f3a", "#8a5a9e", "#c98a1b", "#3d8f8a", "#7a7f87")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_WIDTH = 8.6
_LABEL = 18
"""Longer names of buckets are cut in pictures; the tables have them whole."""


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """Choose a colour for each arm, the same in all pictures; from the eighth arm on they repeat."""
    return {arm: _COLOURS[place % len(_COLOURS)] for place, arm in enumerate(arms)}


def bars(rows: pl.DataFrame, arms: Sequence[str], title: str) -> str:
    """Draw a bar an arm with its interval. rows: arm, value, low, high."""
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.36 * len(arms)), layout="constrained")
    axes = figure.subplots()
    by_arm = {row["arm"]: row for row in rows.iter_rows(named=True)}
    for place, arm in enumerate(arms):
        row = by_arm.get(arm)
        if row is None or row["value"] is None:
            continue
        axes.barh(place, row["value"], color=arm_colours(arms)[arm], height=0.62)
        axes.errorbar(row["value"], place, xerr=_error(row), fmt="none", ecolor="#222222", capsize=3, lw=1.1)
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.45, -0.55)
    axes.set_xlim(left=0)
    axes.set_xlabel(title)
    axes.tick_params(axis="y", length=0)
    return svg_of(figure)


def over_time(rows: pl.DataFrame, arms: Sequence[str], title: str) -> str:
    """Draw a line an arm over days with its interval as a band. rows: arm, bucket (ISO date), value, low, high."""
    figure, axes = _wide()
    for arm, colour in arm_colours(arms).items():
        arm_rows = rows.filter(pl.col("arm") == arm).sort("bucket")
        if arm_rows.is_empty():
            continue
        days = arm_rows["bucket"].str.to_date().to_numpy()
        axes.plot(days, arm_rows["value"].to_numpy(), color=colour, lw=1.2, label=arm)
        axes.fill_between(days, arm_rows["low"].to_numpy(), arm_rows["high"].to_numpy(), color=colour, alpha=0.15, lw=0)
    return _finish(figure, axes, rows, title)


def over_steps(rows: pl.DataFrame, arms: Sequence[str], x: str, title: str, xlabel: str) -> str:
    """Draw a line an arm over whole numbers in column `x`. rows: arm, x, value, low, high (null: no interval)."""
    figure, axes = _wide()
    for arm, colour in arm_colours(arms).items():
        arm_rows = rows.filter(pl.col("arm") == arm).sort(x)
        if arm_rows.is_empty():
            continue
        steps = arm_rows[x].to_numpy()
        axes.plot(steps, arm_rows["value"].to_numpy(), color=colour, lw=1.4, label=arm)
        if arm_rows["low"].null_count() == 0:
            axes.fill_between(
                steps, arm_rows["low"].to_numpy(), arm_rows["high"].to_numpy(), color=colour, alpha=0.15, lw=0
            )
    axes.set_xlabel(xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, axes, rows, title)


def by_bucket(rows: pl.DataFrame, arms: Sequence[str], title: str) -> str:
    """Draw points with intervals, buckets side by side. rows: arm, bucket, order, value, low, high."""
    figure, axes = _wide()
    buckets = rows.select("bucket", "order").unique().sort("order")["bucket"].to_list()
    places = {bucket: place for place, bucket in enumerate(buckets)}
    shift = min(0.12, 0.5 / max(len(arms), 1))
    for number, (arm, colour) in enumerate(arm_colours(arms).items()):
        arm_rows = rows.filter(pl.col("arm") == arm)
        if arm_rows.is_empty():
            continue
        x = np.array([places[bucket] for bucket in arm_rows["bucket"]]) + (number - (len(arms) - 1) / 2) * shift
        value = arm_rows["value"].to_numpy()
        error = np.maximum([value - arm_rows["low"].to_numpy(), arm_rows["high"].to_numpy() - value], 0.0)
        marker = _MARKERS[number % len(_MARKERS)]
        axes.errorbar(x, value, yerr=error, fmt=marker, ms=4, color=colour, capsize=2, lw=1, label=arm)
    names = [bucket if len(bucket) <= _LABEL else bucket[: _LABEL - 1] + "…" for bucket in buckets]
    axes.set_xlim(-0.6, len(buckets) - 0.4)
    crowded = sum(len(name) for name in names) > 60
    axes.set_xticks(range(len(names)), names, rotation=40 if crowded else 0, ha="right" if crowded else "center")
    return _finish(figure, axes, rows, title)


def _wide() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
    return figure, figure.subplots()


def _finish(figure: Figure, axes: Axes, rows: pl.DataFrame, title: str) -> str:
    axes.set_ylabel(title)
    top = rows.select(pl.max_horizontal(pl.col("value").max(), pl.col("high").max())).item()
    axes.set_ylim(0, 1.08 * top if top else 1.0)
    axes.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return svg_of(figure)


def _error(row: Mapping[str, float | None]) -> list[list[float]] | None:
    value, low, high = row["value"], row["low"], row["high"]
    if value is None or low is None or high is None:
        return None
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]
