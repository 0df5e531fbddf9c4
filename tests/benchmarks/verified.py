"""What verified bounds cost: bytes, and CPU of a device and of both parties, beside the plain report of a round."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from federation.custodian.policy import CustodianPolicy, open_round
from federation.device.report import make_report
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.custodian_half import answer
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.report_share import proof_plan
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task, blocks_of
from federation.service.summing import batch_of, sum_of
from tests.benchmarks.private_sum import DIM, N_ITEMS, TOKEN, cpu_ms

N_REPORTS = 40
PLAN = PrivacyPlan(Clips(1.0, 8.0, 1.0, 1.0), 1.0, 6, N_REPORTS, 10_000, 1e-6)


def run(seed: int = 0, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """Plain and verified reports of one round, side by side.

    bytes_ratio: of whole reports. device_ms: CPU of a verified report, party_ms: of the slower party, for each report;
    both with plain_* beside them. Errors as base-two logarithms.
    """
    rng = np.random.default_rng(seed)
    plans = {suite: PLAN.sum_plan(N_ITEMS, DIM, verified=suite.verified) for suite in (Suite.X25519, Suite.VERIFIED)}
    vectors = {part.name: rng.normal(size=part.length) for part in plans[Suite.X25519].parts}
    costs = {}
    for suite, plan in plans.items():
        say(f"{N_REPORTS} reports of {suite}")
        costs[suite] = _costs(plan, suite, vectors)
    plain, verified = costs[Suite.X25519], costs[Suite.VERIFIED]
    proof = proof_plan(plans[Suite.VERIFIED])
    return {
        "words": proof.plan.length,
        "bytes_ratio": verified["report_bytes"] / plain["report_bytes"],
        "device_ms": verified["device_ms"],
        "party_ms": max(verified["service_ms"], verified["custodian_ms"]),
        **{f"verified_{name}": value for name, value in verified.items() if name != "device_ms"},
        **{f"plain_{name}": value for name, value in plain.items()},
        "soundness_error_log2": math.log2(proof.soundness_error),
        "attempt_error_log2": math.log2(proof.attempt_error),
        "rows_steps": proof.plan.parts[0].clip_norm * proof.plan.parts[0].scale,
        "plain_rows_steps": plans[Suite.X25519].parts[0].clip_norm * plans[Suite.X25519].parts[0].scale,
        "noise_multiplier": [round(plan.noise_multiplier, 6) for plan in plans.values()],
    }


def _costs(plan: SumPlan, suite: Suite, vectors: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of CPU a report; the parties' without the noise, which is drawn once a batch."""
    draft = Task("bench-1", 1, "bundle-1", bytes(32), blocks_of(N_ITEMS, N_ITEMS), plan, suite, b"", 2**40, 2**40)
    task, opened = open_round(draft, CustodianPolicy(1, 0.0), SigningKey.generate())
    reports = [make_report(task, 0, vectors, TOKEN) for _ in range(N_REPORTS)]
    batch, shares = batch_of(task, 0, reports), {report.report_id: report.service_share for report in reports}
    _, given = answer(batch, opened)
    noise_ms = cpu_ms(lambda: discrete_gaussian(plan.sigma, plan.length, secure_bytes()), 5)
    custodian_ms = cpu_ms(lambda: answer(batch, opened), 3) - noise_ms
    opening_ms, adding_ms = (
        cpu_ms(work, 3) for work in (lambda: batch_of(task, 0, reports), lambda: sum_of(task, shares, given))
    )
    return {
        "device_ms": cpu_ms(lambda: make_report(task, 0, vectors, TOKEN), 20),
        "service_ms": (opening_ms + adding_ms - noise_ms) / N_REPORTS,
        "custodian_ms": custodian_ms / N_REPORTS,
        "report_bytes": len(reports[0].to_bytes()),
        "exchange_bytes": len(batch.to_bytes()) / N_REPORTS,
    }
