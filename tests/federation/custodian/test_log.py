"""What the custodian signs is in a log that anybody can check, and one version has one hash for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from federation.custodian.custodian import Custodian
from federation.custodian.log_store import RoundOpen
from federation.custodian.schema import BUNDLES, LOG
from federation.private_sum.refusals import ForeignTask, TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogHead, LogRefused, leaf_hash, root_of
from federation.protocol.messages import Block, Task, blocks_of
from federation.protocol.no_answer import NoAnswer
from federation.protocol.transparency import (
    LogProof,
    SeenHead,
    bundle_entry,
    entries_from_bytes,
    entries_to_bytes,
    no_answer_entry,
    plan_entry,
    task_entry,
)
from federation.storage import crash_points
from tests.federation.custodian.a_custodian import a_promise, bare_custodian, draft, in_process, now


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = bare_custodian(tmp_path)
    yield opened
    opened.shut()


def signed(custodian: Custodian, task_id: str, **changes: object) -> Task:
    task = Task.from_bytes(custodian.open_round(replace(draft(task_id=task_id), **changes).draft_bytes(), now()))
    custodian.close(task_id, now())
    return task


def unanswered(custodian: Custodian, task_id: str) -> bytes:
    """What the log says of a round that was closed without an answer."""
    return no_answer_entry(NoAnswer.from_bytes(custodian.no_answer(task_id)))


def entries(custodian: Custodian, start: int = 0) -> list[bytes]:
    return entries_from_bytes(custodian.log_entries(start))


def test_plan_bundles_and_tasks_are_logged_in_the_order_they_were_signed(custodian: Custodian) -> None:
    first, second = signed(custodian, "a"), signed(custodian, "b")
    other = signed(custodian, "c", bundle_version="shop-8", bundle_hash=bytes(32))
    a, b, c = (unanswered(custodian, task_id) for task_id in "abc")
    expected = [plan_entry(custodian.plan.to_json()), bundle_entry(first), task_entry(first), a, task_entry(second), b]
    expected += [bundle_entry(other), task_entry(other), c]
    assert entries(custodian) == expected
    assert entries(custodian, 4) == expected[4:]
    head = LogHead.from_bytes(custodian.log_head(now()))
    head.check(custodian.key.public)
    assert (head.size, head.root) == (9, root_of([leaf_hash(entry) for entry in expected]))


def test_the_same_draft_again_adds_nothing(custodian: Custodian) -> None:
    asked = draft()
    for _ in range(3):
        custodian.open_round(asked.draft_bytes(), now())
    assert len(entries(custodian)) == 3


def test_a_second_hash_of_a_version_is_refused_for_ever(tmp_path: Path) -> None:
    for start in range(2):
        custodian = bare_custodian(tmp_path)
        if start == 0:
            signed(custodian, "a")
        with pytest.raises(TaskRefused, match="a version has one hash for ever"):
            signed(custodian, "for-one-victim", bundle_hash=bytes(32))
        assert len(entries(custodian)) == 4
        assert not list(custodian.round_keys.folder.glob("[!.]*"))
        custodian.shut()


def test_one_training_round_is_open_at_a_time(custodian: Custodian) -> None:
    task = Task.from_bytes(custodian.open_round(draft(task_id="a").draft_bytes(), now()))
    before = entries(custodian)
    with pytest.raises(RoundOpen, match="round a must be closed first"):
        custodian.open_round(draft(task_id="b").draft_bytes(), now())
    assert entries(custodian) == before
    custodian.open_round(replace(draft(task_id="b"), deadline=task.deadline + 100).draft_bytes(), task.deadline + 1)


def a_round_of(n_items: int, rows: int, dim: int, **changes: object) -> Callable[[Task], Task]:
    plan = a_promise().sum_plan(rows, dim)
    return lambda task: replace(task, plan=plan, blocks=blocks_of(n_items, rows), **changes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda task: replace(task, plan=replace(task.plan, sigma=task.plan.sigma + 1)), "plan: must be"),
        (lambda task: replace(task, plan=replace(task.plan, max_reports=999)), "plan: must be"),
        (lambda task: with_part(task, 1, scale=task.plan.parts[1].scale * 2), "noise_multiplier"),
        (lambda task: with_part(task, 1, scale=task.plan.parts[1].scale / 2), "plan: must be"),
        (lambda task: with_part(task, 0, clip_norm=task.plan.parts[0].clip_norm / 2), "plan: must be"),
        (lambda task: with_part(task, 0, name="else"), "parts="),
        (lambda task: replace(task, blocks=(Block(0, 4), Block(2, 6))), "blocks: must cut"),
        (lambda task: replace(task, blocks=(Block(3, 7),)), "blocks: must cut"),
        (a_round_of(1, 1, 3), "items=1: must be at least min_items=9"),
        (a_round_of(10, 4, 1), "dim=1: must be at least min_dim=2"),
    ],
)
def test_a_plan_that_is_not_the_promises_own_is_refused(
    tmp_path: Path, change: Callable[[Task], Task], named: str
) -> None:
    custodian = Custodian.open(tmp_path / "strict", replace(a_promise(), min_items=9, min_dim=2), now())
    with pytest.raises(TaskRefused, match=named):
        custodian.open_round(change(draft()).draft_bytes(), now())
    assert custodian.open_round(draft().draft_bytes(), now())
    custodian.shut()


def with_part(task: Task, at: int, **changes: object) -> Task:
    parts = list(task.plan.parts)
    parts[at] = replace(parts[at], **changes)
    return replace(task, plan=replace(task.plan, parts=tuple(parts)))


def test_a_device_follows_the_log_and_sees_a_fork(custodian: Custodian) -> None:
    public, seen = custodian.key.public, None
    for n in range(5):
        task = signed(custodian, f"round-{n}")
        proof = LogProof.from_bytes(custodian.log_proof(task.task_id, 0 if seen is None else seen.size, now()))
        with pytest.raises(LogRefused):
            proof.check(task_entry(replace(task, round=99).signed_by(custodian.key)), public, seen)
        with pytest.raises(LogRefused, match="is not signed"):
            proof.check(task_entry(task), SigningKey.generate().public, seen)
        if seen is not None:
            with pytest.raises(LogRefused, match="does not begin"):
                proof.check(task_entry(task), public, SeenHead(seen.size, bytes(32)))
            with pytest.raises(LogRefused, match="must be from"):
                proof.check(task_entry(task), public, SeenHead(seen.size + 1, seen.root))
        seen = proof.check(task_entry(task), public, seen)
    with pytest.raises(LogRefused, match="since=99"):
        custodian.log_proof("round-1", 99, now())
    with pytest.raises(ForeignTask):
        custodian.log_proof("nobody", 0, now())


def test_what_is_signed_and_what_is_logged_are_one_transaction(
    custodian: Custodian, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(point: str) -> None:
        if point == "custodian: round stored":
            raise KeyboardInterrupt

    monkeypatch.setattr(crash_points, "react", fail)
    before = entries(custodian)
    with pytest.raises(KeyboardInterrupt):
        custodian.open_round(draft().draft_bytes(), now())
    assert entries(custodian) == before
    assert custodian.totals().rounds_open == 0


def test_a_store_from_before_there_was_a_log_logs_what_it_signed(tmp_path: Path) -> None:
    custodian = bare_custodian(tmp_path)
    first, second = signed(custodian, "a"), signed(custodian, "b")
    with custodian.engine.begin() as connection:
        for table in (LOG, BUNDLES):
            connection.execute(sa.delete(table))
    custodian.shut()
    again = bare_custodian(tmp_path)
    assert set(entries(again)) == {
        plan_entry(again.plan.to_json()), bundle_entry(first), task_entry(first), task_entry(second)
    }  # fmt: skip
    assert (
        LogProof.from_bytes(again.log_proof("b", 0, now())).check(task_entry(second), again.key.public, None).size == 4
    )
    again.shut()


def test_the_log_is_open_to_everybody(custodian: Custodian) -> None:
    task = signed(custodian, "a")
    with httpx.Client(transport=in_process(custodian), base_url="http://localhost") as client:
        head = LogHead.from_bytes(client.get("/v1/log/head").content)
        proof = LogProof.from_bytes(client.get("/v1/log/proofs/a?since=1").content)
        found = client.get("/v1/log/entries?start=1")
        assert (head.size, proof.since, found.content) == (
            4,
            1,
            entries_to_bytes([bundle_entry(task), task_entry(task), unanswered(custodian, "a")]),
        )
        for path, status, code in (
            ("/v1/log/proofs/nobody", 404, "foreign_task"),
            ("/v1/log/proofs/a?since=5", 422, "log_refused"),
            ("/v1/log/proofs/a?since=-1", 422, "invalid_request"),
            ("/v1/log/entries?start=x", 422, "invalid_request"),
        ):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("data", [b"", b"OSP1", b"\1\0\0\0", b"\0" * 200])
def test_broken_bytes_are_refused(data: bytes) -> None:
    for read in (LogProof.from_bytes, LogHead.from_bytes, entries_from_bytes):
        with pytest.raises(LogRefused):
            read(data)
