"""What a private sum costs: CPU of a device and of the custodian for one report, bytes beside the vector, noise; and
how many reports a second a service makes durable (tests/benchmarks/intake.py has that part).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from federation.custodian.policy import CustodianPolicy, open_round
from federation.device.report import make_report
from federation.private_sum.custodian_half import answer
from federation.private_sum.fixed_point import encode
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.sealing import Suite
from federation.private_sum.service_half import service_half
from federation.private_sum.shares import service_share
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Task, blocks_of
from federation.service.summing import batch_of
from tests.benchmarks import intake

N_ITEMS, DIM = 1_682, 64
N_REPORTS = 60
TOKEN = bytes(300)
"""As long as a signed JSON web token with five claims."""


def a_plan() -> SumPlan:
    """A training round over 1,682 items of 64 dimensions: 111,411 words."""
    parts = (
        Part("rows", N_ITEMS * DIM, clip_norm=1.0, scale=65_536.0),
        Part("counts", N_ITEMS, clip_norm=8.0, scale=4_096.0),
        Part("second", DIM * (DIM + 1) // 2, clip_norm=1.0, scale=65_536.0),
        Part("first", DIM, clip_norm=1.0, scale=65_536.0),
        Part("one", 1, clip_norm=1.0, scale=32_768.0, clamped=True),
        Part("metrics", 4, clip_norm=2.0, scale=8_192.0, clamped=True),
    )
    return SumPlan(parts, min_reports=50, max_reports=10_000, sigma=100_000)


def cpu_ms(work: Callable[[], object], repeat: int) -> float:
    """Median CPU milliseconds of one call, over `repeat` calls."""
    spent = []
    for _ in range(repeat):
        start = time.process_time_ns()
        work()
        spent.append((time.process_time_ns() - start) / 1e6)
    return float(np.median(spent))


def run() -> dict[str, Any]:
    """Figures of both suites; device_ms, custodian_ms (per report) and overhead_bytes are those of X25519."""
    rng = np.random.default_rng(0)
    vectors = {p.name: rng.normal(size=p.length).astype(np.float32) for p in a_plan().parts}
    random = secure_bytes()
    words = encode(a_plan(), vectors, random)
    intake_figures = intake.run()
    taken = {"reports_per_s": intake_figures["reports_per_s"], "intake": intake_figures}
    x25519, hybrid = (of_suite(suite, vectors) for suite in (Suite.X25519, Suite.HYBRID))
    return {
        **x25519,
        "hybrid": hybrid,
        "words": a_plan().length,
        "clip_and_round_ms": cpu_ms(lambda: encode(a_plan(), vectors, random), 50),
        "split_ms": cpu_ms(lambda: service_share(words, bytes(32)), 50),
        "noise_ms": cpu_ms(lambda: discrete_gaussian(a_plan().sigma, a_plan().length, random), 20),
        **taken,
    }


def of_suite(suite: Suite, vectors: dict[str, Any]) -> dict[str, Any]:
    """Costs with one HPKE suite. custodian_ms leaves out the noise, which is drawn once a batch."""
    draft = Task("bench-1", 1, "bundle-1", bytes(32), blocks_of(N_ITEMS, N_ITEMS), a_plan(), suite, b"", 2**40, 2**40)
    task, opened = open_round(draft, CustodianPolicy(50, 0.0), SigningKey.generate())
    reports = [make_report(task, 0, vectors, TOKEN) for _ in range(N_REPORTS)]
    batch, shares = batch_of(task, 0, reports), [report.service_share for report in reports]
    batch_ms = cpu_ms(lambda: answer(batch, opened), 5)
    noise_ms = cpu_ms(lambda: discrete_gaussian(task.plan.sigma, task.plan.length, secure_bytes()), 5)
    return {
        "device_ms": cpu_ms(lambda: make_report(task, 0, vectors, TOKEN), 50),
        "custodian_ms": (batch_ms - noise_ms) / N_REPORTS,
        "service_ms": (cpu_ms(lambda: service_half(task.plan, shares), 5) - noise_ms) / N_REPORTS,
        "overhead_bytes": len(reports[0].to_bytes()) - 4 * task.plan.length,
    }
