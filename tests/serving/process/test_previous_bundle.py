"""`previous` goes back one step and then says that there is none: by command, by HTTP, with live training, without."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from serving.cli import bundles as bundles_cli
from serving.cli import rounds as rounds_cli
from serving.process.federation_file import FederationFile
from serving.process.running_service import Job, live
from serving.process.settings import Settings
from serving.state.state_url import url_of
from serving.state.stores import Stores
from tests.federation.service.a_lineage import NOW, a_line, stop
from tests.federation.service.test_round_loop import until
from tests.serving.process.test_federation_file import LEAST, written
from tests.shop import InProcess, make_bundle

Activate = Callable[[str], str]
"""What becomes of a version or `previous`: the version, or the message of the refusal."""

NONE = "version=previous: there is none before the current one"


@pytest.fixture(params=["live training", "no training"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Job, list[str], typer.Typer, list[str]]:
    """A job, the versions that were current so far, and the command that activates, with its options."""
    if request.param == "no training":
        stores = Stores.open(url_of(str(tmp_path / "state")))
        made = [make_bundle(tmp_path / name, seed=seed) for seed, name in enumerate("abc")]
        versions = [stores.bundles.add("shop", bundle.folder, NOW) for bundle in made]
        stores.close()
        job = Job(tmp_path / "c", (), Settings(state=str(tmp_path / "state")))
        return job, versions, bundles_cli.app, ["--state", str(tmp_path / "state")]
    file = written(tmp_path, LEAST)
    line = a_line(tmp_path, url=FederationFile.read(file).url, keep_bundles=3)
    for moment in (NOW, NOW + 100):
        line.fill(line.open(moment), 4, moment)
        line.settle(moment)
    versions = [release.version for release in line.coordinator.store.releases.all()][::-1]
    stop(line)
    return Job(tmp_path / "first", (), Settings(federation=file)), versions, rounds_cli.app, ["--federation", str(file)]


@pytest.fixture(params=["command", "HTTP"])
def activate(request: pytest.FixtureRequest, shop: tuple[Job, list[str], typer.Typer, list[str]]) -> Iterator[Activate]:
    job, _, app, options = shop

    def by_command(version: str) -> str:
        done = CliRunner().invoke(app, ["activate", version, *options, "--json"])
        if done.exit_code == 0:
            return str(*json.loads(done.stdout).values())
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        return done.stderr

    with ExitStack() as stack:
        if request.param == "command":
            yield by_command
            return
        served, _ = stack.enter_context(live(job, advances=False))
        client = httpx.Client(transport=InProcess(served), base_url="http://shop.test")

        def by_http(version: str) -> str:
            answer: Any = client.post(f"/v1/bundles/{version}/activate")
            if answer.status_code == 200:
                until(lambda: client.get("/v1/bundles").json()["bundles"][0]["version"] == answer.json()["version"])
                return str(answer.json()["version"])
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_bundle")
            return str(answer.json()["error"]["message"])

        yield by_http


def test_previous_goes_back_one_step_and_then_says_that_there_is_none(
    shop: tuple[Job, list[str], typer.Typer, list[str]], activate: Activate
) -> None:
    first, second, third = shop[1]
    assert activate("previous") == second
    assert activate("previous") == first
    for _ in range(2):
        assert NONE in activate("previous")
    assert activate(third) == third
    assert activate("previous") == first  # which was current before it
