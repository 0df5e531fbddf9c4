from __future__ import annotations

import pytest

from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Task
from tests.federation.private_sum.a_round import a_draft, a_plan, a_task


def test_a_draft_survives_the_wire_and_holds_neither_key_nor_signature() -> None:
    draft = a_draft(a_plan(sigma=7))
    assert Task.from_draft_bytes(draft.draft_bytes()) == draft


def test_a_signed_task_has_the_draft_it_came_from() -> None:
    task, _ = a_task()
    assert task.draft_bytes() == a_draft(a_plan()).draft_bytes()


def test_a_draft_is_no_task_and_a_task_no_draft() -> None:
    task, _ = a_task()
    with pytest.raises(TaskRefused):
        Task.from_bytes(task.draft_bytes())
    with pytest.raises(TaskRefused):
        Task.from_draft_bytes(task.to_bytes())
    with pytest.raises(TaskRefused):
        Task.from_draft_bytes(task.signed_bytes)


def test_a_draft_cut_anywhere_is_refused() -> None:
    whole = a_draft(a_plan()).draft_bytes()
    for length in range(len(whole)):
        with pytest.raises(TaskRefused):
            Task.from_draft_bytes(whole[:length])
    with pytest.raises(TaskRefused):
        Task.from_draft_bytes(whole + b"\0")
