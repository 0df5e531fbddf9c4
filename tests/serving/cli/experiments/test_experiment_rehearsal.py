"""`ownshelf experiment run`: a rehearsal from a file and a dataset folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serving.cli.main import app
from tests.recsys.experiments.an_experiment import raw_experiment
from tests.recsys.experiments.rehearsal.test_rehearsal import METRICS, OUTCOMES
from tests.recsys.replay.replay_logs import small_dataset


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop") / "log"
    small_dataset(2, n_users=120, n_items=60, n_events=2_500, days=8).save(folder)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = raw_experiment(
        metrics=METRICS[:1],
        outcomes=OUTCOMES[:1],
        starts_at="2026-12-01",
        ends_at="2026-12-03",
        outcome_days=1,
        privacy={"epsilon": 4.0, "min_reports": 10, "max_reports": 1_000},
    )
    path = tmp_path_factory.mktemp("definition") / "experiment.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def test_a_rehearsal_prints_its_verdict_and_what_it_assumes(shop: Path, file: Path) -> None:
    found = CliRunner().invoke(app, ["experiment", "run", str(file), "--on", str(shop), "--rounds", "2"])
    assert found.exit_code == 0, found.output
    assert "personal: " in found.stdout
    assert "assumed, not measured:" in found.stdout


def test_epsilon_off_is_written_on_the_result(shop: Path, file: Path) -> None:
    options = ["--rounds", "0", "--epsilon", "off", "--json", "--lift", "0"]
    found = CliRunner().invoke(app, ["experiment", "run", str(file), "--on", str(shop), *options])
    shown = json.loads(found.stdout)
    assert shown["results"]["privacy"]["private"] is False
    assert [row["effect"] for row in shown["rehearsal"]["truth"]] == [0.0]


@pytest.mark.parametrize(("option", "value"), [("--epsilon", "loud"), ("--lift", "-1")])
def test_a_wrong_option_is_one_line(shop: Path, file: Path, option: str, value: str) -> None:
    found = CliRunner().invoke(app, ["experiment", "run", str(file), "--on", str(shop), "--rounds", "0", option, value])
    assert found.exit_code == 1
    assert len(found.stderr.strip().splitlines()) == 1
    assert f"{option.strip('-')}=" in found.stderr


def test_a_rehearsals_folder_is_a_report_that_is_read_again(shop: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--on", str(shop), "--rounds", "0", "--out", str(out), "--json"]
    made = json.loads(CliRunner().invoke(app, ["experiment", "run", str(file), *options]).stdout)
    assert {"report.html", "experiment.json", "effects.csv", "looks.csv", "segments.csv"} <= {
        path.name for path in out.iterdir()
    }
    read = CliRunner().invoke(app, ["experiment", "report", str(out), "--json"])
    assert json.loads(read.stdout) == made
    told = CliRunner().invoke(app, ["experiment", "report", str(out), "--out", str(tmp_path / "again")])
    assert made["results"]["verdicts"][0]["text"] in told.stdout.replace("\n", " ")
    assert (tmp_path / "again" / "report.html").read_bytes() == (out / "report.html").read_bytes()
    missing = CliRunner().invoke(app, ["experiment", "report", str(tmp_path / "nothing")])
    assert missing.exit_code == 1


def test_a_plan_is_printed_drawn_and_written(shop: Path, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    options = ["experiment", "plan", str(file), "--on", str(shop), "--epsilon", "off", "--out", str(out)]
    told = CliRunner().invoke(app, options)
    assert "clicks (primary)" in told.stdout, told.output
    assert (out / "plan.png").stat().st_size > 10_000
    found = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert found == json.loads((out / "plan.json").read_text())
    assert [row["metric"] for row in found["metrics"]] == ["clicks"]
