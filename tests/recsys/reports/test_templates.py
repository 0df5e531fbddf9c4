"""Templates escape whatever is put into them, and miss nothing in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from recsys.reports.page import document, figure, table
from recsys.reports.templates import render

HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def test_text_is_escaped_wherever_a_template_puts_it(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p title="{{ text }}">{{ text }}</p>{% for one in many %}{{ one }}{% endfor %}')
    made = render(tmp_path, "a.html", text=HOSTILE, many=[HOSTILE])
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 3
    assert "&#34;" in made


def test_a_name_without_a_value_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("{{ missing }}")
    with pytest.raises(UndefinedError):
        render(tmp_path, "a.html")


def test_titles_captions_and_column_names_of_reports_are_text() -> None:
    parts = [figure("<svg></svg>", HOSTILE), table([HOSTILE, HOSTILE], ["<tr><td>1</td></tr>"])]
    page = document(HOSTILE, "".join(parts))
    assert "<script" not in page
    assert "<svg></svg>" in page
    assert "<tr><td>1</td></tr>" in page
