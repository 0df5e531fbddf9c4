"""Entries of a log that contradict each other are found by whoever reads them all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from federation.private_sum.sealing import frame_fields
from federation.private_sum.signing import SigningKey
from federation.protocol.log_audit import LogAudit
from federation.protocol.merkle_log import LogRefused
from federation.protocol.messages import Task
from federation.protocol.no_answer import NoAnswer
from federation.protocol.transparency import (
    answer_entry,
    bundle_entry,
    clusters_entry,
    no_answer_entry,
    plan_entry,
    task_entry,
)
from tests.federation.custodian.a_custodian import draft

KEY = SigningKey.from_private(bytes(range(3, 35)))


def task_of(**changes: object) -> Task:
    made = replace(draft(), **changes)
    return replace(made, round_public_key=bytes(32)).signed_by(KEY)


TASK = task_of()
OPENING = [plan_entry("{}"), bundle_entry(TASK), clusters_entry("shop-7", bytes(32)), task_entry(TASK)]


def unanswered(*blocks: int, key: SigningKey = KEY) -> bytes:
    return no_answer_entry(NoAnswer(TASK.hash, blocks, 9).signed_by(key))


def answered(block: int, task_hash: bytes = TASK.hash) -> bytes:
    return answer_entry(task_hash, block, bytes(32))


def audit(*entries: bytes) -> LogAudit:
    made = LogAudit(KEY.public)
    for entry in (*OPENING, *entries):
        made.add(entry)
    return made


def test_a_log_without_contradictions_is_counted() -> None:
    assert len(TASK.blocks) >= 2
    found = audit(answered(0), unanswered(1), unanswered(1), frame_fields(b"of a newer program", b"?"))
    expected = {"plan": 1, "bundle": 1, "clusters": 1, "task": 1, "answer": 1, "no-answer": 2, "unknown": 1}
    assert found.kinds == expected


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([answered(0), answered(0)], "is answered twice"),
        ([answered(0), unanswered(0, 1)], "is answered, and said not to be"),
        ([unanswered(0, 1), answered(0)], "is answered after its round was closed"),
        ([unanswered(0), unanswered(1)], "unanswered in two ways"),
        ([unanswered(0, key=SigningKey.generate())], "not signed by the custodian"),
        ([answered(10_000)], "was never signed"),
        ([answered(0, bytes(32))], "was never signed"),
        ([clusters_entry("shop-7", b"\1" * 32)], "clusters shop-7: has two hashes"),
        ([bundle_entry(replace(TASK, bundle_hash=b"\1" * 32))], "has two hashes"),
        ([task_entry(task_of(task_id="b", bundle_hash=b"\1" * 32))], "another bundle than the log has"),
        ([task_entry(replace(task_of(task_id="b"), signature=bytes(64)))], "is not signed by the custodian"),
        ([frame_fields(b"answer", TASK.hash)], "argument"),
        ([b"\xff\xff"], "bytes wanted"),
    ],
)
def test_a_contradiction_is_named(entries: list[bytes], why: str) -> None:
    with pytest.raises(LogRefused, match=why):
        audit(*entries)
