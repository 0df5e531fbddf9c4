"""Rows of the custodian's tables: single statements, of which federation/custodian/custodian.py makes its steps."""

from __future__ import annotations

import sqlalchemy as sa

from data.errors import FederationError
from federation.custodian.schema import ANSWERS, COUNTED, CUSTODIAN, EXPERIMENT_ROUNDS, LEDGER, ROUNDS
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.refusals import ForeignTask
from federation.protocol.messages import Task

_IDS_AT_ONCE = 500

TRAINING = ROUNDS.c.task_hash.not_in(sa.select(EXPERIMENT_ROUNDS.c.task_hash))
"""Rounds of training; the others are windows of experiments."""


UNANSWERED = TRAINING & (ROUNDS.c.answered == 0) & ROUNDS.c.closed_at.is_not(None)
"""Training rounds that were closed without an answer: their reports cost what their proofs tell, and nothing else."""


class TaskConflict(FederationError):
    """A task_id was signed for another draft."""


def lock_writer(connection: sa.Connection) -> None:
    """Lock out other writers: only one transaction writes at a time, in whatever process."""
    connection.execute(sa.select(CUSTODIAN.c.id).with_for_update())


def count_if(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """Count the rows that satisfy a condition; 0 of none."""
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def answers_given(connection: sa.Connection) -> int:
    """Count all answers ever committed."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(LEDGER)).scalar_one())


def held_task(connection: sa.Connection, task_id: str, draft_digest: bytes) -> bytes | None:
    """Find the task signed for this draft; TaskConflict if its id was signed for another."""
    row = connection.execute(
        sa.select(ROUNDS.c.task, ROUNDS.c.draft_digest).where(ROUNDS.c.task_id == task_id)
    ).one_or_none()
    if row is not None and row.draft_digest != draft_digest:
        raise TaskConflict(f"task_id={task_id}: was signed for another draft")
    return None if row is None else bytes(row.task)


def round_row(task: Task, draft_digest: bytes) -> dict[str, object]:
    """Make the row of a round that was just signed."""
    return {
        "task_hash": task.hash,
        "task_id": task.task_id,
        "draft_digest": draft_digest,
        "task": task.to_bytes(),
        "deadline": task.deadline,
        "answered": 0,
    }


def counted_among(connection: sa.Connection, report_ids: list[bytes]) -> frozenset[bytes]:
    """Find those of the ids that any round counted."""
    counted: set[bytes] = set()
    for start in range(0, len(report_ids), _IDS_AT_ONCE):
        chunk = report_ids[start : start + _IDS_AT_ONCE]
        counted.update(
            connection.execute(sa.select(COUNTED.c.report_id).where(COUNTED.c.report_id.in_(chunk))).scalars()
        )
    return frozenset(counted)


def given_to(connection: sa.Connection, batch: Batch) -> Answer | None:
    """Find the stored answer to a batch's block."""
    row = connection.execute(
        sa.select(ANSWERS.c.answer).where(ANSWERS.c.task_hash == batch.task_hash, ANSWERS.c.block == batch.block)
    ).one_or_none()
    if row is None:
        return None
    if row.answer is None:
        raise ForeignTask(f"task_hash={batch.task_hash.hex()}: was closed long ago, its answers are forgotten")
    return Answer.from_bytes(row.answer)
