"""Reports as one HTML file that needs nothing else: its frame, its style, pictures as SVG, tables. Of no content."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from recsys.reports.templates import render

mpl.use("Agg")

PAGES = Path(__file__).with_name("pages")


def document(title: str, body: str) -> str:
    """Render the page, without scripts and without requests to anywhere. title: text; body: HTML."""
    return render(PAGES, "report.html", title=title, body=body)


def figure(svg: str, caption: str) -> str:
    """Render a picture with its caption (text)."""
    return render(PAGES, "figure.html", svg=svg, caption=caption)


def table(names: Sequence[str], body: Sequence[str]) -> str:
    """Render rows (HTML) under names (text); the first column is of words, the others of numbers."""
    return render(PAGES, "table.html", names=names, body=body)


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
