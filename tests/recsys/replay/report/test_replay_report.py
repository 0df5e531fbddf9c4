"""The report of a replay: every number is one of the tables beside it, and the file needs nothing else."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.errors import DataError
from recsys.model.profile import ProfileConfig
from recsys.replay import Replay, ReplayConfig, replay
from recsys.replay.replay_arms import NamedArm
from recsys.replay.report.replay_report import report_of
from tests.browser import chromium, visit
from tests.recsys.replay.replay_logs import small_dataset

NOT_FIGURES = re.compile(r"@5|95 %|Holm 1979|\d{4}-\d{2}-\d{2}|0 is just before it|0 all alike, 1 one item only")


class _Read(HTMLParser):
    """Numbers with where they come from, and the remaining text outside pictures, labels and the protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "link", "br"):
            return
        self._inside.append(tag)
        if tag == "data":
            found = dict(attrs)
            self.numbers.append((str(found["data-from"]), str(found["value"]), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            while self._inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] == "data":
            where, value, _ = self.numbers[-1]
            self.numbers[-1] = (where, value, data)
        elif not {"svg", "style", "th", "dl", "title"} & set(self._inside):
            self.text.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dataset = small_dataset(3, n_users=30, n_events=500)
    table = np.random.default_rng(0).normal(size=(len(dataset.items), 4)).astype(np.float32)
    arms = [NamedArm("local", ProfileConfig(), "local", table), NamedArm("global"), NamedArm("popularity")]
    config = ReplayConfig(k=5, targets=("next_item", "session"), bootstrap=100, group="country")
    found: Replay = replay(dataset, arms, config)
    target = tmp_path_factory.mktemp("replay") / "out"
    found.write(target)
    return target


def test_every_number_is_the_cell_it_names_and_there_are_no_others(folder: Path) -> None:
    read = _Read()
    read.feed((folder / "report.html").read_text(encoding="utf-8"))
    protocol = json.loads((folder / "replay.json").read_text())["protocol"]
    tables = {path.stem: pl.read_parquet(path) for path in folder.glob("*.parquet")}
    used = set()
    for where, value, shown in read.numbers:
        table, *path = where.split(" ")
        if table == "protocol":
            cell = protocol[path[0]] if len(path) == 1 else protocol[path[0]][path[1]]
        else:
            cell = tables[table][int(path[0]), path[1]]
        assert float(value) == cell
        written = shown.replace(",", "")
        places = len(written.partition(".")[2])
        assert float(written) == pytest.approx(cell, abs=0.5000001 * 10.0**-places)
        used.add((table, path[-1]))
    assert {("cuts", "value"), ("cuts", "low"), ("comparisons", "p_holm"), ("lists", "value")} <= used
    assert len(read.numbers) > 300
    words = NOT_FIGURES.sub("", " ".join(read.text))
    assert re.findall(r"\d[\d.,]*", words.replace(str(protocol["dataset"]), "")) == []


def test_differences_of_arms_can_be_computed_anew_from_the_rows_of_events(folder: Path) -> None:
    events = pl.read_parquet(folder / "events.parquet").filter(pl.col("relevant") > 0).with_columns(all=pl.lit("all"))
    for row in pl.read_parquet(folder / "comparisons.parquet").iter_rows(named=True):
        own = events.filter((pl.col("target") == row["target"]) & (pl.col(row["cut"]) == row["bucket"]))
        means = own.group_by("user_id", "arm").agg(pl.col(row["metric"]).mean())
        wide = means.pivot("arm", index="user_id", values=row["metric"])
        assert (wide[row["a"]] - wide[row["b"]]).mean() == pytest.approx(row["difference"], abs=1e-12)
        assert len(wide) == row["users"]


def test_a_browser_asks_nothing_of_anybody_and_nothing_runs_over_the_edge(folder: Path) -> None:
    url = (folder / "report.html").as_uri()
    with chromium() as browser:
        for phone in (False, True):
            with visit(browser, url, phone=phone) as seen:
                assert seen.sideways == 0
                assert seen.page.locator("figure svg").count() > 10
                assert seen.page.locator("h2").first.is_visible()
                for link in seen.page.locator("nav a").all():
                    assert seen.page.locator(str(link.get_attribute("href"))).count() == 1
                assert (set(seen.requests), seen.complaints) == ({url}, [])


def test_names_from_the_log_are_text_in_the_page(folder: Path, tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    for path in folder.iterdir():
        shutil.copy(path, tmp_path / path.name)
    cuts = pl.read_parquet(tmp_path / "cuts.parquet")
    cuts.with_columns(pl.col("bucket").replace(cuts.filter(cut="category")["bucket"][0], bad)).write_parquet(
        tmp_path / "cuts.parquet"
    )
    page = report_of(tmp_path)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ownshelf replay --out"):
        report_of(tmp_path)
