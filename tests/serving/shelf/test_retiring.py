"""Which bundles go on being answered: the current one, a bounded number of others, and none that was retired."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from data.errors import ServingError
from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle
from serving.cli.bundles import app as bundles_app
from serving.http.app import ServiceSettings, create_app
from serving.process.running_service import Job
from serving.process.settings import Settings
from serving.state.bundle_store import BundleInUse
from serving.state.state_url import STATE_FILE
from serving.state.stores import Stores
from tests.serving.keyed import keyed_service
from tests.shop import InProcess, make_bundle

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("bundles")
    return [make_bundle(folder / str(seed), seed=seed) for seed in range(4)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores.open(sqlite_url(tmp_path / STATE_FILE))
    yield made
    made.close()


def added(stores: Stores, bundles: list[Bundle]) -> list[str]:
    return [stores.bundles.add("shop", one.folder, NOW + at) for at, one in enumerate(bundles)]


def ask(client: httpx.Client, version: str) -> httpx.Response:
    return client.post("/v1/recommendations", json={"mode": "profile", "bundle_version": version, "profile": None})


def test_the_current_bundle_and_those_that_were_current_last_are_answered(
    stores: Stores, bundles: list[Bundle]
) -> None:
    first, second, third, fourth = added(stores, bundles)
    app = create_app(bundles[:1], ServiceSettings(keep_bundles=1), stores=stores)
    client = httpx.Client(transport=InProcess(app), base_url="http://shop.test")

    def served() -> list[str]:
        return [one["version"] for one in client.get("/v1/bundles").json()["bundles"]]

    assert served() == [fourth, third]
    old = ask(client, first)
    assert old.status_code == 409
    assert old.json()["error"]["details"] == {"current": fourth, "fetch": f"/v1/catalogue/{fourth}"}
    assert client.post(f"/v1/bundles/{first}/activate").status_code == 200  # one that is not answered is loaded again
    assert served() == [first, fourth]
    assert [ask(client, one).status_code for one in (first, second, third, fourth)] == [200, 409, 409, 200]


def test_a_bundle_is_retired_over_http_and_the_current_one_is_not(stores: Stores, bundles: list[Bundle]) -> None:
    first, second, third, _ = added(stores, bundles)
    stores.bundles.activate("shop", third, NOW + 9)
    app = create_app(bundles[:1], stores=stores)
    client = httpx.Client(transport=InProcess(app), base_url="http://shop.test")
    assert ask(client, second).status_code == 200
    gone = client.delete(f"/v1/bundles/{second}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert ask(client, second).json()["error"]["code"] == "bundle_too_old"
    assert client.get(f"/v1/catalogue/{second}").status_code == 404
    refused = client.delete(f"/v1/bundles/{third}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "bundle_in_use")
    for version in (second, "0123456789abcdef"):
        assert client.delete(f"/v1/bundles/{version}").json()["error"]["code"] == "unknown_bundle"
    assert [ask(client, one).status_code for one in (first, third)] == [200, 200]


def test_a_retired_bundle_is_not_the_previous_one_and_may_come_back(stores: Stores, bundles: list[Bundle]) -> None:
    store = stores.bundles
    third, second, first = added(stores, bundles[2::-1])
    sequence = store.sequence("shop")
    store.retire("shop", second)
    assert store.sequence("shop") > sequence  # so that every worker takes notice
    assert [one.version for one in store.list_kept("shop", 9)] == [first, third]
    with pytest.raises(ServingError, match="must be one of"):
        store.activate("shop", second, NOW)
    assert store.activate("shop", "previous", NOW + 5) == third
    with pytest.raises(BundleInUse):
        store.retire("shop", third)
    with pytest.raises(ServingError, match="no such"):
        store.retire("another", first)
    assert store.add("shop", bundles[1].folder, NOW + 6) == second
    assert [one.version for one in store.list_kept("shop", 1)] == [second, third]
    assert store.activate("shop", "previous", NOW + 7) == third


def test_retiring_all_but_bundles_that_were_never_current_leaves_what_is_served(
    stores: Stores, bundles: list[Bundle]
) -> None:
    app = create_app(bundles[:1], stores=stores)
    versions = [stores.bundles.add("shop", one.folder, NOW, activate=False) for one in bundles[1:3]]
    stores.bundles.retire("shop", versions[0])
    app.state.watcher.sync()
    assert app.state.apps.of("shop").current.version == bundles[0].version


def test_retire_on_the_command_line(stores: Stores, bundles: list[Bundle], tmp_path: Path) -> None:
    first, *_, last = added(stores, bundles)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(bundles_app, [*arguments, "--state", str(tmp_path)])

    done = run("retire", first, "--json")
    assert json.loads(done.stdout) == {"retired": first}
    assert first not in run("list").stdout
    refused = run("retire", last)
    assert refused.exit_code == 1
    assert "activate another" in refused.stderr


def test_only_an_admin_retires(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed:
        path = f"/v1/bundles/{keyed.bundle.version}"
        for scope in ("app", "catalogue", "analyst", "device"):
            assert keyed.client(scope=scope).delete(path).status_code == 403
        assert keyed.client(scope="admin").delete(path).status_code == 409


def test_more_older_bundles_than_are_kept_are_a_mistake_on_the_command_line(tmp_path: Path) -> None:
    job = Job(tmp_path, (tmp_path / "a", tmp_path / "b"), Settings(keep_bundles=1))
    with pytest.raises(ServingError, match="keep_bundles=1"):
        job.check()
