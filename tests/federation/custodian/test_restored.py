"""A custodian's database restored from a backup, again and again: it answers nothing that was answered before."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import OwnshelfError, ServingError
from federation.custodian.answer_markers import AnswerMarkers
from federation.custodian.custodian import Custodian
from federation.private_sum.exchange import Answer
from federation.private_sum.refusals import AlreadyCounted, ForeignTask, TaskRefused
from federation.protocol.messages import Task
from tests.federation.custodian.a_custodian import a_promise, batch_bytes, draft, now, some_reports, with_issuer

DATABASE = "custodian.sqlite"


def opened(folder: Path, *, accept_restore: bool = False) -> Custodian:
    return with_issuer(Custodian.open(folder, a_promise(), now(), accept_restore=accept_restore))


def signed(custodian: Custodian, task_id: str = "training-7") -> Task:
    return Task.from_bytes(custodian.open_round(replace(draft(), task_id=task_id).signed_bytes, now()))


def backup(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("round-keys", "answered"))


def restore(folder: Path, kept: Path) -> None:
    for path in folder.glob(f"{DATABASE}*"):
        path.unlink()
    for path in kept.glob(f"{DATABASE}*"):
        shutil.copy(path, folder / path.name)


def test_six_restores_give_no_answer(tmp_path: Path) -> None:
    folder, kept = tmp_path / "custodian", tmp_path / "backup"
    custodian = opened(folder)
    task = signed(custodian)
    reports = some_reports(task)
    custodian.shut()
    backup(folder, kept)
    custodian = opened(folder)
    Answer.from_bytes(custodian.answer(batch_bytes(task, reports), now()))
    custodian.shut()
    for n in range(6):
        restore(folder, kept)
        custodian = opened(folder)
        some = reports if n % 2 else reports[:-1]  # all of them, and all but one: the difference is a report
        with pytest.raises(AlreadyCounted, match="was answered, which the database has forgotten"):
            custodian.answer(batch_bytes(task, some), now())
        custodian.shut()


def test_a_round_key_dies_with_the_last_answer_whatever_the_service_does(tmp_path: Path) -> None:
    custodian = opened(tmp_path)
    task = signed(custodian)
    answers = []
    for block in range(len(task.blocks)):
        assert custodian.round_keys.read(task.hash) is not None
        answers.append((block, some_reports(task, block=block)))
        custodian.answer(batch_bytes(task, answers[-1][1], block), now())
    assert custodian.round_keys.read(task.hash) is None
    for block, reports in answers:
        given = custodian.answer(batch_bytes(task, reports, block), now())
        assert given == custodian.answer(batch_bytes(task, reports, block), now())
    with pytest.raises(OwnshelfError):
        custodian.answer(batch_bytes(task, some_reports(task, seed=1)), now())
    custodian.shut()


def test_a_restored_database_opens_no_round_until_the_operator_says_so(tmp_path: Path) -> None:
    folder, kept = tmp_path / "custodian", tmp_path / "backup"
    custodian = opened(folder)
    custodian.shut()
    backup(folder, kept)
    custodian = opened(folder)
    task = signed(custodian)
    reports = some_reports(task)
    custodian.answer(batch_bytes(task, reports), now())
    custodian.close(task.task_id, now())
    custodian.shut()
    restore(folder, kept)
    for _ in range(2):
        custodian = opened(folder)
        with pytest.raises(TaskRefused, match=r"lacks 1 answers .* start once with --accept-restore"):
            signed(custodian, "training-8")
        with pytest.raises(ForeignTask):
            custodian.answer(batch_bytes(task, reports), now())
        custodian.shut()
    custodian = opened(folder, accept_restore=True)
    assert signed(custodian, "training-8").task_id == "training-8"
    custodian.close("training-8", now())
    custodian.shut()
    custodian = opened(folder)  # once is enough
    signed(custodian, "training-9")
    assert custodian.markers.given_up() == 1
    custodian.shut()


def test_what_a_restore_lost_stays_spent(tmp_path: Path) -> None:
    markers = AnswerMarkers.open(tmp_path)
    for answered in range(1, 6):
        markers.mark(bytes(32), answered, answered)
    assert (markers.missing(5), markers.missing(3)) == (0, 2)
    markers.give_up(3)
    assert (markers.missing(3), markers.given_up(), markers.missing(2)) == (0, 2, 1)
    markers.mark(bytes(32), 9, 4)
    assert (markers.missing(4), markers.missing(3)) == (0, 1)


@pytest.mark.parametrize("content", ["", "7", "a b", "1 2 3"])
def test_a_counter_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "counter").write_text(content)
    with pytest.raises(ServingError, match="must hold two numbers"):
        AnswerMarkers.open(tmp_path).missing(0)
