"""Reports as one HTML file that needs nothing else: its frame, its style, pictures as SVG, tables. Of no content."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

mpl.use("Agg")

STYLE = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6672; --line: #d8dde3; --ours: #1b6ca8; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1000px; padding: 24px 20px 60px; background: #fff; color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 25px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 4px; }
h3 { font-size: 15px; margin: 24px 0 2px; }
p { margin: 0 0 8px; }
figure { margin: 6px 0 10px; }
.soft, figcaption, summary, td small, th, dt { color: var(--soft); }
.verdict { border-left: 4px solid var(--ours); padding: 4px 0 4px 14px; margin: 14px 0; }
.verdict ul { margin: 4px 0; padding-left: 20px; }
svg { display: block; width: 100%; height: auto; }
svg text { font-family: system-ui, sans-serif; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 6px 0; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 500; }
td small { display: block; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 8px 24px; }
.pair > * { min-width: 0; }
pre { overflow-x: auto; font-size: 12px; }
summary { cursor: pointer; }
nav a { margin-right: 14px; color: var(--ours); }
dl { display: grid; grid-template-columns: fit-content(55%) minmax(0, 1fr); gap: 2px 18px; }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { details { display: none; } section { break-inside: avoid; } }
"""


def document(title: str, body: str) -> str:
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
