"""A shop whose policy asks for the gate: what becomes current, by store, command and HTTP, and what is logged of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from data.atomic import file_hash
from federation.storage.change_log import ACTIVATED, GATE_REQUIRED, OVERRIDDEN, ROLLED_BACK, Reason
from recsys.catalogue.bundle import Bundle
from recsys.fairness.gate_file import gate_path, write_gate
from serving.cli import bundles as bundles_cli
from serving.http.app import create_app
from serving.state.bundle_store import GateRefused
from serving.state.state_url import url_of
from serving.state.stores import Stores
from tests.shop import InProcess, make_bundle

NOW = 1_700_000_000
ANN = Reason("ann")


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    return [make_bundle(tmp_path / f"bundle{seed}", seed=seed) for seed in range(3)]


@pytest.fixture
def stores(tmp_path: Path, bundles: list[Bundle]) -> Iterator[Stores]:
    opened = Stores.open(url_of(str(tmp_path / "state")))
    opened.bundles.require_gate("shop", True, NOW, ANN)
    opened.bundles.add("shop", bundles[0].folder, NOW, reason=ANN)  # the first has nothing to be judged against
    yield opened
    opened.close()


def passed(new: Bundle, old: Bundle, *, passes: bool = True) -> None:
    checks = [{"name": "quality", "passed": passes}]
    write_gate(new.folder, {"passed": passes, "new": new.version, "old": old.version, "checks": checks})


def current(stores: Stores) -> str:
    active = stores.bundles.active("shop")
    assert active is not None
    return active.version


def test_only_a_bundle_that_passed_against_the_current_one_becomes_current(
    stores: Stores, bundles: list[Bundle]
) -> None:
    store, (first, second, third) = stores.bundles, bundles
    with pytest.raises(GateRefused, match="no gate result"):
        store.add("shop", second.folder, NOW)
    assert [bundle.version for bundle in store.all("shop")] == [first.version]  # not added either
    store.add("shop", second.folder, NOW, activate=False)
    passed(second, first, passes=False)
    with pytest.raises(GateRefused, match="quality"):
        store.activate("shop", second.version, NOW)
    with pytest.raises(GateRefused, match="quality"):
        store.add("shop", second.folder, NOW)  # it is there already
    passed(second, third)
    with pytest.raises(GateRefused, match="judged against"):
        store.activate("shop", second.version, NOW)
    assert current(stores) == first.version
    passed(second, first)
    assert store.activate("shop", second.version, NOW, ANN) == second.version == current(stores)
    last = store.changes("shop")[-1].change
    assert (last.action, last.before, last.who) == (ACTIVATED, first.version, "ann")
    assert last.evidence == file_hash(gate_path(second.folder))


def test_the_way_back_is_free_and_forward_again_is_not(stores: Stores, bundles: list[Bundle]) -> None:
    store, (first, second, _) = stores.bundles, bundles
    store.add("shop", second.folder, NOW, reason=Reason("ann", "hotfix", override=True))
    assert store.activate("shop", "previous", NOW) == first.version
    with pytest.raises(GateRefused):
        store.activate("shop", second.version, NOW)  # it never passed
    assert [entry.change.action for entry in store.changes("shop")] == [
        GATE_REQUIRED, ACTIVATED, OVERRIDDEN, ROLLED_BACK,
    ]  # fmt: skip
    assert store.changes("shop")[2].change.why == "hotfix"


def test_the_policy_is_of_its_app_and_can_be_dropped(stores: Stores, bundles: list[Bundle]) -> None:
    store = stores.bundles
    store.add("garden", bundles[0].folder, NOW)
    store.add("garden", bundles[1].folder, NOW)
    assert (store.requires_gate("shop"), store.requires_gate("garden")) == (True, False)
    store.require_gate("shop", False, NOW, ANN)
    assert store.add("shop", bundles[1].folder, NOW) == bundles[1].version == current(stores)


def test_http_refuses_with_409_and_takes_an_override_with_its_reason(stores: Stores, bundles: list[Bundle]) -> None:
    first, second, _ = bundles
    stores.bundles.add("shop", second.folder, NOW, activate=False)
    app = create_app(bundles[:2], stores=stores)
    client = httpx.Client(transport=InProcess(app), base_url="http://shop.test")
    address = f"/v1/bundles/{second.version}/activate"
    refused = client.post(address)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "gate_not_passed")
    assert str(second.folder.parent) not in refused.text
    assert client.post(address, params={"override": " "}).status_code == 422
    assert current(stores) == first.version
    assert client.post(address, params={"override": "hotfix"}).json() == {"version": second.version}
    last = stores.bundles.changes("shop")[-1].change
    assert (last.action, last.who, last.why) == (OVERRIDDEN, "no key", "hotfix")


def test_the_commands_set_the_policy_override_it_and_list_what_was_done(tmp_path: Path, bundles: list[Bundle]) -> None:
    state = ("--state", str(tmp_path / "commands"), "--json")

    def run(*words: str, code: int = 0) -> dict[str, object]:
        done = CliRunner().invoke(bundles_cli.app, [*words, *state])
        assert done.exit_code == code, done.output
        return dict(json.loads(done.stdout)) if code == 0 else {"error": done.stderr}

    assert run("policy") == {"require_gate": False}
    assert run("policy", "--require-gate", "--why", "audit") == {"require_gate": True}
    run("add", str(bundles[0].folder))
    second = str(bundles[1].folder)
    assert "gate" in str(run("add", second, code=1)["error"])
    assert "why" in str(run("add", second, "--override", code=1)["error"])
    assert run("add", second, "--override", "--why", "hotfix")["version"] == bundles[1].version
    listed = run("changes")
    changes = listed["changes"]
    assert isinstance(changes, list)
    assert [(row["action"], row["why"]) for row in changes] == [
        (GATE_REQUIRED, "audit"), (ACTIVATED, ""), (OVERRIDDEN, "hotfix"),
    ]  # fmt: skip
    assert listed["head"] == changes[-1]["hash"]
    assert CliRunner().invoke(bundles_cli.app, ["changes", *state[:2]]).stdout.count("\n") == 3
