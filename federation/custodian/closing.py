"""How a round ends at the custodian: closed for good, its key destroyed, and said in public what was not answered.

A closed round is never answered again, and the statement is given only once its key is gone. What a block's answer
cost is then nobody's: federation/protocol/no_answer.py.
"""

from __future__ import annotations

import sqlalchemy as sa

from federation.custodian.answer_markers import AnswerMarkers
from federation.custodian.log_store import RoundOpen, log_no_answer
from federation.custodian.round_keys import RoundKeys
from federation.custodian.rows import answers_given
from federation.custodian.schema import LEDGER, ROUNDS
from federation.private_sum.refusals import ForeignTask
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task
from federation.protocol.no_answer import NoAnswer


def close_round(connection: sa.Connection, task_hash: bytes, markers: AnswerMarkers, key: SigningKey, now: int) -> None:
    """Close a round, unless it is closed, and log for which of its blocks there will be no answer."""
    still_open = ROUNDS.c.closed_at.is_(None) & (ROUNDS.c.task_hash == task_hash)
    if connection.execute(ROUNDS.update().where(still_open).values(closed_at=now)).rowcount:
        statement = _statement(connection, task_hash, markers, key)
        if statement.blocks:
            log_no_answer(connection, statement)


def overdue_rounds(connection: sa.Connection, before: int) -> list[bytes]:
    """List the rounds (task hashes) that nobody closed and whose deadline is before a moment."""
    overdue = sa.and_(ROUNDS.c.closed_at.is_(None), ROUNDS.c.deadline < before)
    return list(connection.execute(sa.select(ROUNDS.c.task_hash).where(overdue)).scalars())


def no_answer(
    connection: sa.Connection, task_id: str, markers: AnswerMarkers, key: SigningKey, round_keys: RoundKeys
) -> NoAnswer:
    """State for which blocks of a closed round there was no answer.

    Raises ForeignTask for an unknown task, RoundOpen while it may be answered, or while the database is one restored
    from a backup, which has forgotten answers.
    """
    held = sa.select(ROUNDS.c.task_hash, ROUNDS.c.closed_at).where(ROUNDS.c.task_id == task_id)
    row = connection.execute(held).one_or_none()
    if row is None:
        raise ForeignTask(f"task_id={task_id}: was not signed here")
    if row.closed_at is None or round_keys.read(row.task_hash) is not None:
        raise RoundOpen(f"task_id={task_id}: may still be answered")
    if markers.missing(answers_given(connection)):
        raise RoundOpen(f"task_id={task_id}: the database was restored, what it has answered is not known")
    return _statement(connection, row.task_hash, markers, key)


def _statement(connection: sa.Connection, task_hash: bytes, markers: AnswerMarkers, key: SigningKey) -> NoAnswer:
    row = connection.execute(sa.select(ROUNDS.c.task, ROUNDS.c.closed_at).where(ROUNDS.c.task_hash == task_hash)).one()
    answered = set(connection.execute(sa.select(LEDGER.c.block).where(LEDGER.c.task_hash == task_hash)).scalars())
    blocks = range(len(Task.from_bytes(row.task).blocks))
    left = tuple(block for block in blocks if block not in answered and not markers.is_marked(task_hash, block))
    return NoAnswer(task_hash, left, row.closed_at).signed_by(key)
