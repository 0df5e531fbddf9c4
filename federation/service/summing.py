"""The service's side of a round's sums: what it passes on to the custodian, and the sum it gets out of both halves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from federation.private_sum.exchange import Answer, Batch, SealedSeed
from federation.private_sum.refusals import BatchRefused, ProofFailed
from federation.private_sum.sealing import Binding
from federation.private_sum.service_half import finished_sum, seed_for_custodian
from federation.protocol.messages import Report, Task


def batch_of(task: Task, block: int, reports: Iterable[Report]) -> Batch:
    """Build the question to the custodian: ids, sealed seeds and tokens of one block's reports, never their shares.

    Of a verified suite also what the service opens of each proof; a report whose share is none is left out.
    """
    seeds = (
        seed_of(task, block, report.report_id, report.sealed_seed, report.token, report.service_share)
        for report in reports
    )
    return Batch(task.hash, block, tuple(seed for seed in seeds if seed is not None), task.suite.verified)


def seed_of(
    task: Task, block: int, report_id: bytes, sealed_seed: bytes, token: bytes, share: bytes
) -> SealedSeed | None:
    """Build what the custodian gets of one report.

    None if its share cannot be opened. share: not read if not verified.
    """
    binding = Binding(task.hash, report_id, block, task.plan.length)
    try:
        seed = seed_for_custodian(task.plan, task.suite, binding, sealed_seed, share)
    except ProofFailed:
        return None
    return replace(seed, token=token)


def sum_of(task: Task, shares: Mapping[bytes, bytes], answer: Answer) -> npt.NDArray[np.int32]:
    """Sum one block with both parties' noise, (plan.length,) int32; `decode(task.plan, …)` gives its parts.

    shares: service share of each report id of the block. Those the custodian did not count are left out; raises
    BatchRefused if one it counted is missing.
    """
    missing = [report_id for report_id in answer.counted if report_id not in shares]
    if missing:
        raise BatchRefused(f"block={answer.block}: {len(missing)} counted reports have no share")
    return finished_sum(task.plan, task.suite, (shares[report_id] for report_id in answer.counted), answer)
