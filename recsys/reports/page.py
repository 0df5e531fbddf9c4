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
<<<<<<< 594a53d5d33a9232e8ae19d02305b5d09fe692a8
    """Build the page, without scripts and without requests to anywhere. title: text; body: HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        'img-src data:">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{STYLE}</style></head>'
        f"<body>\n{body}</body></html>\n"
    )


def figure(svg: str, caption: str) -> str:
    """Frame a picture with its caption (text)."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def table(names: Sequence[str], body: Sequence[str]) -> str:
    """Build a table of rows (HTML) under names (text). The first column is of words, the others of numbers."""
    first, *rest = names
    head = f"<th>{escape(first)}</th>" + "".join(f'<th class="n">{escape(name)}</th>' for name in rest)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(body)}</table></div>'
=======
    """Render the page, without scripts and without requests to anywhere. title: text; body: HTML."""
    return render(PAGES, "report.html", title=title, body=body)


def figure(svg: str, caption: str) -> str:
    """Render a picture with its caption (text)."""
    return render(PAGES, "figure.html", svg=svg, caption=caption)


def table(names: Sequence[str], body: Sequence[str]) -> str:
    """Render rows (HTML) under names (text); the first column is of words, the others of numbers."""
    return render(PAGES, "table.html", names=names, body=body)
>>>>>>> ea23e44b3ced13195a32f91710e8c85903686ec4


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
