"""A newer program adds fields and the shopper goes back to this one: nothing of them is lost. And format 1 is read."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import ServingError
from data.interactions import EventKind
from federation.device.cluster_ledger import ClusterPolicy
from federation.device.device import Device
from federation.device.experiments.enrolment import keep_definitions, note
from federation.device.ledger import LedgerEntry, PendingReport
from federation.device.noise_ledger import NoisePolicy
from federation.device.outcome_log import Enrolment
from federation.device.state import MINOR, DeviceState, Event, OwnRows
from federation.device.vault import Vault
from federation.device.vault.stored_state import StoredState
from federation.device.vault.vault import VAULT
from tests.federation.device.a_shopper import NOW
from tests.federation.device.test_cluster_ledger import clusters_of
from tests.recsys.experiments.an_experiment import an_experiment

FORMAT_1 = Path(__file__).parent / "vault" / "format_1"
"""A vault of the format before: one sealed snapshot, ledger entries and messages as arrays."""


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    home = tmp_path / "old"
    shutil.copytree(FORMAT_1, home)
    (home / "vault.key").chmod(0o600)
    return home


def a_state() -> DeviceState:
    """A state with something at every level."""
    entry = LedgerEntry(bytes(32), 3, 1_700_000_000, 0.25)
    pending = PendingReport(bytes(32), 1_700_000_900, 1_700_000_500.5, b"report")
    experiment = an_experiment()
    state = DeviceState("contribute", (Event(1, "a", EventKind.VIEW), Event(2, "b", EventKind.CART)))
    account, _ = state.noise.with_draw("v1", NoisePolicy(), 0.0, lambda: np.ones(3, dtype=np.float32))
    named, _ = state.named.with_answer(clusters_of("v1"), ClusterPolicy(), 0.0, lambda: [3])
    enrolment = Enrolment(experiment.id, bytes(32), pending=pending)
    return replace(
        state,
        own_rows=OwnRows("v1", ("a",), np.ones((1, 3), dtype=np.float32)),
        participation=replace(state.participation, entries=(entry,), experiments=(entry,), pending=pending),
        noise=account,
        named=named,
        experiments=replace(state.experiments, secret=bytes(32), definitions=(experiment,), enrolments=(enrolment,)),
    )


LEVELS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "state": lambda stored: stored,
    "own rows": lambda stored: stored["own_rows"],
    "ledger": lambda stored: stored["participation"],
    "entry of the ledger": lambda stored: stored["participation"]["entries"][0],
    "entry of an experiment": lambda stored: stored["participation"]["experiments"][0],
    "report on its way": lambda stored: stored["participation"]["pending"],
    "noise": lambda stored: stored["noise"],
    "message": lambda stored: stored["noise"]["draws"][0],
    "named clusters": lambda stored: stored["named"],
    "answer of a period": lambda stored: stored["named"]["last"],
    "experiments": lambda stored: stored["experiments"],
    "enrolment": lambda stored: stored["experiments"]["enrolments"][0],
    "report of an experiment": lambda stored: stored["experiments"]["enrolments"][0]["pending"],
}


def from_the_future(level: str, value: Any = None) -> dict[str, Any]:
    """The JSON of a newer program's state, with a field more at one level."""
    stored: dict[str, Any] = json.loads(a_state().encode())
    LEVELS[level](stored)["added_later"] = {"a": [1, 2.5]} if value is None else value
    stored["minor"] = 7
    return stored


def written_again(vault: Vault) -> dict[str, Any]:
    """The JSON that this program writes after a change of its own."""
    StoredState(vault).change(lambda state: replace(state, catalogue="ab" * 32))
    snapshot = vault.read().snapshot
    assert snapshot is not None
    stored: dict[str, Any] = json.loads(snapshot)
    return stored


@pytest.mark.parametrize("level", LEVELS)
def test_an_unknown_field_is_written_again(level: str, tmp_path: Path) -> None:
    stored = from_the_future(level)
    vault = Vault.create(tmp_path / "home", json.dumps(stored).encode(), "file")
    assert written_again(vault) == stored | {"catalogue": "ab" * 32}


def test_every_object_of_the_state_is_a_level_of_this_test() -> None:
    """An object added to the vault must say what it does with fields it does not know."""

    def objects(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + sum(map(objects, value.values()))
        return sum(map(objects, value)) if isinstance(value, list) else 0

    stored = json.loads(a_state().encode())
    assert objects(stored) == len(LEVELS) + 1  # and the columns of events


def test_unknown_columns_of_events_stay_with_their_events_and_go_with_them(tmp_path: Path) -> None:
    stored = from_the_future("state")
    stored["events"]["basket"] = ["red", None]
    device = Device(Vault.create(tmp_path / "home", json.dumps(stored).encode(), "file"))
    device.observe("c", "view", 0)
    device.change(lambda state: replace(state, catalogue="ab" * 32))
    columns = json.loads(device._vault.read().snapshot or b"")["events"]
    assert (columns["item_id"], columns["basket"]) == (["c", "a", "b"], [None, "red", None])
    device.forget("a")
    assert b"red" not in (device._vault.read().snapshot or b"")


def test_a_shopper_is_shown_what_a_newer_program_stored(tmp_path: Path) -> None:
    stored = from_the_future("state")
    stored["events"]["basket"] = ["red", None]
    told = Device(Vault.create(tmp_path / "home", json.dumps(stored).encode(), "file")).show()
    assert told["events"][0]["basket"] == "red"
    assert told["of_a_newer_program"] == {"added_later": {"a": [1, 2.5]}}
    assert "of_a_newer_program" not in Device.create(tmp_path / "fresh", key_store="file").show()


def test_unknown_parts_of_appended_records_are_kept(tmp_path: Path) -> None:
    """What a newer program appended stands in the next snapshot, where that program finds it again."""
    vault = Vault.create(tmp_path / "home", a_state().encode(), "file")
    event = {"time": 3, "item_id": "c", "kind": 0, "quantity": 1.0, "basket": "blue"}
    record = json.dumps({"event": event, "mood": "good"}).encode()
    with vault.locked():
        vault.append(record, vault.read().position)
    stored = written_again(vault)
    assert stored["events"]["basket"] == [None, None, "blue"]
    assert stored["unknown_additions"] == [{"mood": "good"}]


def test_a_higher_minor_format_stays_and_a_newer_major_one_is_refused_in_one_line(tmp_path: Path) -> None:
    stored = from_the_future("state")
    assert DeviceState.decode(json.dumps(stored).encode()).minor == 7
    assert json.loads(DeviceState().encode())["minor"] == MINOR
    vault = Vault.create(tmp_path / "home", json.dumps(stored | {"format": 3}).encode(), "file")
    with pytest.raises(ServingError, match="format=3: this version reads formats 1 to 2; use a newer one") as refusal:
        Device.open(vault.folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("level", ["state", "experiments", "enrolment"])
def test_forgetting_an_item_takes_fields_that_name_it_and_leaves_others(level: str, tmp_path: Path) -> None:
    for value, stays in ((["seen", {"a-17": 3}], False), (["seen", "b-4"], True)):
        stored = from_the_future(level, value)
        device = Device(Vault.create(tmp_path / str(stays), json.dumps(stored).encode(), "file"))
        device.forget("a-17")
        again = json.loads(device._vault.read().snapshot or b"")
        assert ("added_later" in LEVELS[level](again)) is stays


def test_forgetting_everything_takes_unknown_fields_but_those_of_accounts(tmp_path: Path) -> None:
    for level in ("state", "experiments", "ledger", "noise"):
        stored = from_the_future(level)
        device = Device(Vault.create(tmp_path / level, json.dumps(stored).encode(), "file"))
        device.forget_everything()
        again = json.loads(device._vault.read().snapshot or b"")
        assert ("added_later" in LEVELS[level](again)) is (level in ("ledger", "noise"))


def test_a_definition_that_only_a_newer_program_understands_is_kept_and_not_taken_part_in(tmp_path: Path) -> None:
    stored = from_the_future("state")
    newer = json.dumps(json.loads(stored["experiments"]["definitions"][0]) | {"id": "later", "bandit": True})
    stored["experiments"]["definitions"].append(newer)
    vault = Vault.create(tmp_path / "home", json.dumps(stored).encode(), "file")
    device = Device(vault)
    assert [one.id for one in device.state.experiments.definitions] == ["personal-home"]
    assert written_again(vault)["experiments"]["definitions"] == stored["experiments"]["definitions"]


def test_a_vault_of_format_1_is_read(old_home: Path) -> None:
    state = Device.open(old_home).state
    assert state.consent == "contribute"
    assert [(event.time - NOW, event.item_id, event.kind) for event in state.events] == [
        (n, f"sku-{n}", EventKind.PURCHASE) for n in range(3)
    ]
    own, taken = state.own_rows, state.participation
    assert own is not None
    assert own.item_ids == ("sku-0", "sku-1")
    np.testing.assert_array_equal(own.rows, np.arange(8).reshape(2, 4))
    assert taken.entries == (LedgerEntry(bytes(32), 3, 1_700_000_000, 0.25),)
    assert taken.experiments == (LedgerEntry(b"\1" * 32, 0, 1_700_000_001, math.inf),)
    assert taken.pending == PendingReport(b"\2" * 32, 1_700_000_900, 1_700_000_500.5, b"report")
    assert (taken.come_back_at, taken.measures_only) == (1_700_009_000, True)
    assert (state.noise.drawn, state.noise.epsilon, state.noise.draws[0].bundle_version) == (1, 8.0, "bundle-1")
    np.testing.assert_array_equal(state.noise.draws[0].vector, np.arange(4))
    assert [definition.id for definition in state.experiments.definitions] == ["personal-home"]
    assert [(entry.item_id, entry.value) for entry in state.experiments.notes] == [("sku-1", 12.5)]


def test_reading_format_1_leaves_it_and_the_first_change_upgrades_it_whole(old_home: Path) -> None:
    before = (old_home / VAULT).read_bytes()
    device = Device.open(old_home)
    state = device.state
    assert (old_home / VAULT).read_bytes() == before
    device.observe("sku-9", "view", NOW + 9)
    upgraded = (old_home / VAULT).read_bytes()
    assert (before[8], upgraded[8]) == (1, 2)
    again = Device.open(old_home).state
    assert again.events == (*state.events, Event(NOW + 9, "sku-9", EventKind.VIEW))
    assert (again.participation, again.experiments) == (state.participation, state.experiments)
    device.observe("sku-10", "view", NOW + 10)
    assert (old_home / VAULT).read_bytes().startswith(upgraded)


def test_notes_of_a_vault_of_format_1_go_on(old_home: Path) -> None:
    device = Device.open(old_home)
    keep_definitions(device, [an_experiment()])
    note(device, "click", NOW + 20, item_id="sku-0")
    assert [entry.item_id for entry in Device.open(old_home).state.experiments.notes] == ["sku-1", "sku-0"]
