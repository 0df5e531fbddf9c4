"""Shares that cannot be read when a round is summed: later they are, or the record says what it lacks."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.private_sum.exchange import Answer, Batch
from federation.protocol.messages import Task
from federation.service.round_store import StoredRound
from tests.federation.service.a_lineage import NOW, Line, a_line, stop
from tests.federation.service.test_coordinator import accept_all, with_seed


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = a_line(tmp_path)
    yield line
    stop(line)


def round_of(line: Line, task: Task) -> StoredRound:
    found = line.coordinator.store.of_task(task.task_id)
    assert found is not None
    return found


def settle_over_minutes(line: Line, task: Task, now: int = NOW) -> StoredRound:
    """What became of a round that was tried again and again, for four minutes at most."""
    for n in range(9):
        line.settle(now + 2**n - 1)
        if round_of(line, task).state.final:
            break
    return round_of(line, task)


def test_a_share_that_is_lost_costs_its_report_and_not_its_block(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    task = line.open()
    line.fill(task, 4)
    for segment in (line.folder / "state" / "shares" / task.task_id).iterdir():
        with segment.open("r+b") as file:
            file.truncate(segment.stat().st_size - 1)
    line.settle()
    assert round_of(line, task).state == "closed"  # it may come back
    settle_over_minutes(line, task)
    found = line.coordinator.store.sums(task.task_id)
    assert sorted(one.counted for one in found.values()) == [3, 4]
    assert round_of(line, task).state == "published"
    record = round_of(line, task).record
    assert (record["reports_taken"], record["reports"], record["missing_blocks"]) == (8, 7, 0)
    assert "1 of 4 shares are not in the storage; their reports are left out" in caplog.text


def test_shares_that_come_back_are_all_counted(line: Line) -> None:
    task = line.open()
    line.fill(task, 4)
    shares = line.folder / "state" / "shares"
    shares.rename(line.folder / "unmounted")
    line.settle()
    assert round_of(line, task).state == "closed"
    (line.folder / "unmounted").rename(shares)
    settle_over_minutes(line, task)
    assert (round_of(line, task).state, round_of(line, task).counted) == ("published", 8)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["pathlib.Path.open", "pathlib.Path.stat", "os.pread"])
def test_one_error_of_reading_at_the_sum_costs_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    task = line.open()
    sums = {}
    for block in range(2):
        reports, sums[block] = with_seed(task, block, 4, line)
        accept_all(line, reports)
    with monkeypatch.context() as patch:
        module, _, name = call.rpartition(".")
        owner = Path if module.startswith("pathlib") else os
        real, errors = getattr(owner, name), iter([code])

        def fails_once(*given: Any, **named: Any) -> Any:
            if name == "pread" or Path(given[0]).suffix == ".shares":
                for error in errors:
                    raise OSError(error, os.strerror(error))
            return real(*given, **named)

        patch.setattr(owner, name, fails_once)
        line.settle()
        assert (round_of(line, task).state, list(errors)) == ("closed", [])
    settle_over_minutes(line, task)
    assert round_of(line, task).state == "published"
    for block, found in line.coordinator.store.sums(task.task_id).items():
        np.testing.assert_array_equal(found.words, sums[block])
    assert line.custodian.custodian.totals().rounds_answered == 1


def test_a_round_whose_shares_are_all_lost_costs_no_device_anything(line: Line) -> None:
    task = line.open()
    line.fill(task, 4)
    for segment in (line.folder / "state" / "shares" / task.task_id).iterdir():
        segment.write_bytes(b"")
    settle_over_minutes(line, task)
    assert round_of(line, task).failure == "no block has min_reports=3"
    assert line.custodian.custodian.totals().rounds_answered == 0
    assert line.coordinator.store.spent_rounds() == 0


def test_what_the_custodian_was_asked_for_is_spent_whatever_becomes_of_the_sum(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = line.open()
    line.fill(task, 4)
    answer = line.custodian.answer

    def lost_meanwhile(batch: Batch) -> Answer:
        for segment in (line.folder / "state" / "shares" / task.task_id).iterdir():
            segment.write_bytes(b"")
        return answer(batch)

    monkeypatch.setattr(line.custodian, "answer", lost_meanwhile)
    settle_over_minutes(line, task)
    assert round_of(line, task).state == "failed"
    assert line.custodian.custodian.totals().rounds_answered == 1
    assert line.coordinator.store.spent_rounds() == 1


def test_a_round_that_lacks_a_block_says_so(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    task = line.open()
    accept_all(line, with_seed(task, 0, 4, line)[0])
    accept_all(line, [line.report(task, 1)])  # below min_reports
    newest = settle_over_minutes(line, task, task.deadline + 1)
    assert newest.state == "published"
    assert (newest.record["missing_blocks"], newest.record["reports_taken"], newest.record["reports"]) == (1, 5, 4)
    assert "goes on without blocks 1, which have no sum; 4 of 5 reports are in it" in caplog.text
