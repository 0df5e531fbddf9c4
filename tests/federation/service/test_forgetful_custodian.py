"""A custodian whose folder is put back to an earlier day, one that hangs, and rows and databases of others."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from federation.custodian.custodian import Custodian
from federation.private_sum.exchange import Answer, Batch
from federation.service.round_loop import RoundLoop
from federation.service.round_schema import SCHEMA, RoundState, rounds
from federation.storage.migrations import NewerStore, check_not_newer
from tests.federation.service.a_lineage import NOW, SETTINGS, Line, a_line, stop
from tests.federation.service.test_round_loop import until


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    made = a_line(tmp_path)
    yield made
    stop(made)


def put_back(line: Line, kept: Path, now: int) -> None:
    """The custodian's whole folder, keys and markers included, as it was."""
    folder, plan = line.folder / "custodian", line.custodian.custodian.plan
    line.custodian.custodian.shut()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    line.custodian.custodian = Custodian.open(folder, plan, now)


def keep(line: Line, kept: Path, now: int) -> None:
    plan = line.custodian.custodian.plan
    line.custodian.custodian.shut()
    shutil.copytree(line.folder / "custodian", kept)
    line.custodian.custodian = Custodian.open(line.folder / "custodian", plan, now)


def test_a_folder_put_back_whole_is_asked_for_no_answer(
    line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.ERROR)
    task = line.open()
    line.fill(task, per_block=4)
    later = line.custodian.now = task.deadline + 1
    keep(line, tmp_path / "kept", later)
    store, forgets = line.coordinator.store, [True]
    real = store.keep_sum

    def forget_once(*arguments: object) -> None:
        if forgets:
            forgets.pop()
            raise OSError("the disk was full when the answer was there")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "keep_sum", forget_once)
    assert line.coordinator.advance(later)  # closed
    assert not line.coordinator.advance(later)  # block 0 is answered, and the answer lost here
    assert line.custodian.calls[-1] == "answer 0"
    answered = len(line.custodian.calls)
    put_back(line, tmp_path / "kept", later)
    for moment in (later + 10, later + 1_000):
        assert not line.coordinator.advance(moment)
    assert line.custodian.calls[answered:] == []
    assert "is shorter than the" in caplog.text
    assert "LogRefused" in caplog.text


def test_a_folder_put_back_whole_opens_no_round(line: Line, tmp_path: Path) -> None:
    keep(line, tmp_path / "kept", NOW)
    task = line.open()
    line.fill(task, per_block=4)
    later = line.custodian.now = task.deadline + 1
    line.settle(later)
    done = line.coordinator.store.of_task(task.task_id)
    assert done is not None
    assert done.state is RoundState.PUBLISHED
    put_back(line, tmp_path / "kept", later)
    line.custodian.now = later + 100
    line.settle(later + 100)
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert newest.number == 1
    assert newest.state is RoundState.DRAFTED
    assert line.coordinator.task() is None


def test_a_row_that_cannot_be_read_stands_still_and_stops_no_other(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    task = line.open()
    line.fill(task, per_block=4)
    later = line.custodian.now = task.deadline + 1
    line.settle(later)
    store = line.coordinator.store
    with store.engine.begin() as connection:
        for number, changes in ((1, {"draft": b"no task"}), (2, {"state": "of a newer program"})):
            row = dict(connection.execute(sa.select(rounds).where(rounds.c.number == 0)).mappings().one())
            row |= {"number": number, "task_id": f"broken-{number}", "state": "drafted", "task": None, "cleaned": 1}
            connection.execute(rounds.insert(), row | changes)
    line.custodian.now = later + SETTINGS.pause_s + 1
    opened = line.open(line.custodian.now)
    assert opened.round == 3
    assert [one.number for one in store.rounds(10)] == [3, 0]
    assert "task_id=broken-1: its row cannot be read (TaskRefused)" in caplog.text
    assert "task_id=broken-2: its row cannot be read (ValueError)" in caplog.text


def test_a_custodian_that_hangs_holds_the_loop_for_no_round(tmp_path: Path) -> None:
    line, hangs, asked = a_line(tmp_path), threading.Event(), threading.Event()
    line.coordinator.machine.errands._patience_s = 0.01
    real = line.custodian.answer

    def answer(batch: Batch) -> Answer:
        asked.set()
        hangs.wait(60)
        return real(batch)

    line.custodian.answer = answer  # type: ignore[method-assign]
    until(lambda: (line.coordinator.advance(NOW), line.coordinator.task() is not None)[1])
    task = line.coordinator.task()
    assert task is not None
    line.fill(task, per_block=4)
    later = line.custodian.now = task.deadline + 1
    until(lambda: (line.coordinator.advance(later), asked.is_set())[1])
    assert not any(line.coordinator.advance(later) for _ in range(20))  # each would wait a minute
    assert line.coordinator.busy()
    hangs.set()

    def published() -> bool:
        line.coordinator.advance(later)
        done = line.coordinator.store.of_task(task.task_id)
        return done is not None and done.state is RoundState.PUBLISHED

    until(published)
    until(lambda: not line.coordinator.busy())
    stop(line)


def test_a_process_on_a_database_that_a_newer_program_migrated_ends_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line, given_up = a_line(tmp_path, now=int(time.time())), threading.Event()
    loop = RoundLoop(line.coordinator, lambda _: None, idle_s=0.01, give_up=given_up.set)
    loop.start()
    until(lambda: line.coordinator.task() is not None)
    assert not given_up.is_set()
    engine = line.coordinator.store.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE schema_versions SET version = 99 WHERE name = 'rounds'")
    assert given_up.wait(30)
    loop.stop()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        f"store: rounds has schema version 99: must be at most {SCHEMA.version} for this program; "
        "run the newer program, or restore a backup made before it was installed"
    ]
    with pytest.raises(NewerStore):
        check_not_newer(engine, SCHEMA)
    stop(line)
