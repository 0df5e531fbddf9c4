from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from data.errors import ReportRejected
from federation.private_sum.refusals import LateReport, MalformedReport, MismatchedReport, OversizedReport
from federation.protocol.messages import Report, Task
from federation.service.coordinator import Coordinator
from federation.service.intake.report_refusals import (
    CODES,
    ConflictingReport,
    IntakeUnavailable,
    IssuerFull,
    RoundFull,
    StaleReport,
    TokenInvalid,
    TokenSpent,
)
from federation.service.round_store import CoordinatorStore
from federation.storage import crash_points as write_points
from federation.storage.database import sqlite_url
from tests.federation.service.a_lineage import NOW, PLAN, Line, a_line, stop


@pytest.fixture(params=["sqlite", "postgresql"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    line = a_line(tmp_path, url=url)
    yield line
    stop(line)


@pytest.fixture
def task(line: Line) -> Task:
    return line.open()


def refused(line: Line, kind: type[ReportRejected], report: Report | bytes, now: int = NOW) -> str:
    """The report is refused for this reason and no other, counted under its code, and leaves nothing."""
    before, rows = line.coordinator.intake.outcomes(), count(line)
    with pytest.raises(ReportRejected) as caught:
        line.coordinator.accept(report if isinstance(report, bytes) else report.to_bytes(), now)
    assert type(caught.value) is kind, caught.value
    gained = Counter(line.coordinator.intake.outcomes()) - Counter(before)
    assert gained == {CODES[kind]: 1}
    assert count(line) == rows
    return str(caught.value)


def count(line: Line) -> int:
    newest = line.coordinator.store.newest()
    assert newest is not None
    return line.coordinator.store.reports.count(newest.task_id)


def test_a_report_is_counted_once_however_often_it_comes(line: Line, task: Task) -> None:
    content = line.report(task).to_bytes()
    assert [line.coordinator.accept(content, NOW) for _ in range(3)] == ["accepted", "duplicate", "duplicate"]
    assert line.coordinator.store.reports.tally(task.task_id) == {"block:0": 1, "issuer:shop": 1}
    assert line.coordinator.intake.outcomes() == {"accepted": 1, "duplicate": 2}


def test_the_same_report_on_many_connections_at_once_is_counted_once(line: Line, task: Task) -> None:
    content = line.report(task).to_bytes()
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda _: line.coordinator.accept(content, NOW), range(64)))
    assert statuses == {"accepted": 1, "duplicate": 63}
    assert count(line) == 1


def test_of_two_contents_under_one_id_the_first_is_kept(line: Line, task: Task) -> None:
    report = line.report(task)
    line.coordinator.accept(report.to_bytes(), NOW)
    other = replace(line.report(task, seed=1), report_id=report.report_id)
    refused(line, ConflictingReport, other)
    assert line.coordinator.accept(report.to_bytes(), NOW) == "duplicate"


def test_an_id_is_never_used_again_in_a_later_round(line: Line, task: Task) -> None:
    made = line.fill(task, 4)
    line.settle()
    later = line.open(NOW + 100)
    again = replace(line.report(later), report_id=made[0][0].report_id)
    refused(line, ConflictingReport, again, NOW + 100)


def test_a_retry_is_a_duplicate_after_the_round_has_long_ended(line: Line, task: Task) -> None:
    made = line.fill(task, 4)
    line.settle()
    line.open(NOW + 100)
    for report in made[1]:
        assert line.coordinator.accept(report.to_bytes(), task.deadline + 10**6) == "duplicate"


def test_a_report_after_the_deadline_is_late(line: Line, task: Task) -> None:
    report = line.report(task)
    refused(line, LateReport, report, task.deadline + 1)
    assert line.coordinator.accept(report.to_bytes(), task.deadline) == "accepted"


def test_a_report_after_the_goal_is_late_although_the_deadline_is_not_over(line: Line, task: Task) -> None:
    line.fill(task, 4)
    report = line.report(task)
    line.settle()
    refused(line, LateReport, report)


def test_a_report_that_meets_the_round_closing_is_late(line: Line, task: Task) -> None:
    """Its head was judged while the round was open; the transaction knows better."""
    line.coordinator.store.close(task.task_id)
    refused(line, LateReport, line.report(task))


def test_a_report_to_another_round_is_stale(line: Line, task: Task) -> None:
    line.fill(task, 4)
    old = line.report(task)
    line.settle()
    later = line.open(NOW + 100)
    refused(line, StaleReport, old, NOW + 100)
    refused(line, StaleReport, replace(line.report(later), task_id="training-99-ffffffff"), NOW + 100)


def test_what_is_no_report_is_malformed(line: Line, task: Task) -> None:
    content = line.report(task).to_bytes()
    for broken in (b"", content[:50], b"OSR9" + content[4:], content[:-1], content + b"x", os.urandom(500)):
        refused(line, MalformedReport, broken)


def test_what_does_not_fit_the_task_is_named(line: Line, task: Task) -> None:
    report = line.report(task)
    assert "block=2" in refused(line, MismatchedReport, replace(report, block=2))
    short = replace(report, service_share=report.service_share[:-4])
    assert "service_share" in refused(line, MismatchedReport, short)
    assert "sealed_seed" in refused(line, MismatchedReport, replace(report, sealed_seed=bytes(79)))
    long = replace(report, service_share=report.service_share + bytes(4))
    assert "service_share" in refused(line, OversizedReport, long)


def test_a_token_is_needed_and_good_for_one_report_a_round(line: Line, task: Task) -> None:
    refused(line, TokenInvalid, replace(line.report(task), token=b"forged"))
    token = line.token(task)
    first, second = line.report(task, token=token), line.report(task, token=token)
    line.coordinator.accept(first.to_bytes(), NOW)
    refused(line, TokenSpent, second)
    line.fill(task, 4)
    line.settle()
    later = line.open(NOW + 100)
    assert "another task" in refused(line, TokenInvalid, line.report(later, token=token), NOW + 100)
    assert line.coordinator.accept(line.report(later).to_bytes(), NOW + 100) == "accepted"


def test_one_token_on_many_connections_at_once_is_spent_once(line: Line, task: Task) -> None:
    token = line.token(task)
    reports = [line.report(task, seed=seed, token=token).to_bytes() for seed in range(12)]

    def post(content: bytes) -> str:
        try:
            return line.coordinator.accept(content, NOW)
        except TokenSpent:
            return "spent"

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(post, reports)) == {"accepted": 1, "spent": 11}


def test_an_issuer_has_a_bound_of_reports_a_round(tmp_path: Path) -> None:
    line = a_line(tmp_path, issuer_reports=3)
    task = line.open()
    for key in ("shop", "shop#a", "shop#b"):
        line.coordinator.accept(line.report(task, issuer=key).to_bytes(), NOW)
    assert "issuer=shop" in refused(line, IssuerFull, line.report(task, issuer="shop#c"))  # keys share the bound
    stop(line)


def test_a_block_takes_no_more_than_its_sum_can_hold(tmp_path: Path) -> None:
    line = a_line(tmp_path, plan=replace(PLAN, max_reports=4), goal_reports=100)
    task = line.open()
    for seed in range(4):
        line.coordinator.accept(line.report(task, seed=seed).to_bytes(), NOW)
    refused(line, RoundFull, line.report(task))
    assert line.coordinator.accept(line.report(task, 1).to_bytes(), NOW) == "accepted"
    stop(line)


def test_bounds_hold_between_processes_on_one_store(tmp_path: Path, postgres_url: str) -> None:
    """Two intakes with a transaction of their own each; the same holds for two machines."""
    line = a_line(tmp_path, url=postgres_url, plan=replace(PLAN, max_reports=7), goal_reports=100)
    task = line.open()
    other = Coordinator(
        CoordinatorStore.open(postgres_url),
        line.custodian,
        tmp_path / "state",
        line.coordinator.plan,
        line.coordinator.settings,
        line.issuer,
        custodian_key=line.custodian.custodian.key.public,
    )
    reports = [line.report(task, seed=seed).to_bytes() for seed in range(20)]

    def post(n: int) -> str:
        try:
            return (line.coordinator, other)[n % 2].accept(reports[n // 2], NOW)
        except RoundFull:
            return "full"

    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(post, range(40)))
    assert statuses["accepted"] == 7
    assert line.coordinator.store.reports.tally(task.task_id)["block:0"] == 7
    assert count(line) == 7
    other.stop()
    other.store.engine.dispose()
    line.settle(task.deadline + 1)
    assert line.coordinator.store.sums(task.task_id)[0].counted == 7
    stop(line)


def test_an_answer_comes_only_after_the_commit(line: Line, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, order = threading.Event(), []

    def react(point: str) -> None:
        order.append((point, count(line)))
        if point == "shares synced":
            gate.wait(10)

    monkeypatch.setattr(write_points, "react", react)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(line.coordinator.accept, line.report(task).to_bytes(), NOW)
        wait_until(lambda: bool(order) and order[-1][0] == "shares synced")
        assert not answer.done()
        gate.set()
        assert answer.result(10) == "accepted"
    assert order == [("shares written", 0), ("shares synced", 0), ("reports committed", 1)]


def wait_until(happened: Callable[[], bool], patience_s: float = 50.0) -> None:
    """Wait for another thread; on a busy machine that takes a while, but never for ever."""
    end = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def test_what_comes_while_a_group_is_written_shares_the_next_commit(
    line: Line, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, commits = threading.Event(), []

    def react(point: str) -> None:
        if point == "reports committed":
            commits.append(count(line))
            gate.wait(60)

    monkeypatch.setattr(write_points, "react", react)
    reports = [line.report(task, seed=seed).to_bytes() for seed in range(9)]
    intake = line.coordinator.intake
    with ThreadPoolExecutor(9) as pool:
        answers = [pool.submit(line.coordinator.accept, reports[0], NOW)]
        wait_until(lambda: commits == [1])
        answers += [pool.submit(line.coordinator.accept, content, NOW) for content in reports[1:]]
        wait_until(lambda: intake._queue.qsize() == 8)
        gate.set()
        assert {answer.result(10) for answer in answers} == {"accepted"}
    assert commits == [1, 9]


def test_a_full_disk_refuses_and_loses_nothing(line: Line, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    report = line.report(task)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("federation.service.intake.share_files.os.fdatasync", full)
        refused(line, IntakeUnavailable, report)
    assert line.coordinator.accept(report.to_bytes(), NOW) == "accepted"


def test_a_store_that_fails_refuses_and_loses_nothing(
    line: Line, task: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    report = line.report(task)
    with monkeypatch.context() as patch:
        failure = OperationalError("insert", {"serial": report.token}, Exception("disk I/O error"))
        patch.setattr(line.coordinator.store.reports, "admit", lambda *_: (_ for _ in ()).throw(failure))
        refused(line, IntakeUnavailable, report)
    assert "OperationalError" in caplog.text
    assert report.token.hex() not in caplog.text
    assert repr(report.token) not in caplog.text
    assert line.coordinator.accept(report.to_bytes(), NOW) == "accepted"


def test_reports_survive_a_restart(tmp_path: Path) -> None:
    line = a_line(tmp_path)
    task = line.open()
    made = line.fill(task, 3)
    stop(line)
    line = a_line(tmp_path)
    assert line.coordinator.task() == task
    for report in made[0]:
        assert line.coordinator.accept(report.to_bytes(), NOW) == "duplicate"
    line.serial = 100
    line.fill(task, 1)
    line.settle()
    assert [found.counted for found in line.coordinator.store.sums(task.task_id).values()] == [4, 4]
    stop(line)


def test_every_refusal_has_a_code_of_its_own() -> None:
    assert len(set(CODES.values())) == len(CODES)


def test_sqlite_syncs_every_commit(tmp_path: Path) -> None:
    store = CoordinatorStore.open(sqlite_url(tmp_path / "rounds.sqlite"))
    with store.engine.connect() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 2]
    store.engine.dispose()
