"""A custodian for tests: its plan, drafts it signs, reports to them, and a client that needs no network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from federation.custodian.custodian import Custodian
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.exchange import Batch
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Report, Task
from federation.service.custodian_client import CustodianClient
from federation.service.summing import batch_of
from serving.http.custodian.custodian_app import create_custodian_app
from tests.federation.private_sum.a_round import a_draft, a_vector, reports_of
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.shop import InProcess

SERVICE = SigningKey.from_private(bytes(range(1, 33)))
CLIPS = Clips(rows=2.0, counts=4.0, second=1.0, first=1.0)
MIN_REPORTS = 3
ISSUER = SomeIssuer(not_before=int(time.time()) - 86_400, not_after=int(time.time()) + 20 * 86_400)
"""Whose tokens the reports have; its key is logged by every custodian of a_custodian."""


def a_promise(noise_multiplier: float = 1.0, *, max_rounds: int = 10, min_reports: int = MIN_REPORTS) -> PrivacyPlan:
    return PrivacyPlan(
        clips=CLIPS,
        noise_multiplier=noise_multiplier,
        max_participations=4,
        min_reports=min_reports,
        max_reports=1_000,
        delta=1e-6,
        max_rounds=max_rounds,
    )


def now() -> int:
    return int(time.time())


def a_custodian(folder: Path, plan: PrivacyPlan | None = None, database: str | None = None) -> Custodian:
    return with_issuer(bare_custodian(folder, plan, database))


def bare_custodian(folder: Path, plan: PrivacyPlan | None = None, database: str | None = None) -> Custodian:
    """A custodian that has logged no issuer's key."""
    return Custodian.open(folder, plan or a_promise(), now(), database)


def with_issuer(custodian: Custodian) -> Custodian:
    """The same custodian, which has logged the key of ISSUER."""
    custodian.add_issuer_key(ISSUER.key(0).to_bytes(), now())
    return custodian


def draft(plan: PrivacyPlan | None = None, task_id: str = "training-7", suite: Suite = Suite.X25519) -> Task:
    """A draft of the plan that the promise asks for, over blocks of 4 items."""
    sums = (plan or a_promise()).sum_plan(4, 3, verified=suite.verified)
    return replace(a_draft(sums, suite), task_id=task_id, deadline=now() + 3_600, come_back_at=now() + 7_200)


def some_reports(task: Task, n: int = 5, block: int = 0, seed: int = 0) -> list[Report]:
    rng = np.random.default_rng(seed)
    return with_tokens(task, reports_of(task, [a_vector(rng, plan=task.plan) for _ in range(n)], rng, block))


def with_tokens(task: Task, reports: Sequence[Report]) -> list[Report]:
    """The same reports, each with a token of ISSUER."""
    return [replace(report, token=ISSUER.token(task)) for report in reports]


def a_batch(task: Task, n: int = 5, block: int = 0) -> Batch:
    return batch_of(task, block, some_reports(task, n, block))


def batch_bytes(task: Task, reports: Sequence[Report], block: int = 0) -> bytes:
    return batch_of(task, block, reports).to_bytes()


def a_client(
    custodian: Custodian, key: SigningKey = SERVICE, transport: httpx.BaseTransport | None = None
) -> CustodianClient:
    """A client of the custodian's app in this process."""
    return CustodianClient(
        "http://localhost",
        key,
        custodian.key.public,
        transport=transport or in_process(custodian),
        patience_s=1.0,
        sleep=lambda _: None,
    )


def in_process(custodian: Custodian) -> InProcess:
    """The custodian's app without a network."""
    return InProcess(create_custodian_app(custodian, SERVICE.public))
