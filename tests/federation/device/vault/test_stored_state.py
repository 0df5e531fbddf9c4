from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import ServingError
from data.interactions import EventKind
from federation.device.device import Device
from federation.device.erasure import without_item
from federation.device.experiments.enrolment import keep_definitions, note
from federation.device.state import DeviceState, Event, OwnRows
from federation.device.vault import Vault, stored_state
from federation.device.vault.sealed_log import open_records, open_snapshot
from federation.device.vault.state_additions import Addition
from federation.device.vault.stored_state import StoredState
from federation.device.vault.vault import VAULT
from recsys.catalogue.bundle import Bundle
from tests.federation.device.a_shopper import NOW
from tests.recsys.experiments.an_experiment import an_experiment

ROOT = Path(__file__).parents[4]
OLD = tuple(Event(n, "old", EventKind.VIEW) for n in range(3))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.create(tmp_path / "home", DeviceState("observe", OLD).encode(), "file")


def viewed(number: int) -> Addition:
    return Addition(Event(number, f"sku-{number}", EventKind.VIEW))


def contents_of(vault: Vault) -> list[bytes]:
    """All that a holder of the key finds in the vault's file."""
    blob = (vault.folder / VAULT).read_bytes()
    snapshot, begin = open_snapshot(vault._key, blob)
    return [snapshot, *open_records(vault._key, blob[begin.offset :], begin)[0]]


def test_additions_are_appended_and_read_by_another_program_in_the_order_of_their_times(vault: Vault) -> None:
    before = (vault.folder / VAULT).read_bytes()
    stored, other = StoredState(vault), StoredState(Vault.open(vault.folder))
    other.state()
    for number in (9, 5, 7, 5):
        stored.change(lambda _, number=number: viewed(number))
    assert (vault.folder / VAULT).read_bytes().startswith(before)
    assert [event.time for event in other.state().events] == [0, 1, 2, 5, 5, 7, 9]
    assert other.state() == stored.state() == StoredState(Vault.open(vault.folder)).state()
    assert other.state() is other.state()


def test_two_programs_that_add_in_turn_lose_nothing(vault: Vault) -> None:
    programs = [StoredState(Vault.open(vault.folder)) for _ in range(2)]
    for number in range(10, 30):
        programs[number % 2].change(lambda _, number=number: viewed(number))
    programs[0].change(lambda state: replace(state, consent="contribute"))
    programs[1].change(lambda _: viewed(30))
    assert [len(program.state().events) for program in programs] == [24, 24]
    assert programs[1].state().consent == "contribute"


def test_a_long_log_is_compacted_to_a_snapshot(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_state, "LOG_BYTES", 1_000)
    stored = StoredState(vault)
    sizes = []
    for number in range(10, 60):
        stored.change(lambda _, number=number: viewed(number))
        sizes.append(len(contents_of(vault)) - 1)
    assert 0 in sizes
    assert max(sizes) == 9  # half of the snapshot's 4,176 bytes are 8 records of 256, and one more may begin
    assert [event.time for event in stored.state().events] == [0, 1, 2, *range(10, 60)]


def test_what_is_forgotten_is_in_no_file_of_the_home(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "home", consent="contribute", key_store="file", bundle=bundle)
    keep_definitions(device, [an_experiment()])
    for number in range(4):
        device.observe(f"sku-{number}", "view", NOW + number)
    note(device, "purchase", NOW, 12.5, item_id="sku-2")
    assert len(contents_of(device._vault)) > 4  # the events are in the log
    assert any(b"sku-2" in content for content in contents_of(device._vault)[1:])
    assert device.forget("sku-2") == 1
    assert not any(b"sku-2" in content for content in contents_of(device._vault))
    assert any(b"sku-1" in content for content in contents_of(device._vault))
    assert sorted(path.name for path in device.folder.iterdir()) == ["vault", "vault.key", "vault.lock"]
    device.forget_everything()
    assert not any(b"sku-" in content for content in contents_of(device._vault))


@pytest.mark.parametrize("add", ["event", "note"])
def test_events_and_notes_are_appended_and_an_account_of_what_was_sent_never_is(
    tmp_path: Path, bundle: Bundle, add: str
) -> None:
    device = Device.create(tmp_path / "home", consent="contribute", key_store="file", bundle=bundle)
    keep_definitions(device, [an_experiment()])
    device.observe("sku-1", "view", NOW)
    device.observe("sku-1", "view", NOW)
    before = (device.folder / VAULT).read_bytes()
    if add == "event":
        device.observe("sku-3", "view", NOW + 1)
    else:
        note(device, "click", NOW + 1, item_id="sku-1")
    after = (device.folder / VAULT).read_bytes()
    assert after.startswith(before)
    assert len(after) > len(before)
    again = Device.open(device.folder)
    assert again.state.events == device.state.events
    assert again.state.experiments == device.state.experiments
    device.change(lambda state: replace(state, participation=replace(state.participation, come_back_at=9)))
    assert len(contents_of(device._vault)) == 1


def test_exact_rows_of_observed_items_are_those_that_writing_them_anew_gives(tmp_path: Path, bundle: Bundle) -> None:
    device = Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
    for item in ("sku-7", "sku-30", "sku-1", "sku-7", "no such item"):
        device.observe(item, "view", NOW)
    appended = Device.open(device.folder).state.own_rows
    size = (device.folder / VAULT).stat().st_size
    Device.open(device.folder, bundle)  # keeps the rows of the whole history: there is nothing left to do
    assert (device.folder / VAULT).stat().st_size == size
    assert appended is not None
    assert appended.item_ids == ("sku-1", "sku-30", "sku-7")
    np.testing.assert_array_equal(appended.rows, bundle.table.item_embeddings[[1, 30, 7]])


def test_rows_of_pages_are_added_in_the_order_in_which_they_came_and_replaced_when_they_differ(vault: Vault) -> None:
    stored = StoredState(vault)
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    for place, item in enumerate(("b", "a")):
        event = Event(10 + place, item, EventKind.VIEW)
        stored.change(lambda _, e=event, p=place: Addition(e, OwnRows("v1", (e.item_id,), rows[p][None]), p))
    own = StoredState(Vault.open(vault.folder)).state().own_rows
    assert own is not None
    assert own.item_ids == ("b", "a")
    np.testing.assert_array_equal(own.rows, rows)


@pytest.fixture(scope="module")
def fork() -> Iterator[Callable[..., dict[str, Any]]]:
    program = [sys.executable, "-m", "tests.federation.device.killed_vault"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(**command: Any) -> dict[str, Any]:
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            assert "error" not in answer, answer["error"]
            return answer

        yield run
        stdin.close()


@pytest.mark.parametrize("change", ["append", "compact", "replace", "forget"])
def test_killed_at_every_moment_of_a_change_the_old_or_the_new_state_is_there(
    fork: Callable[..., dict[str, Any]], vault: Vault, tmp_path: Path, change: str
) -> None:
    StoredState(vault).change(lambda _: viewed(20))
    times = {"append": [0, 1, 2, 20, 50], "compact": [0, 1, 2, 20, 50], "replace": [0, 1, 2, 20, 50], "forget": [20]}
    old, new = [0, 1, 2, 20], times[change]
    seen = set()
    for kill_at in itertools.count():
        home = tmp_path / "killed"
        shutil.copytree(vault.folder, home)
        answer = fork(folder=str(home), change=change, kill_at=kill_at)
        stored = StoredState(Vault.open(home))
        left = [event.time for event in stored.state().events]
        assert left in (old, new), f"killed at {kill_at}"
        seen.add(tuple(left))
        after = stored.change(lambda _: viewed(60))  # and it goes on
        assert [event.time for event in after.events] == [*left, 60]
        assert StoredState(Vault.open(home)).state() == after
        if change == "forget" and left == new:
            assert not any(b'"old"' in content for content in contents_of(stored.vault))
        assert sorted(path.name for path in home.iterdir()) == ["vault", "vault.key", "vault.lock"]
        shutil.rmtree(home)
        if not answer["killed"]:
            break
    assert kill_at >= 4
    assert seen == {tuple(old), tuple(new)}


def test_what_a_killed_writer_left_half_written_is_cut_off_by_the_next(vault: Vault) -> None:
    stored = StoredState(vault)
    stored.change(lambda _: viewed(10))
    whole = (vault.folder / VAULT).read_bytes()
    StoredState(Vault.open(vault.folder)).change(lambda _: Addition(Event(11, "x" * 2_000, EventKind.VIEW)))
    torn = (vault.folder / VAULT).read_bytes()[:-700]
    (vault.folder / VAULT).write_bytes(torn)
    assert [event.time for event in stored.state().events] == [0, 1, 2, 10]
    assert [event.time for event in stored.change(lambda _: viewed(12)).events] == [0, 1, 2, 10, 12]
    assert (vault.folder / VAULT).read_bytes().startswith(whole)
    assert [event.time for event in StoredState(Vault.open(vault.folder)).state().events] == [0, 1, 2, 10, 12]


def test_an_older_file_put_back_under_an_open_device_is_read_as_it_is(vault: Vault) -> None:
    stored = StoredState(vault)
    before = (vault.folder / VAULT).read_bytes()
    stored.change(lambda _: viewed(10))
    (vault.folder / VAULT).write_bytes(before)
    assert [event.time for event in stored.state().events] == [0, 1, 2]


def test_a_vault_with_a_record_cut_out_is_refused_in_one_line(vault: Vault) -> None:
    stored = StoredState(vault)
    end = (vault.folder / VAULT).stat().st_size
    for number in (10, 11, 12):
        stored.change(lambda _, number=number: viewed(number))
    blob = (vault.folder / VAULT).read_bytes()
    (vault.folder / VAULT).write_bytes(blob[:end] + blob[end + 256 :])
    with pytest.raises(ServingError, match="record 0: tampered with, or not where it was written"):
        StoredState(Vault.open(vault.folder)).state()


def test_forgetting_through_one_program_is_seen_by_another_that_had_read_before(vault: Vault) -> None:
    one, other = StoredState(vault), StoredState(Vault.open(vault.folder))
    other.change(lambda _: viewed(10))
    one.change(lambda state: without_item(state, "old"))
    assert [event.item_id for event in other.state().events] == ["sku-10"]
