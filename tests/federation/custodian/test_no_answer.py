"""What the custodian says it never answered: only of a round whose key is gone, and never of what it answered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from federation.custodian.custodian import Custodian
from federation.custodian.log_store import RoundOpen
from federation.private_sum.refusals import AlreadyCounted, ForeignTask
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task
from federation.protocol.no_answer import (
    MAX_NO_ANSWERS,
    NoAnswer,
    NoAnswerRefused,
    no_answers_from_bytes,
    no_answers_to_bytes,
)
from federation.protocol.transparency import answer_entry, entries_from_bytes, no_answer_entry
from tests.federation.custodian.a_custodian import a_batch, a_custodian, draft, in_process, now


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = a_custodian(tmp_path / "custodian")
    yield opened
    opened.shut()


def signed(custodian: Custodian, task_id: str = "a") -> Task:
    return Task.from_bytes(custodian.open_round(draft(task_id=task_id).draft_bytes(), now()))


def test_a_closed_round_is_said_to_have_no_answer_but_for_the_blocks_that_were_answered(custodian: Custodian) -> None:
    task = signed(custodian)
    assert len(task.blocks) > 1
    batch = a_batch(task, block=1)
    custodian.answer(batch.to_bytes(), now())
    with pytest.raises(RoundOpen, match="may still be answered"):
        custodian.no_answer("a")
    custodian.close("a", now())
    content = custodian.no_answer("a")
    statement = NoAnswer.from_bytes(content)
    statement.check(custodian.key.public)
    assert statement.task_hash == task.hash
    assert statement.blocks == tuple(block for block in range(len(task.blocks)) if block != 1)
    custodian.close("a", now() + 100)
    assert custodian.no_answer("a") == content
    entries = entries_from_bytes(custodian.log_entries(0))
    assert entries[-2:] == [answer_entry(task.hash, 1, batch.digest), no_answer_entry(statement)]


def test_after_the_statement_nothing_is_answered(custodian: Custodian) -> None:
    task = signed(custodian)
    custodian.close("a", now())
    custodian.no_answer("a")
    assert custodian.round_keys.read(task.hash) is None
    with pytest.raises(ForeignTask):
        custodian.answer(a_batch(task).to_bytes(), now())


def test_a_key_that_is_still_there_forbids_the_statement(custodian: Custodian) -> None:
    task = signed(custodian)
    private = custodian.round_keys.read(task.hash)
    assert private is not None
    custodian.close("a", now())
    custodian.round_keys.write(task.hash, private)  # as a restored folder of keys would have it
    with pytest.raises(RoundOpen, match="may still be answered"):
        custodian.no_answer("a")


def test_a_restored_database_states_nothing_and_once_accepted_nothing_of_what_was_answered(tmp_path: Path) -> None:
    folder, kept = tmp_path / "custodian", tmp_path / "kept"
    custodian = a_custodian(folder)
    task = signed(custodian)
    custodian.shut()
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("round-keys", "answered"))
    custodian = a_custodian(folder)
    custodian.answer(a_batch(task, block=1).to_bytes(), now())
    custodian.shut()
    for path in folder.glob("custodian.sqlite*"):
        path.unlink()
    for path in kept.glob("custodian.sqlite*"):
        shutil.copy(path, folder / path.name)
    custodian = a_custodian(folder)
    with pytest.raises(AlreadyCounted):
        custodian.answer(a_batch(task, block=1).to_bytes(), now())
    custodian.close("a", now())
    with pytest.raises(RoundOpen, match="was restored"):
        custodian.no_answer("a")
    custodian.shut()
    custodian = Custodian.open(folder, custodian.plan, now(), accept_restore=True)
    assert 1 not in NoAnswer.from_bytes(custodian.no_answer("a")).blocks
    custodian.shut()


def test_anybody_may_ask_for_it(custodian: Custodian) -> None:
    signed(custodian, "a")
    custodian.close("a", now())
    signed(custodian, "b")
    with httpx.Client(transport=in_process(custodian), base_url="http://localhost") as client:
        assert client.get("/v1/rounds/a/no-answer").content == custodian.no_answer("a")
        for task_id, status, code in (("b", 409, "round_open"), ("nobody", 404, "foreign_task")):
            answer = client.get(f"/v1/rounds/{task_id}/no-answer")
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


KEY = SigningKey.from_private(bytes(range(2, 34)))
STATEMENT = NoAnswer(bytes(range(32)), (0, 3, 7), 1_800_000_000).signed_by(KEY)


def test_bytes_are_read_as_they_were_written_and_nothing_else_is() -> None:
    assert NoAnswer.from_bytes(STATEMENT.to_bytes()) == STATEMENT
    STATEMENT.check(KEY.public)
    for changed in (
        replace(STATEMENT, blocks=(0, 3)),
        replace(STATEMENT, at=1),
        replace(STATEMENT, task_hash=bytes(32)),
        STATEMENT.signed_by(SigningKey.generate()),
    ):
        with pytest.raises(NoAnswerRefused, match="not signed"):
            changed.check(KEY.public)
    whole = STATEMENT.to_bytes()
    for data in (
        b"",
        b"OSN1",
        whole[:-1],
        whole + b"\0",
        b"OSP1" + whole[4:],
        replace(STATEMENT, blocks=(3, 3)).to_bytes(),
    ):
        with pytest.raises(NoAnswerRefused):
            NoAnswer.from_bytes(data)


def test_of_many_statements_the_newest_are_handed_out() -> None:
    written = [replace(STATEMENT, at=at).signed_by(KEY).to_bytes() for at in range(MAX_NO_ANSWERS + 5)]
    found = no_answers_from_bytes(no_answers_to_bytes(written))
    assert [statement.at for statement in found] == list(range(MAX_NO_ANSWERS))
    assert no_answers_from_bytes(no_answers_to_bytes([])) == []
    wide = NoAnswer(bytes(32), tuple(range(65_536)), 1).signed_by(KEY).to_bytes()
    assert len(no_answers_from_bytes(no_answers_to_bytes([wide] * 9))) == 3  # 262 kB each, 1 MB together
    with pytest.raises(NoAnswerRefused):
        no_answers_from_bytes(b"\xff" * 8)
