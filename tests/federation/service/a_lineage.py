"""Live rounds for tests: a small shop's line of bundles, and a custodian in this process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from federation.custodian.custodian import Custodian
from federation.custodian.policy import ExperimentTerms
from federation.device.report import make_report
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import METRICS, Clips
from federation.private_sum.exchange import Answer, Batch
from federation.protocol.messages import Report, Task
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.protocol.tokens.report_token import TokenRequest
from federation.protocol.transparency import clusters_to_bytes
from federation.service.block_sum import Custodian as CustodianOfRounds
from federation.service.coordinator import Coordinator
from federation.service.round_settings import RoundSettings
from federation.service.round_store import CoordinatorStore
from federation.service.tokens.issuer import Issuer
from federation.storage.database import sqlite_url
from tests.federation.protocol.tokens.some_issuer import BY_MODULUS, plain_token, rsa_key
from tests.shop import make_bundle

NOW = 1_800_000_000
CLIPS = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
PLAN = PrivacyPlan.off(CLIPS, max_participations=5, min_reports=3, max_reports=20)
SETTINGS = RoundSettings(rounds=4, block_items=25, goal_reports=8, window_s=600, pause_s=60, keep_bundles=2)


@dataclass
class CustodianHere:
    """The custodian's own store behind the calls its client makes."""

    custodian: Custodian
    now: int = NOW
    calls: list[str] = field(default_factory=list)

    def open_round(self, draft: Task) -> Task:
        self.calls.append("open")
        return Task.from_bytes(self.custodian.open_round(draft.draft_bytes(), self.now))

    def answer(self, batch: Batch) -> Answer:
        self.calls.append(f"answer {batch.block}")
        return Answer.from_bytes(self.custodian.answer(batch.to_bytes(), self.now))

    def log_proof(self, task_id: str, since: int) -> bytes:
        return self.custodian.log_proof(task_id, since, self.now)

    def log_clusters(self, version: str, content_hash: bytes) -> None:
        self.custodian.log_clusters(clusters_to_bytes(version, content_hash))

    def clusters_proof(self, version: str, since: int) -> bytes:
        return self.custodian.clusters_proof(version, since, self.now)

    def no_answer(self, task_id: str) -> bytes:
        return self.custodian.no_answer(task_id)

    def add_issuer_key(self, key: IssuerKey) -> None:
        self.custodian.add_issuer_key(key.to_bytes(), self.now)

    def issuer_key_proof(self, token_key_id: bytes, since: int) -> bytes:
        return self.custodian.issuer_key_proof(token_key_id, since, self.now)

    def close(self, task_id: str) -> None:
        self.calls.append("close")
        self.custodian.close(task_id, self.now)


@dataclass
class Line:
    """A coordinator and what stands around it."""

    folder: Path
    coordinator: Coordinator
    custodian: CustodianHere
    issuer: Issuer

    def open(self, now: int = NOW) -> Task:
        """The task of the next round, opened."""
        while self.coordinator.task() is None:
            assert self.coordinator.advance(now)
        task = self.coordinator.task()
        assert task is not None
        return task

    def report(self, task: Task, block: int = 0, *, issuer: str = "shop", seed: int = 0, token: bytes = b"") -> Report:
        return make_report(task, block, a_vector(task, seed), token or self.token(task, issuer))

    def token(self, task: Task, issuer: str = "shop") -> bytes:
        """A fresh token. issuer: an app, or app#minting key."""
        return a_token(self.issuer, task, issuer)

    def fill(self, task: Task, per_block: int, now: int = NOW) -> dict[int, list[Report]]:
        """Accepted reports, so many a block."""
        made = {
            block: [self.report(task, block, seed=n) for n in range(per_block)] for block in range(len(task.blocks))
        }
        for reports in made.values():
            for report in reports:
                assert self.coordinator.accept(report.to_bytes(), now) == "accepted"
        return made

    def settle(self, now: int = NOW) -> None:
        """Every transition that is due."""
        while self.coordinator.advance(now):
            pass


def an_issuer(engine: sa.Engine, custodian: CustodianOfRounds) -> Issuer:
    """An issuer whose RSA keys are this process' own, the same for every store."""
    numbers = itertools.count()
    return Issuer(engine, custodian, generate=lambda: rsa_key(next(numbers)))


def a_token(issuer: Issuer, task: Task, whose: str = "shop") -> bytes:
    """A fresh token for a task. whose: an app, or app#minting key."""
    app, _, minting_key = whose.partition("#")
    key = issuer.key_for(app, minting_key or "mint", task.deadline, task.deadline)
    if key.modulus in BY_MODULUS:
        return plain_token(key, task, BY_MODULUS[key.modulus])
    request = TokenRequest.of(key, task)
    blinded = [request.blinding.blinded]
    return request.token(issuer.sign(app, key.minting_key, key.token_key_id, blinded, task.deadline)[0])


def a_vector(task: Task, seed: int) -> dict[str, np.ndarray]:
    """A training device's vectors, random, with its one and half a point of NDCG."""
    rng = np.random.default_rng(seed)
    drawn = {part.name: rng.normal(0, 0.1, part.length) for part in task.plan.parts}
    metrics = np.array([1.0 if name.startswith("train_d") else 0.5 * name.startswith("train_n") for name in METRICS])
    moment = np.outer(drawn["first"], drawn["first"])[np.triu_indices(len(drawn["first"]))]
    return drawn | {"one": np.ones(1), "metrics": metrics, "counts": np.abs(drawn["counts"]), "second": moment}


def a_line(
    folder: Path,
    *,
    url: str | None = None,
    plan: PrivacyPlan = PLAN,
    settings: RoundSettings = SETTINGS,
    now: int = NOW,
    terms: ExperimentTerms | None = None,
    **changes: object,
) -> Line:
    """A line in a folder; in the same folder again, the same line after a restart."""
    if not (folder / "first").exists():
        make_bundle(folder / "first")
    custodian = Custodian.open(folder / "custodian", plan, now, None, terms)
    here = CustodianHere(custodian, now)
    store = CoordinatorStore.open(url or sqlite_url(folder / "rounds.sqlite"))
    issuer = an_issuer(store.engine, here)
    coordinator = Coordinator(
        store,
        here,
        folder / "state",
        plan,
        replace(settings, **changes),
        issuer,
        custodian_key=custodian.key.public,
    )
    coordinator.begin(folder / "first", now)
    return Line(folder, coordinator, here, issuer)


def stop(line: Line) -> None:
    """What a restart does first."""
    line.coordinator.stop()
    line.coordinator.store.engine.dispose()
    line.custodian.custodian.shut()
