"""The custodian's side of a task: which tasks it signs, and which batches it answers for them."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from data.strict import read_strictly
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.custodian_half import Round, answer
from federation.private_sum.exchange import MAX_BATCH_BYTES, Answer, Batch
from federation.private_sum.refusals import ForeignTask, PlanRefused, TaskRefused
from federation.private_sum.report_share import seed_bytes
from federation.private_sum.sealing import new_round_key
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task


@dataclass(frozen=True)
class CustodianPolicy:
    """The weakest task that the custodian signs. min_noise_multiplier=0 signs sums without noise: loopback only.

    max_batch_bytes: the largest batch that it reads; a task whose blocks may outgrow it could never be summed.
    """

    min_reports: int
    min_noise_multiplier: float
    max_batch_bytes: int = MAX_BATCH_BYTES


@dataclass(frozen=True)
class ExperimentTerms:
    """The weakest experiments whose windows the custodian signs, in the words of their definitions.

    max_epsilon: of one device in one experiment, all its windows together, at delta; inf signs sums without noise:
    loopback only. max_windows: answered for, ever, of all experiments.
    """

    max_epsilon: float = 1.0
    delta: float = 1e-6
    min_reports: int = 1_000
    max_windows: int = 10_000

    def __post_init__(self) -> None:
        for name, low, high in (("max_epsilon", 0, math.inf), ("delta", 0, 1e-3)):
            if not low < getattr(self, name) <= high:
                raise PlanRefused(f"experiments.{name}={getattr(self, name)}: must be above {low}, at most {high}")
        for name in ("min_reports", "max_windows"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise PlanRefused(f"experiments.{name}={getattr(self, name)}: must be an integer of 1 or more")

    def check(self, draft: Task) -> None:
        """Raise TaskRefused for a window that promises a device less."""
        epsilon = epsilon_of(rho_of(draft.plan), self.delta)
        if not epsilon <= self.max_epsilon:
            raise TaskRefused(f"epsilon={epsilon:.4g} of an experiment: must be at most {self.max_epsilon}")

    @staticmethod
    def from_json(text: str | bytes) -> ExperimentTerms:
        """Read the terms of a JSON object; what is not named keeps its default. Raises PlanRefused."""
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise PlanRefused(f"experiments: is no JSON ({error})") from None
        return read_strictly(ExperimentTerms, raw, "experiments", infinite=True, error=PlanRefused)


def open_round(draft: Task, policy: CustodianPolicy, key: SigningKey) -> tuple[Task, Round]:
    """Sign the service's draft with a fresh round key, and make the round that the custodian keeps.

    Whatever key and signature the draft has are replaced. Raises TaskRefused for a draft weaker than the policy.
    """
    if draft.plan.min_reports < policy.min_reports:
        raise TaskRefused(f"min_reports={draft.plan.min_reports}: must be at least {policy.min_reports}")
    if not draft.plan.sigma**2 >= policy.min_noise_multiplier**2 * draft.plan.sensitivity_squared:
        raise TaskRefused(
            f"noise_multiplier={draft.plan.noise_multiplier:.4g}: must be at least {policy.min_noise_multiplier}"
        )
    most = Batch.most_reports(policy.max_batch_bytes, seed_bytes(draft.plan, draft.suite))
    if draft.plan.max_reports > most:
        raise TaskRefused(
            f"max_reports={draft.plan.max_reports}: must be at most {most} with suite={draft.suite}, for a batch of"
            f" {policy.max_batch_bytes} bytes"
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
    """Answer a batch by `private_sum.custodian.answer`.

    The task must carry the custodian's own signature; else ForeignTask.
    """
    if not task.is_signed_by(custodian_key):
        raise ForeignTask(f"task_id={task.task_id}: is not signed by this custodian")
    if task.hash != before.task_hash:
        raise ForeignTask(f"task_id={task.task_id}: is not the task of this round")
    return answer(batch, before, counted_before)
