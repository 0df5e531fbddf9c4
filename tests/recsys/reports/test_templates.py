"""Templates escape whatever is put into them, and miss nothing in silence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from recsys.reports.page import P_VALUE, SourcedNumber, report_page, sourced
from recsys.reports.templates import render

ROOT = Path(__file__).parents[3]
TAG = re.compile(r"</?(td|tr|th|table|p|div|section|h[1-6]|b|li|ul|dl|dt|dd|header|nav|script|style|span|a)\b[^<]*>")
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


def test_text_in_numbers_captions_and_column_names_of_a_report_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '{% extends "report.html" %}{% from "macros.html" import details, number, picture, table %}{% block body %}'
        "{{ picture(svg, text) }}{% call table([text, text]) %}<tr><td>{{ number(of) }}</td></tr>{% endcall %}"
        "{% call details(text) %}{{ text }}{% endcall %}{% endblock %}"
    )
    of = SourcedNumber(HOSTILE, HOSTILE, HOSTILE)
    page = report_page(tmp_path, "a.html", title=HOSTILE, svg="<svg></svg>", text=HOSTILE, of=of)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 9
    assert "<svg></svg>" in page
    assert "<tr><td><data value=" in page


def test_a_number_is_written_with_where_it_is_from_and_p_never_as_nothing() -> None:
    assert sourced(0.25, "cuts 3 value", ".1%") == SourcedNumber("0.25", "cuts 3 value", "25.0%")
    assert [getattr(sourced(value, "x", P_VALUE), "text", None) for value in (0.00004, 0.00005, 0.5, None)] == [
        "< 0.0001",
        "0.0001",
        "0.5000",
        None,
    ]
    assert sourced(True, "x") is sourced("<b>", "x") is None


def test_markup_is_written_in_templates_alone_and_trusted_for_pictures_alone() -> None:
    for package in ("data", "recsys", "federation", "serving"):
        for file in (ROOT / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
            markup = [text for text in texts if isinstance(text, str) and TAG.search(text)]
            assert markup == [], file
    trusted = [
        (file.name, line.strip())
        for file in ROOT.rglob("pages/*.html")
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\|\s*safe|Markup|autoescape", line)
    ]
    assert [name for name, _ in trusted] == ["macros.html"]
    assert "svg | safe" in trusted[0][1]
