"""A live round for tests: a bundle, a task the custodian signed for it, and a service that keeps what it is sent."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from federation.custodian.policy import CustodianPolicy, open_round
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.private_sum.custodian_half import Round
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogHead, leaf_hash, prove_consistency, prove_inclusion, root_of
from federation.protocol.messages import Report, Task, blocks_of
from federation.protocol.transparency import LogProof, issuer_key_entry, task_entry
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import encode_catalogue
from tests.federation.protocol.tokens.some_issuer import SomeIssuer

CUSTODIAN = SigningKey.from_private(bytes(range(32)))
CLIPS = Clips(rows=1.0, counts=3.0, second=0.5, first=0.7)
NOW = 1_800_000_000
N_BLOCK = 16


def training_task(
    bundle: Bundle,
    *,
    round_: int = 0,
    noise: float = 2.0,
    min_reports: int = 50,
    n_block: int = N_BLOCK,
    suite: Suite = Suite.X25519,
    key: SigningKey = CUSTODIAN,
    **changes: Any,
) -> tuple[Task, Round]:
    """A signed training task for a bundle, and the round its custodian keeps. noise: σ over sensitivity, or more."""
    part = bundle.table.trained
    width = bundle.table.rows_of(part).shape[1]
    off = PrivacyPlan.off(CLIPS, max_participations=6, min_reports=min_reports, max_reports=1000)
    plan = off.sum_plan(n_block, width, part, verified=suite.verified)
    plan = replace(plan, sigma=int(noise * plan.sensitivity_squared**0.5) + (noise > 0))
    draft = Task(
        task_id=f"training-{round_}",
        round=round_,
        bundle_version=bundle.version,
        bundle_hash=hashlib.sha256(encode_catalogue(bundle)).digest(),
        blocks=blocks_of(bundle.table.n_items, n_block),
        plan=plan,
        suite=suite,
        round_public_key=b"",
        deadline=NOW + 3_600,
        come_back_at=NOW + 7_200,
    )
    return open_round(replace(draft, **changes), CustodianPolicy(1, 0.0), key)


@dataclass
class FakeService:
    """Hands out a task and a catalogue, takes reports once each. faults: what to do instead, one a request."""

    task: Task | None
    bundle: Bundle
    retry_after: str = "120"
    faults: list[Callable[[httpx.Request], httpx.Response]] = field(default_factory=list)
    received: list[bytes] = field(default_factory=list)
    kept: dict[bytes, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    issuer: SomeIssuer = field(default_factory=SomeIssuer)
    logs_issuer: bool = True
    log_key: SigningKey = CUSTODIAN

    def client(self, base_url: str = "https://shop.test") -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer), base_url=base_url)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.path)
        path = request.url.path
        if path == "/v1/federation/task":
            if self.task is None:
                return httpx.Response(204, headers={"retry-after": self.retry_after})
            return httpx.Response(200, content=self.task.to_bytes())
        if path == "/v1/federation/reports":
            body = request.read()
            self.received.append(body)
            if self.faults:
                return self.faults.pop(0)(request)
            return self.take(body)
        if path.startswith("/v1/federation/log/"):
            return self.proof(int(request.url.params["since"]), "/issuer-keys/" in path)
        if path == "/v1/device-tokens":
            return self.tokens(request)
        if path.endswith("/changes"):
            return refusal(404, "not_found")
        content = encode_catalogue(self.bundle)
        return httpx.Response(200, content=content, headers={"etag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def proof(self, since: int, of_key: bool) -> httpx.Response:
        """The custodian's log, with the open round's task and the issuer's key after whatever leaves there are."""
        assert self.task is not None
        task, key = leaf_hash(task_entry(self.task)), leaf_hash(issuer_key_entry(self.issuer.key(0)))
        leaf = key if of_key else task
        if of_key and not self.logs_issuer:
            return refusal(404, "not_found")
        leaves = [*self.leaves, *(entry for entry in (task, key) if entry not in self.leaves)]
        head = LogHead(len(leaves), root_of(leaves), NOW).signed_by(self.log_key)
        inclusion, index = prove_inclusion(leaves, leaves.index(leaf)), leaves.index(leaf)
        proof = LogProof(head, index, inclusion, since, prove_consistency(leaves, min(since, len(leaves))))
        return httpx.Response(200, content=proof.to_bytes())

    def tokens(self, request: httpx.Request) -> httpx.Response:
        """The shop's backend and the service behind it, in one."""
        key = self.issuer.key(0)
        if request.method == "GET":
            return httpx.Response(200, json={"issuer_key": urlsafe_b64encode(key.to_bytes()).rstrip(b"=").decode()})
        asked = json.loads(request.read())
        blinded = [urlsafe_b64decode(message + "==") for message in asked["blinded"]]
        signed = [urlsafe_b64encode(one).rstrip(b"=").decode() for one in self.issuer.sign(key, blinded)]
        return httpx.Response(201, json={"signatures": signed})

    def take(self, body: bytes) -> httpx.Response:
        assert self.task is not None
        report = Report.from_bytes(body, self.task, self.task.deadline)
        before = self.kept.setdefault(report.report_id, body)
        if before != body:
            return refusal(409, "report_conflict")
        return httpx.Response(201 if self.received.count(body) == 1 else 200, json={"status": "accepted"})


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": {"code": code, "message": "no", "details": {}}}, headers=named)
