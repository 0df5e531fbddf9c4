"""What answers have cost, and whether one more round is within the plan."""

from __future__ import annotations

import sqlalchemy as sa

from data.errors import BudgetExhausted
from federation.custodian.policy import ExperimentTerms
from federation.custodian.rows import TRAINING, UNANSWERED, count_if
from federation.custodian.schema import ROUNDS
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.report_share import proof_error
from federation.protocol.messages import Purpose, Task


def spent_on(
    connection: sa.Connection, task: Task, rounds: int, plan: PrivacyPlan, experiments: ExperimentTerms | None
) -> dict[str, float | None]:
    """Compute ε of the installation asked most, and its δ.

    By training rounds, of which those without an answer cost what their proofs tell; or by this experiment, all its
    windows. rounds: of the task's purpose, answered so far.
    """
    if task.purpose is Purpose.TRAINING:
        unanswered = connection.execute(sa.select(count_if(UNANSWERED))).scalar_one()
        epsilon = plan.epsilon_of_rounds(rounds, proof_error(task.plan, task.suite), unanswered)
        return {"epsilon": epsilon if plan.private else None, "delta": plan.delta}
    assert experiments is not None
    delta = experiments.delta
    return {"epsilon": epsilon_of(rho_of(task.plan), delta) if task.plan.private else None, "delta": delta}


def check_budget(
    connection: sa.Connection,
    purpose: Purpose,
    given_up: int,
    plan: PrivacyPlan,
    experiments: ExperimentTerms | None,
) -> None:
    """Raise BudgetExhausted unless one more round is allowed: beside those answered, and those open that may yet be.

    given_up: answers that a restored database lacks.
    """
    same_purpose = TRAINING if purpose is Purpose.TRAINING else ~TRAINING
    taken = sa.or_(ROUNDS.c.answered > 0, ROUNDS.c.closed_at.is_(None)) & same_purpose
    rounds = connection.execute(sa.select(count_if(taken))).scalar_one() + given_up
    if purpose is Purpose.TRAINING and rounds >= plan.max_rounds:
        raise BudgetExhausted(f"rounds={rounds + 1}: must be at most max_rounds={plan.max_rounds}")
    if purpose is Purpose.EXPERIMENT and experiments and rounds >= experiments.max_windows:
        raise BudgetExhausted(f"windows={rounds + 1}: must be at most max_windows={experiments.max_windows}")
