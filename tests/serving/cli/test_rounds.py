from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from federation.storage.key_files import load_or_make_key
from serving.access import Caller
from serving.cli import keys as keys_cli
from serving.cli import rounds as rounds_cli
from serving.process.federation_file import DATABASE, SERVICE_KEY, FederationFile
from serving.state.api_keys import ApiKeys
from serving.state.key_book import KeyBook
from tests.federation.service.a_lineage import NOW, PLAN, a_line, stop
from tests.serving.process.test_federation_file import LEAST, written


def run(app: typer.Typer, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, LEAST)


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(file: Path) -> None:
    made = run(keys_cli.app, "create", "--app", "shop-a", "--federation", str(file), "--json")
    assert made.exit_code == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    book = KeyBook(ApiKeys(FederationFile.read(file).store().engine))
    assert book.caller_of(key) == Caller("shop-a", key.split("_")[1], frozenset({"app"}))
    listed = run(keys_cli.app, "list", "--federation", str(file))
    key_id, secret = key.split("_", 2)[1:]
    assert listed.stdout.split() == [key_id, "shop-a", "app", "good"]
    assert secret not in listed.stdout
    assert run(keys_cli.app, "revoke", key_id, "--federation", str(file)).exit_code == 0
    book.refresh()
    assert book.caller_of(key) is None
    assert "revoked" in run(keys_cli.app, "list", "--federation", str(file)).stdout
    again = run(keys_cli.app, "revoke", key_id, "--federation", str(file))
    assert (again.exit_code, again.stderr.count("\n")) == (1, 1)


def test_an_impossible_app_is_one_line(file: Path) -> None:
    answer = run(keys_cli.app, "create", "--app", "a b", "--federation", str(file))
    assert answer.exit_code == 1
    assert answer.stderr.startswith("error: app='a b'")


def test_the_services_public_key_is_the_one_of_its_folder(tmp_path: Path) -> None:
    answer = run(keys_cli.app, "service", str(tmp_path / "rounds"))
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.strip() == load_or_make_key(tmp_path / "rounds" / SERVICE_KEY).public.hex()
    assert run(keys_cli.app, "service", str(tmp_path / "rounds")).stdout == answer.stdout


def test_rounds_are_listed_and_an_earlier_bundle_is_activated(tmp_path: Path) -> None:
    file = written(tmp_path, LEAST)
    line = a_line(tmp_path, url=FederationFile.read(file).url)
    first = line.coordinator.bundles()[0].version
    task = line.open()
    line.fill(task, 4)
    line.settle()
    line.settle(NOW + 61)
    (listed,) = [
        row
        for row in json.loads(run(rounds_cli.app, "list", "--federation", str(file), "--json").stdout)["rounds"]
        if row["round"] == 0
    ]
    assert (listed["state"], listed["reports"], listed["task_id"]) == ("published", 8, task.task_id)
    assert "published" in run(rounds_cli.app, "list", "--federation", str(file)).stdout
    releases = json.loads(run(rounds_cli.app, "releases", "--federation", str(file), "--json").stdout)["releases"]
    assert [(one["steps"], one["active"]) for one in releases] == [(1, True), (0, False)]
    went = run(rounds_cli.app, "activate", "previous", "--federation", str(file), "--json")
    assert json.loads(went.stdout) == {"active": first}
    line.coordinator.refresh()
    assert line.coordinator.bundles()[0].version == first
    log = json.loads(run(rounds_cli.app, "changes", "--federation", str(file), "--json").stdout)["changes"]
    assert [(row["action"], row["version"]) for row in log] == [
        ("activated", first), ("activated", releases[0]["version"]), ("rolled back", first),
    ]  # fmt: skip
    assert log[1]["why"] == f"round {task.task_id}"
    assert run(rounds_cli.app, "changes", "--federation", str(file)).stdout.count("\n") == 3
    assert line.coordinator.task() is None
    wrong = run(rounds_cli.app, "activate", "0123", "--federation", str(file))
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    stop(line)


def test_the_database_is_where_the_file_says(tmp_path: Path) -> None:
    file = written(tmp_path, LEAST)
    FederationFile.read(file).store().engine.dispose()
    assert (tmp_path / "rounds" / DATABASE).exists()
    assert FederationFile.read(file).plan == PLAN
