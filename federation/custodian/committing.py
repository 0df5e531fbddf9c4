"""How an answer is stored: the ids it counts, the tokens it spends, its cost and its bytes, in one transaction."""

from __future__ import annotations

import sqlalchemy as sa

from federation.custodian.budget import spent_on
from federation.custodian.log_store import log_answer
from federation.custodian.policy import ExperimentTerms
from federation.custodian.rows import TRAINING, count_if
from federation.custodian.schema import ANSWERS, COUNTED, LEDGER, ROUNDS, SPENT
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.exchange import Answer
from federation.private_sum.refusals import ForeignTask
from federation.protocol.messages import Purpose, Task
from federation.storage.crash_points import crash_point


def commit_answer(
    connection: sa.Connection,
    task: Task,
    given: Answer,
    spent: list[dict[str, bytes]],
    plan: PrivacyPlan,
    experiments: ExperimentTerms | None,
    now: int,
) -> None:
    """Commit ids, tokens, ledger and answer, and log it; the transaction is the caller's.

    spent: rows of check_tokens. Raises ForeignTask for a closed round, IntegrityError for an id or a token of before.
    """
    block = {"task_hash": task.hash, "block": given.block}
    before = connection.execute(
        sa.select(ROUNDS.c.answered, ROUNDS.c.closed_at).where(ROUNDS.c.task_hash == task.hash)
    ).one()
    if before.closed_at is not None:
        raise ForeignTask(f"task_id={task.task_id}: the round is closed and its key destroyed")
    ids = [{"report_id": report_id, "task_hash": task.hash} for report_id in given.counted]
    connection.execute(COUNTED.insert(), ids)
    connection.execute(SPENT.insert(), spent)
    crash_point("custodian: ids stored")
    connection.execute(ROUNDS.update().where(ROUNDS.c.task_hash == task.hash).values(answered=before.answered + 1))
    same_purpose = TRAINING if task.purpose is Purpose.TRAINING else ~TRAINING
    rounds = connection.execute(sa.select(count_if((ROUNDS.c.answered > 0) & same_purpose))).scalar_one()
    connection.execute(
        LEDGER.insert(),
        {
            **block,
            "at": now,
            "reports": len(given.counted),
            "broken": len(given.broken) + len(given.failed),
            "sigma": task.plan.sigma,
            "noise_multiplier": task.plan.noise_multiplier,
            "rounds": rounds,
            **spent_on(connection, task, rounds, plan, experiments),
        },
    )
    crash_point("custodian: ledger stored")
    stored = {**block, "batch_digest": given.batch_digest, "answer": given.to_bytes()}
    connection.execute(ANSWERS.insert(), stored)
    log_answer(connection, task.hash, given.block, given.batch_digest)
    crash_point("custodian: answer stored")
