from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from typer.testing import CliRunner, Result

from federation.device.asking import client
from recsys.experiments.definition.definition_file import content_hash, experiment_of, read_experiment
from serving.cli.experiments import commands as experiment_commands
from serving.cli.experiments import service_commands as experiment_cli
from serving.cli.experiments.templates import TEMPLATES
from tests.recsys.experiments.an_experiment import raw_experiment
from tests.serving.http.resources.test_experiment_routes import Live, body, end, live_service


def run(*arguments: str) -> Result:
    return CliRunner().invoke(experiment_cli.app, list(arguments))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lists.yaml"
    path.write_text(yaml.safe_dump(body()))
    return path


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    """A service that the command line reaches without a socket."""
    made = live_service(tmp_path)

    @contextmanager
    def here(service: str, ca: Path | None) -> Iterator[httpx.Client]:
        assert (service, ca) == ("http://shop.test", None)
        yield made.asks("")

    monkeypatch.setattr(client, "service_client", here)
    monkeypatch.setenv("OWNSHELF_SERVICE", "http://shop.test")
    monkeypatch.setenv("OWNSHELF_API_KEY", made.keys["shop", "analyst"])
    yield made
    end(made)


def test_a_definition_is_checked_without_a_service(tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text(json.dumps(raw_experiment()))
    told = json.loads(run("validate", str(path), "--json").stdout)
    assert told["hash"] == content_hash(experiment_of(raw_experiment())).hex()
    assert (told["coordinates"], told["report_bytes"], len(told["windows"])) == (48, 192, 3)
    assert 4 < told["noise_multiplier"] < 6
    assert run("validate", str(path)).stdout.startswith("personal-home version 1: ['global', 'personal'], 2 cells")
    assert run("validate", str(path)).stderr.startswith(
        "warning: metric revenue: noise hides its covariate's coefficient"
    )
    assert told["covariate_scatter"]["revenue"] > 0.1
    quiet = raw_experiment(privacy={"epsilon": None, "min_reports": 50, "max_reports": 10_000})
    path.write_text(json.dumps(quiet))
    assert run("validate", str(path)).stderr == ""
    path.write_text(json.dumps(raw_experiment(alpha=0.9)))
    wrong = run("validate", str(path))
    assert (wrong.exit_code, wrong.stderr) == (1, "error: alpha=0.9: must be above 0..0.2\n")


def test_an_experiments_life_from_the_command_line(live: Live, file: Path) -> None:
    assert run("list").stdout.strip() == "no experiment is defined"
    assert run("define", str(file)).stdout == "personal-home version 1: draft\n"
    assert run("start", "personal-home").stdout == "personal-home version 1: running\n"
    live.advance(live.custodian.now)
    assert "running" in run("list").stdout
    shown = run("status", "personal-home").stdout.splitlines()
    assert shown[1].split() == ["window", "0", "open", "0", "reports"]
    assert run("results", "personal-home").stdout == "personal-home: no window is summed yet\n"
    assert json.loads(run("results", "personal-home", "--json").stdout)["arms"] == {}
    assert run("stop", "personal-home").stdout == "personal-home version 1: stopped\n"
    live.advance(live.custodian.now)
    assert "failed" in run("status", "personal-home").stdout
    assert "has no min_reports=3" in run("status", "personal-home").stdout


def test_a_refusal_is_one_line(live: Live) -> None:
    refused = run("start", "unknown")
    assert (refused.exit_code, refused.stderr) == (1, "error: experiment: this app has none of that id\n")


def test_a_service_that_is_not_there_is_one_line() -> None:
    refused = run("list", "--service", "http://127.0.0.1:1")
    assert refused.exit_code == 1
    assert refused.stderr == "error: service=http://127.0.0.1:1: does not answer (ConnectError)\n"


def test_a_report_is_made_of_what_the_service_says(live: Live, file: Path, tmp_path: Path) -> None:
    run("define", str(file))
    run("start", "personal-home")
    out = tmp_path / "report"
    told = CliRunner().invoke(experiment_commands.app, ["report", "personal-home", "--out", str(out)])
    assert "no window is summed yet" in told.stdout
    reading = json.loads((out / "experiment.json").read_text())
    assert (reading["state"], reading["rehearsal"], reading["results"]["arms"]) == ("running", None, {})
    assert "there is nothing to say" in (out / "report.html").read_text()
    unknown = CliRunner().invoke(experiment_commands.app, ["report", "unknown"])
    assert (unknown.exit_code, unknown.stderr) == (1, "error: experiment: this app has none of that id\n")


def test_a_template_is_written_once_and_is_a_definition(tmp_path: Path) -> None:
    app = experiment_commands.app
    for name in TEMPLATES:
        out = tmp_path / f"{name}.yaml"
        assert CliRunner().invoke(app, ["init", name, "--out", str(out)]).exit_code == 0
        assert run("validate", str(out)).exit_code == 0
        assert read_experiment(out).starts_at > time.time()
        again = CliRunner().invoke(app, ["init", name, "--out", str(out)])
        assert (again.exit_code, "exists; choose another file" in again.output) == (1, True)
    wrong = CliRunner().invoke(app, ["init", "magic", "--out", str(tmp_path / "m.yaml")])
    assert (wrong.exit_code, "must be one of" in wrong.output, (tmp_path / "m.yaml").exists()) == (1, True, False)


def quick(*arguments: str) -> Result:
    from serving.cli.experiments.commands import app

    return CliRunner().invoke(app, ["quick", *arguments])


def test_the_commonest_test_is_started_in_one_command(live: Live, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = json.loads(quick("--personalized-against-global", "--id", "mine", "--json").stdout)
    assert (made["id"], made["state"], made["file"]) == ("mine", "running", "mine.yaml")
    experiment = read_experiment(tmp_path / "mine.yaml")
    assert [(arm.name, arm.settings.model) for arm in experiment.arms] == [
        ("global", "global"),
        ("personal", "personalized"),
    ]
    assert (experiment.exposure.trigger, experiment.exposure.surface) == ("list_shown", "for-you")
    stored = json.loads(run("status", "mine", "--json").stdout)
    assert experiment_of(stored["definition"]) == experiment
    assert stored["hash"] == content_hash(experiment).hex()


def test_a_quick_test_that_is_refused_leaves_no_file(live: Live, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, why in (
        (("--placement", "nowhere", "--personalized-against-global"), "placement='nowhere': the service has none"),
        ((), "--personalized-against-global, --as-now-against-diverse: give one of the two"),
        (("--personalized-against-global", "--as-now-against-diverse"), "give one of the two"),
        (("--personalized-against-global", "--starts-at", "soon"), "starts_at='soon': must be ISO 8601"),
        (("--personalized-against-global", "--starts-at", "2020-01-01"), "is past, and so is every window"),
        (("--personalized-against-global", "--id", "A_B"), "id='A_B': must match"),
    ):
        refused = quick(*arguments)
        assert refused.exit_code == 1
        assert why in refused.stderr
    assert list(tmp_path.glob("*.yaml")) == []
    short = quick(
        "--as-now-against-diverse", "--outcome-days", "3", "--id", "short", "--epsilon", "0", "--placement", "trending"
    )
    assert short.exit_code == 0, short.stderr
    experiment = read_experiment(tmp_path / "short.yaml")
    assert [metric.name for metric in experiment.metrics] == ["conversion", "revenue"]  # no second week, no retention
    assert experiment.privacy.epsilon is None


def test_two_definitions_are_compared_field_by_field(live: Live, file: Path, tmp_path: Path) -> None:
    assert run("define", str(file)).exit_code == 0
    assert run("diff", str(file), "personal-home").stdout.strip() == "the definitions are equal"
    raw = yaml.safe_load(file.read_text())
    raw["arms"][1]["weight"] = 3
    raw["alpha"] = 0.1
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump(raw))
    told = json.loads(run("diff", "personal-home", str(other), "--json").stdout)
    assert told == {
        "changes": {f"arms[{raw['arms'][1]['name']}].weight": [1, 3], "alpha": [0.05, 0.1]},
        "amends": False,
    }
    later = tmp_path / "later.yaml"
    later.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"version": 2, "description": "longer"}))
    assert "may follow as an amendment" in run("diff", str(file), str(later)).stdout
