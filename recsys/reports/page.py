"""Reports as one HTML file that needs nothing else: a template of their own within one frame, and pictures as SVG."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from recsys.reports.templates import render

mpl.use("Agg")

PAGES = Path(__file__).with_name("pages")
P_VALUE = "p"
"""Style of p: four decimals, and never 0, which it is not."""
_LEAST_P = 0.00005


def report_page(folder: Path, template: str, **values: Any) -> str:
    """Render a report, without scripts and without requests to anywhere.

    template: of the folder; it extends report.html and may import macros.html, both of this package's pages.
    """
    return render((folder, PAGES), template, **values)


@dataclass(frozen=True)
class SourcedNumber:
    """A number of a report: its exact value, where that was read from, and how it is written."""

    value: str
    source: str
    text: str


def sourced(value: object, source: str, style: str = "g") -> SourcedNumber | None:
    """Write a number in a style of format(), or as a p-value; None for what is no number.

    source: where it was read from, its steps with spaces between.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if style == P_VALUE:
        style = ".4f"
        if value < _LEAST_P:
            return SourcedNumber(repr(value), source, "< 0.0001")
    return SourcedNumber(repr(value), source, f"{value:{style}}")


def upper(words: str) -> str:
    """Begin the words with a capital."""
    return words[:1].upper() + words[1:]


def svg_of(picture: Figure) -> str:
    """Render a picture as SVG text that is the same for the same picture."""
    for axes in picture.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    out = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ownshelf", "font.family": "sans-serif"}):
        picture.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
