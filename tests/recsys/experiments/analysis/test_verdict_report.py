"""The report of an experiment: every number is one of the reading beside it, and the file needs nothing else."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError
from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.preferences import preference_sums
from recsys.experiments.analysis.verdict_report import check_reading, reading_of, report_html, write_report
from recsys.experiments.definition.definition import Looks, Method
from recsys.experiments.definition.definition_file import to_dict
from recsys.experiments.results.results import results
from tests.browser import chromium, visit
from tests.recsys.experiments.an_experiment import an_interleaving
from tests.recsys.experiments.experiments import SEGMENT, experiment, looks

WIDTHS = "all => all.map(list => [list.querySelector('dd').clientWidth, list.clientWidth])"
NOT_FIGURES = re.compile(r"\d{4}-\d{2}-\d{2}|an effect of 0 is|1 \+ lift|1 / \(")


class _Read(HTMLParser):
    """Numbers with where they are from, sentences of verdicts, and the remaining text."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.sentences: dict[str, str] = {}
        self.text: list[str] = []
        self._inside: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "link", "br"):
            return
        found = dict(attrs)
        self._inside.append((tag, found.get("data-text-from")))
        if tag == "data":
            self.numbers.append((str(found["data-from"]), str(found["value"]), ""))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag, source = self._inside[-1] if self._inside else ("", None)
        if tag == "data":
            self.numbers[-1] = (*self.numbers[-1][:2], data)
        elif source is not None:
            self.sentences[source] = data
        elif not {"svg", "style", "pre", "title"} & {name for name, _ in self._inside}:
            self.text.append(data)


def cell(reading: Any, where: str) -> Any:
    for key in where.split(" "):
        reading = reading[int(key) if isinstance(reading, list) else key]
    return reading


def a_reading(**changes: Any) -> dict[str, Any]:
    made = experiment(segments=(SEGMENT,), **changes)
    seen = looks(made, {"global_list": (0.05, 0.08), "personal": (0.06, 0.1)}, per_look=1_000, count=4)
    truth = {"metric": "conversion", "arm": "personal", "control": 0.065, "treatment": 0.08, "effect": 0.015,
             "relative": 0.23}  # fmt: skip
    rehearsal = {
        "dataset": "sample:shop", "lift": 0.2, "seed": 3, "exposed": {"global_list": 8000, "personal": 8000},
        "listed": {"global_list": 0.1, "personal": 0.2}, "truth": [truth], "assumptions": ["nobody tires"],
    }  # fmt: skip
    window = {"window": 0, "version": 1, "state": "failed", "deadline": 86_400, "reports": 0, "failure": "<b>late</b>"}
    made_of = {
        "definition": to_dict(made),
        "state": "running",
        "results": results(made, seen),
        "windows": [window],
        "rehearsal": rehearsal,
    }
    return json.loads(json.dumps(made_of))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("experiment") / "out"
    write_report(a_reading(description="for <everybody>"), place)
    return place


def test_every_number_is_the_one_it_names_and_there_are_no_others(folder: Path) -> None:
    reading = json.loads((folder / "experiment.json").read_text())
    read = _Read()
    read.feed((folder / "report.html").read_text(encoding="utf-8"))
    for where, value, shown in read.numbers:
        source = cell(reading, where)
        assert float(value) == source
        if shown.startswith("< "):
            assert 0 <= source < float(shown[2:])
            continue
        percent = shown.endswith("%")
        written = shown.strip("%").replace(",", "")
        digits = len(written.partition("e")[0].lstrip("+-0.").replace(".", ""))
        places = len(written.partition(".")[2])
        off = abs(float(written) / (100 if percent else 1) - source)
        assert off <= 0.51 * 10.0 ** -(places + (2 if percent else 0)) or off <= 10.0 ** (1 - digits) * abs(source)
    assert len(read.numbers) > 100
    for where, sentence in read.sentences.items():
        assert cell(reading, where) == sentence
    assert len(read.sentences) == 1
    assert re.findall(r"\d[\d.,]*", NOT_FIGURES.sub("", " ".join(read.text))) == []


def test_a_p_too_small_to_write_is_not_written_as_nothing(tmp_path: Path) -> None:
    reading = a_reading()
    reading["results"]["analysis"]["effects"][0]["adjusted_p"] = 3e-7
    write_report(reading, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert 'value="3e-07"' in page
    assert "&lt; 0.0001</data>" in page
    assert ">0.0000</data>" not in page


def test_everything_that_decides_is_on_the_page(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    for words in ("Effect over looks", "gain by covariate", "ε spent", "hold the shoppers they should", "Segments",
                  "planned effect", "guardrail: ", "Assumed, not measured", "nobody tires"):  # fmt: skip
        assert words in page


def test_texts_of_definition_and_service_are_text_in_the_page(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "for &lt;everybody&gt;" in page
    assert "&lt;b&gt;late&lt;/b&gt;" in page
    reading = a_reading()
    for verdict in reading["results"]["verdicts"]:
        verdict["text"] = verdict["state"] = verdict["arm"] = "<script>alert(1)</script>"
    for effect in reading["results"]["analysis"]["effects"]:
        effect["problem"] = "<script>alert(2)</script>"
        effect["control"] = "<script>alert(3)</script>"
    assert "<script" not in report_html(reading)


def test_tables_are_the_analysis(folder: Path) -> None:
    analysis = json.loads((folder / "experiment.json").read_text())["results"]["analysis"]
    for name, key in (("effects.csv", "effects"), ("looks.csv", "history"), ("segments.csv", "segments")):
        rows = list(csv.DictReader((folder / name).read_text().splitlines()))
        assert len(rows) == len(analysis[key]) > 0
        for row, source in zip(rows, analysis[key], strict=True):
            assert {k: "" if v is None else str(v) for k, v in source.items()} == row


def test_a_folder_is_read_back_and_written_again(folder: Path, tmp_path: Path) -> None:
    reading = reading_of(folder)
    write_report(reading, tmp_path / "again")
    write_report(reading, tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    with pytest.raises(DataError, match="made"):
        reading_of(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(DataError):
        write_report(reading, tmp_path / "other")
    with pytest.raises(DataError, match="reading"):
        check_reading({"definition": {}})


def test_before_the_first_sum_and_below_min_reports_nothing_is_shown() -> None:
    made = experiment()
    reading = a_reading() | {"definition": to_dict(made), "results": results(made, []), "rehearsal": None}
    assert "there is nothing to say" in report_html(reading)
    few = experiment(looks=Looks(Method.ALWAYS_VALID, 5))
    shown = results(few, looks(few, {"global_list": [0.5], "personal": [0.5]}, per_look=20, count=2))
    reading = json.loads(json.dumps(a_reading() | {"definition": to_dict(few), "results": shown}))
    page = report_html(reading)
    assert "An arm is not yet expected to hold min_reports shoppers" in page
    assert "<svg" not in page


def test_a_browser_asks_nothing_of_anybody_and_nothing_runs_over_the_edge(folder: Path) -> None:
    url = (folder / "report.html").as_uri()
    with chromium() as browser:
        for phone in (False, True):
            with visit(browser, url, phone=phone) as seen:
                assert seen.sideways == 0
                lists = seen.page.locator("dl").evaluate_all(WIDTHS)
                assert lists
                assert all(words >= 0.4 * whole for words, whole in lists)
                assert seen.page.locator("figure svg").count() == 3
                assert seen.page.locator(".verdict").first.is_visible()
                assert (set(seen.requests), seen.complaints) == ({url}, [])


def test_an_interleaved_experiment_has_no_arms_to_count_and_no_planned_effect() -> None:
    one = an_interleaving(privacy={"epsilon": None, "min_reports": 50})
    look = Look(1, {"both": [preference_sums(400, 90.0, 300.0)]})
    reading = {"definition": to_dict(one), "state": "running", "results": results(one, [look])}
    page = report_html(check_reading({**reading, "windows": [], "rehearsal": None}))
    assert "Both make every list together" in page
    assert "min_reports" not in page.partition("<details>")[0]
    assert "planned effect" not in page
