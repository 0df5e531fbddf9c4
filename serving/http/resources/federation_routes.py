"""The service's federation routes: a task out, reports in, tokens for shops' backends, what is public about rounds.

How a report is read: report_receiver.py. No route logs a body.
"""

from __future__ import annotations

import math
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Path, Query
from prometheus_client.metrics_core import Metric
from starlette.requests import Request
from starlette.responses import Response

from data.errors import FederationError
from federation.private_sum.refusals import ForeignTask
from federation.protocol.merkle_log import MAX_SIZE, LogRefused
from federation.protocol.tokens.blind_rsa import BlindingRefused
from federation.protocol.tokens.issuer_key import IssuerKeyRefused
from federation.service.coordinator import Coordinator
from federation.service.round_schema import RoundState
from federation.service.tokens.issuer import Issuer
from serving.access import OPEN_APP, caller
from serving.http.bodies import refusals
from serving.http.metrics import Metrics, gauge
from serving.http.resources.federation_bodies import IssuerKeyAnswer, RoundList, TokenAnswer, TokenRequest, entry_of
from serving.http.resources.report_receiver import BUSY_RETRY_S, OCTETS, REPORT_ROUTE, IntakeSettings, Receiver
from serving.refusal import Refusal
from serving.state.api_keys import IssuerBound, MintCounter

SHOWN_ROUNDS = 100


@dataclass(frozen=True)
class TokenDesk:
    """How many tokens an app may have, and what signs them. Who asks is the guard's to say."""

    issuer: Issuer
    mints: MintCounter


def add_federation(
    app: FastAPI, coordinator: Coordinator, desk: TokenDesk, settings: IntakeSettings | None = None
) -> None:
    """Mount the routes on an app of create_app, before its OpenAPI document is asked for."""
    metrics: Metrics = app.state.metrics
    metrics.add(lambda: gauges(coordinator), OPEN_APP)
    _add_task(app, coordinator)
    _add_log(app, coordinator, desk.issuer)
    receiver = app.state.receiver = Receiver.of(settings, metrics)
    _add_reports(app, coordinator, receiver)
    _add_tokens(app, desk)
    _add_public(app, coordinator)


def _add_task(app: FastAPI, coordinator: Coordinator) -> None:
    @app.get(
        "/v1/federation/task",
        summary="The open round's task",
        description="Signed by the custodian; the bytes are in docs/wire.md.",
        response_class=Response,
        responses={
            200: {"content": {OCTETS: {}}, "description": "A task"},
            204: {"description": "No round is open; Retry-After says when to ask again"},
            **refusals(),
        },
    )
    async def task() -> Response:
        task = coordinator.task()
        if task is None:
            wait = str(coordinator.come_back_s(int(time.time())))
            return Response(None, 204, {"retry-after": wait, "cache-control": "no-store"})
        return Response(task.to_bytes(), 200, {"cache-control": "no-store"}, OCTETS)


def _add_log(app: FastAPI, coordinator: Coordinator, issuer: Issuer) -> None:
    custodian, proofs = coordinator.machine.custodian, ProofCache()

    @app.get(
        "/v1/federation/log/{task_id}",
        summary="That a task is in the custodian's public log",
        description="Passed on from the custodian, who signed it; since: the size of the log that was seen before.",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}, "description": "A proof"}, **refusals(404, 422, 503)},
    )
    def log_proof(
        task_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,64}$")],
        since: Annotated[int, Query(ge=0, le=MAX_SIZE)] = 0,
    ) -> Response:
        return _proof(proofs, task_id, since, custodian.log_proof)

    @app.get(
        "/v1/federation/log/clusters/{version}",
        summary="That a version's clusters file is in the custodian's public log",
        description="Passed on from the custodian, who signed it; since: the size of the log that was seen before.",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}, "description": "A proof"}, **refusals(404, 422, 503)},
    )
    def clusters_proof(
        version: Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,64}$")],
        since: Annotated[int, Query(ge=0, le=MAX_SIZE)] = 0,
    ) -> Response:
        return _proof(proofs, version, since, custodian.clusters_proof)

    def issuer_key_proof(key_id: str, size: int) -> bytes:
        return issuer.log_proof(bytes.fromhex(key_id), size)

    @app.get(
        "/v1/federation/log/issuer-keys/{token_key_id}",
        summary="That the key of an issuer of tokens is in the custodian's public log",
        description="As for a task.",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}, "description": "A proof"}, **refusals(404, 422, 503)},
    )
    def key_proof(
        token_key_id: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
        since: Annotated[int, Query(ge=0, le=MAX_SIZE)] = 0,
    ) -> Response:
        return _proof(proofs, token_key_id, since, issuer_key_proof)

    @app.get(
        "/v1/federation/no-answers",
        summary="What the custodian has closed without an answer",
        description="Its signed statements about the newest rounds, the same for every device; docs/wire.md.",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}, "description": "Statements"}, **refusals()},
    )
    def no_answers() -> Response:
        return Response(coordinator.no_answers(), 200, {"cache-control": "no-store"}, OCTETS)


def _proof(proofs: ProofCache, name: str, since: int, ask: Callable[[str, int], bytes]) -> Response:
    """Answer with a proof of an entry in the log. name: of a task, a version or a key."""
    try:
        content = proofs.get_or_ask(name, since, ask)
    except (ForeignTask, IssuerKeyRefused):
        raise Refusal("not_found", "log: the custodian has signed nothing of this name") from None
    except LogRefused:
        raise Refusal("invalid_request", f"since={since}: the log is shorter") from None
    except FederationError:
        raise _unreachable("log") from None
    return Response(content, 200, {"cache-control": "no-store"}, OCTETS)


def _unreachable(what: str) -> Refusal:
    busy = {"retry-after": str(BUSY_RETRY_S)}
    return Refusal("intake_unavailable", f"{what}: the custodian cannot be asked", headers=busy)


class ProofCache:
    """Proofs that were asked for lately: devices of a round ask the same, and the custodian need not hear of each."""

    def __init__(self, most: int = 256, keep_s: float = 60.0, now: Callable[[], float] = time.monotonic) -> None:
        self._most, self._keep_s, self._now = most, keep_s, now
        self._held: OrderedDict[tuple[str, str, int], tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_ask(self, name: str, since: int, ask: Callable[[str, int], bytes]) -> bytes:
        """Return the held proof, or a fresh one."""
        key, now = (ask.__name__, name, since), self._now()
        with self._lock:
            held = self._held.get(key)
        if held is not None and now < held[0]:
            return held[1]
        content = ask(name, since)
        with self._lock:
            self._held[key] = now + self._keep_s, content
            self._held.move_to_end(key)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
        return content


def _add_reports(app: FastAPI, coordinator: Coordinator, receiver: Receiver) -> None:
    @app.post(
        "/v1/federation/reports",
        summary="One device's report to the open round",
        description="The bytes are in docs/wire.md. Sent again, the same report is counted once. "
        "It is answered when it is durable.",
        **REPORT_ROUTE,
    )
    async def report(request: Request) -> Response:
        return await receiver.take(request, coordinator)


def _add_tokens(app: FastAPI, desk: TokenDesk) -> None:
    @app.get(
        "/v1/device-tokens",
        summary="The key that signs tokens for tasks of a deadline",
        description="A shop's backend passes this question and the answer on, for its devices.",
        responses=refusals(401, 403, 422, 503),
    )
    def issuer_key(deadline: Annotated[int, Query(ge=0, le=2**53)], request: Request) -> IssuerKeyAnswer:
        who = caller(request.scope)
        try:
            key = desk.issuer.key_for(who.app, who.key_id or "", deadline, int(time.time()))
        except IssuerKeyRefused as refusal:
            raise Refusal("invalid_request", str(refusal)) from None
        except FederationError:
            raise _unreachable("issuer key") from None
        return IssuerKeyAnswer(issuer_key=_to_base64(key.to_bytes()), token_key_id=key.token_key_id.hex())

    @app.post(
        "/v1/device-tokens",
        summary="Blind signatures for a shop's devices, each of a token for one report",
        description="A shop's backend passes on what its own devices blinded (docs/wire.md).",
        status_code=201,
        responses=refusals(401, 403, 413, 422, 429),
    )
    def mint(asked: TokenRequest, request: Request) -> TokenAnswer:
        who, now = caller(request.scope), int(time.time())
        blinded = [urlsafe_b64decode(text + "==") for text in asked.blinded]
        try:
            desk.mints.reserve(who.app, len(blinded), now)
        except IssuerBound as bound:
            headers = {"retry-after": str(desk.mints.left_s(now))}
            raise Refusal("issuer_bound", str(bound), headers=headers) from None
        try:
            key_id = bytes.fromhex(asked.token_key_id)
            signatures = desk.issuer.sign(who.app, who.key_id or "", key_id, blinded, now)
        except (IssuerKeyRefused, BlindingRefused) as refusal:
            raise Refusal("invalid_request", str(refusal)) from None
        return TokenAnswer(signatures=[_to_base64(signature) for signature in signatures])


def _to_base64(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _add_public(app: FastAPI, coordinator: Coordinator) -> None:
    @app.get("/v1/federation/rounds", summary="What is public about the newest rounds", responses=refusals(404))
    def rounds(request: Request) -> RoundList:
        if caller(request.scope).app != OPEN_APP:  # live rounds train that app's bundles alone
            raise Refusal("not_found", "Not Found")  # as where there are no rounds
        epsilon = coordinator.epsilon()
        return RoundList(
            epsilon=epsilon if math.isfinite(epsilon) else None,
            delta=coordinator.plan.delta,
            rounds=[entry_of(stored) for stored in coordinator.store.rounds(SHOWN_ROUNDS)],
        )


def gauges(coordinator: Coordinator) -> Iterator[Metric]:
    """Yield rounds and the privacy spent, from the store: the same from every worker."""
    states = coordinator.store.states()
    yield gauge("rounds", "Rounds by state.", [({"state": str(state)}, states.get(state, 0)) for state in RoundState])
    yield gauge("epsilon_spent", "Of the installation that was asked most.", [({}, coordinator.epsilon())])
    yield gauge("epsilon_lifetime", "At the participation cap.", [({}, coordinator.plan.epsilon)])
    yield gauge("delta", "Of the privacy plan.", [({}, coordinator.plan.delta)])
