"""What the custodian's ledger says, in counts: for metrics and operators."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from federation.custodian.policy import ExperimentTerms
from federation.custodian.rows import TRAINING, count_if
from federation.custodian.schema import LEDGER, ROUNDS
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.report_share import proof_error
from federation.protocol.messages import Purpose, Task


@dataclass(frozen=True)
class LedgerTotals:
    """The ledger in counts, of training rounds and experiments' windows together.

    epsilon: by training, of the installation asked most; inf with privacy off. windows_answered: of the rounds
    answered, those of experiments, each of whose definitions promises a device its own ε.
    """

    rounds_open: int
    rounds_closed: int
    rounds_answered: int
    batches: int
    reports: int
    broken: int
    epsilon: float
    windows_answered: int = 0


def count_totals(connection: sa.Connection, plan: PrivacyPlan) -> LedgerTotals:
    """Count what the ledger holds; plan: whose ε it is."""
    closed, answered = ROUNDS.c.closed_at.is_not(None), ROUNDS.c.answered > 0
    rounds = connection.execute(
        sa.select(sa.func.count(), count_if(closed), count_if(answered)).select_from(ROUNDS)
    ).one()
    totals = (sa.func.coalesce(sa.func.sum(LEDGER.c[name]), 0) for name in ("reports", "broken"))
    sums = connection.execute(sa.select(sa.func.count(), *totals).select_from(LEDGER)).one()
    windows = connection.execute(sa.select(count_if(answered & ~TRAINING)).select_from(ROUNDS)).scalar_one()
    n, n_closed, n_answered = (int(value) for value in rounds)
    batches, reports, broken = (int(value) for value in sums)
    return LedgerTotals(
        rounds_open=n - n_closed,
        rounds_closed=n_closed,
        rounds_answered=n_answered,
        batches=batches,
        reports=reports,
        broken=broken,
        epsilon=plan.epsilon_of_rounds(n_answered - int(windows)),
        windows_answered=int(windows),
    )


def epsilon_spent(plan: PrivacyPlan, terms: ExperimentTerms | None, task: Task, rounds: int) -> dict[str, float | None]:
    """Compute ε of the installation asked most, and its δ, as the ledger has them.

    By training rounds, of which so many are answered, or by this experiment, all its windows. terms: of experiments.
    """
    if task.purpose is Purpose.TRAINING:
        epsilon = plan.epsilon_of_rounds(rounds, proof_error(task.plan, task.suite))
        return {"epsilon": epsilon if plan.private else None, "delta": plan.delta}
    assert terms is not None
    return {"epsilon": epsilon_of(rho_of(task.plan), terms.delta) if task.plan.private else None, "delta": terms.delta}
