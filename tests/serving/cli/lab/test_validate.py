"""`ownshelf validate`: one command, one JSON, a table whose figures are the JSON's, a plot, and an honest stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.interactions import interactions
from federation.lab.folds import windows_of
from federation.lab.result_cache import ResultCache
from serving.cli.lab.tune import windows_said
from tests.serving.cli.lab.test_lab import invoke
from tests.serving.cli.lab.test_tune import shop  # noqa: F401  # a fixture

QUICK = ("--rounds", "3", "--dim", "4", "--cohort-size", "50", "--folds", "2", "--windows", "2")


def test_it_prints_and_writes_the_same_figures(shop: Path, tmp_path: Path) -> None:  # noqa: F811
    out = tmp_path / "report"
    code, text, err = invoke("validate", shop, "--out", out, *QUICK, "--nested", "2", "--settings", "2", "--json")
    assert code == 0, err
    assert "foretold: 2 windows in time, of about " in err
    figures = json.loads(text)
    assert figures == json.loads((out / "validation.json").read_text())
    assert figures["canary"]["alarm"] is False
    table = pl.read_parquet(out / "validation.parquet")
    row = table.filter((pl.col("section") == "over_devices") & (pl.col("figure") == "personalized"))
    assert row["mean"].item() == figures["over_devices"]["personalized"]["mean"]
    assert (out / "validation.png").read_bytes().startswith(b"\x89PNG")
    code, text, err = invoke("validate", shop, "--out", out, *QUICK, "--nested", "2", "--settings", "2")
    assert code == 0, err
    for figure in (figures["over_time"]["personalized"], figures["over_devices"]["popularity"]):
        assert f"{figure['mean']:.4f}" in text
    for word in ("no alarm", "gap, later events", "search of 2 trials", "was looked at"):
        assert word in " ".join(text.split())


def test_ctrl_c_keeps_the_finished_sections(
    shop: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = ResultCache.get_or_compute

    def stop_at_the_third(self: ResultCache, words: Any, work: Any) -> Any:
        if self.folder is not None and self.folder.exists() and len(list(self.folder.iterdir())) == 2:
            raise KeyboardInterrupt
        return real(self, words, work)

    monkeypatch.setattr(ResultCache, "get_or_compute", stop_at_the_third)
    code, _, err = invoke("validate", shop, "--out", tmp_path / "report", *QUICK)
    assert code != 0
    assert "the same command goes on" in " ".join(err.split())
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "report" / "kept").iterdir()}
    monkeypatch.undo()
    assert invoke("validate", shop, "--out", tmp_path / "report", *QUICK)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_mistake_is_one_line(shop: Path) -> None:  # noqa: F811
    code, _, err = invoke("validate", shop, "--protocol", "psychic")
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "protocol='psychic'" in err


def test_it_says_what_the_windows_are_and_why_they_are_fewer() -> None:
    """Eight days of 20 users, one event a day at midnight: the last half has four moments to begin at."""
    day = 86_400_000_000
    log = interactions(np.arange(160) % 20, np.zeros(160), np.arange(160) // 20 * day, n_users=20, n_items=1)
    assert windows_said(log, windows_of(log, 90), 90) == (
        "foretold: 4 windows in time, of about 20 events and 18.0 hours each, 1970-01-05T00:00 to 1970-01-08T00:00; "
        "90 were asked for, but too many events are of one moment"
    )
    assert windows_said(log, windows_of(log, 1), 1) == (
        "foretold: 1 window in time, of about 40 events and 24.0 hours each, 1970-01-07T00:00 to 1970-01-08T00:00"
    )
