"""A small round for tests: a plan, a signed task, reports of given vectors, and the path through both parties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from federation.custodian.policy import CustodianPolicy, answer_batch, open_round
from federation.device.report import make_report
from federation.private_sum.custodian_half import Round
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Report, Task, blocks_of
from federation.service.summing import batch_of, sum_of

CUSTODIAN = SigningKey.from_private(bytes(range(32)))
LOOPBACK = CustodianPolicy(min_reports=1, min_noise_multiplier=0.0)
NOW = 1_800_000_000

PARTS = (
    Part("rows", 12, clip_norm=2.0, scale=1024.0),
    Part("counts", 3, clip_norm=4.0, scale=256.0),
    Part("one", 1, clip_norm=1.0, scale=1024.0, clamped=True),
    Part("metrics", 4, clip_norm=2.0, scale=1024.0, clamped=True),
)


def a_plan(*, min_reports: int = 1, max_reports: int = 1000, sigma: int = 0) -> SumPlan:
    return SumPlan(PARTS, min_reports=min_reports, max_reports=max_reports, sigma=sigma)


def a_draft(plan: SumPlan, suite: Suite = Suite.X25519) -> Task:
    return Task(
        task_id="training-7",
        round=7,
        bundle_version="shop-7",
        bundle_hash=bytes(range(32)),
        blocks=blocks_of(10, 4),
        plan=plan,
        suite=suite,
        round_public_key=b"",
        deadline=NOW + 3_600,
        come_back_at=NOW + 7_200,
    )


def a_task(plan: SumPlan | None = None, suite: Suite = Suite.X25519) -> tuple[Task, Round]:
    return open_round(a_draft(plan or a_plan(), suite), LOOPBACK, CUSTODIAN)


def a_vector(
    rng: np.random.Generator, size: float = 1.0, plan: SumPlan | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    parts = PARTS if plan is None else plan.parts
    vector = {part.name: rng.normal(scale=size, size=part.length) for part in parts}
    return vector | {"one": np.ones(1)}


def summed(task: Task, open_round: Round, reports: Sequence[Report], block: int = 0) -> npt.NDArray[np.int32]:
    _, answer = answer_batch(task, batch_of(task, block, reports), open_round, CUSTODIAN.public)
    shares: Mapping[bytes, bytes] = {report.report_id: report.service_share for report in reports}
    return sum_of(task, shares, answer)


def reports_of(
    task: Task, vectors: Sequence[Mapping[str, npt.ArrayLike]], rng: np.random.Generator, block: int = 0
) -> list[Report]:
    return [make_report(task, block, vector, b"token", rng) for vector in vectors]
