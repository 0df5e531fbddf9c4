"""The service's side of a round's sums: what it passes on to the custodian, and the sum it gets out of both halves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from federation.private_sum.exchange import Answer, Batch, SealedSeed
from federation.private_sum.refusals import BatchRefused
from federation.private_sum.service_half import finished_sum
from federation.protocol.messages import Report, Task


def batch_of(task: Task, block: int, reports: Iterable[Report]) -> Batch:
    """Build the question to the custodian: ids and sealed seeds of one block's reports, never their shares."""
    seeds = tuple(SealedSeed(report.report_id, report.sealed_seed) for report in reports)
    return Batch(task.hash, block, seeds)


def sum_of(task: Task, shares: Mapping[bytes, bytes], answer: Answer) -> npt.NDArray[np.int32]:
    """Sum one block with both parties' noise, (plan.length,) int32; `decode(task.plan, …)` gives its parts.

    shares: service share of each report id of the block. Those the custodian did not count are left out; raises
    BatchRefused if one it counted is missing.
    """
    missing = [report_id for report_id in answer.counted if report_id not in shares]
    if missing:
        raise BatchRefused(f"block={answer.block}: {len(missing)} counted reports have no share")
    return finished_sum(task.plan, (shares[report_id] for report_id in answer.counted), answer.words)
