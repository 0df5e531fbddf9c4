"""The custodian's side of a task: which tasks it signs, and which batches it answers for them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from federation.messages import Task
from federation.private_sum.custodian import Round, answer
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.refusals import ForeignTask, TaskRefused
from federation.private_sum.sealing import new_round_key
from federation.private_sum.signing import SigningKey


@dataclass(frozen=True)
class CustodianPolicy:
    """The weakest task that the custodian signs. min_noise_multiplier=0 signs sums without noise: loopback only."""

    min_reports: int
    min_noise_multiplier: float


def open_round(draft: Task, policy: CustodianPolicy, key: SigningKey) -> tuple[Task, Round]:
    """The service's draft with a fresh round key and the custodian's signature, and the round the custodian keeps.

    Whatever key and signature the draft has are replaced. Raises TaskRefused for a draft weaker than the policy.
    """
    if draft.plan.min_reports < policy.min_reports:
        raise TaskRefused(f"min_reports={draft.plan.min_reports}: must be at least {policy.min_reports}")
    if not draft.plan.sigma**2 >= policy.min_noise_multiplier**2 * draft.plan.sensitivity_squared:
        raise TaskRefused(
            f"noise_multiplier={draft.plan.noise_multiplier:.4g}: must be at least {policy.min_noise_multiplier}"
        )
    round_key = new_round_key(draft.suite)
    task = replace(draft, round_public_key=round_key.public).signed_by(key)
    return task, Round(task.hash, task.plan, len(task.blocks), round_key)


def answer_batch(
    task: Task,
    batch: Batch,
    before: Round,
    custodian_key: bytes,
    counted_before: Collection[bytes] = frozenset(),
) -> tuple[Round, Answer]:
    """`private_sum.custodian.answer`, for a task that carries the custodian's own signature; else ForeignTask."""
    if not task.is_signed_by(custodian_key):
        raise ForeignTask(f"task_id={task.task_id}: is not signed by this custodian")
    if task.hash != before.task_hash:
        raise ForeignTask(f"task_id={task.task_id}: is not the task of this round")
    return answer(batch, before, counted_before)
