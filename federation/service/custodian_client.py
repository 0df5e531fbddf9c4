"""The service's line to the custodian: signed questions, checked answers, asked again until there is one."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from data.errors import BatchTooSmall, BudgetExhausted, FederationError
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, ForeignTask, MalformedBatch, TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogRefused
from federation.protocol.messages import Task
from federation.protocol.request_signing import HEADER, SignatureRefused, check_answer, sign_request
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.transparency import clusters_to_bytes
from federation.protocol.transport import check_address, pinned_context

ERRORS: dict[str, type[FederationError]] = {
    "already_counted": AlreadyCounted,
    "batch_malformed": MalformedBatch,
    "batch_refused": BatchRefused,
    "batch_too_small": BatchTooSmall,
    "budget_exhausted": BudgetExhausted,
    "foreign_task": ForeignTask,
    "issuer_key_refused": IssuerKeyRefused,
    "log_refused": LogRefused,
    "signature_refused": SignatureRefused,
    "task_refused": TaskRefused,
}
"""What each of the custodian's codes is raised as; any other is a FederationError."""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 5.0


class CustodianUnreachable(FederationError):
    """No answer within the client's patience; asking the same again later is safe."""


@dataclass
class CustodianClient:
    """Asks one custodian. All it asks is idempotent, so it asks again when the connection or the custodian fails.

    custodian_public_key: pinned; an answer that it did not sign is no answer. transport: for tests. ca: file of the
    only certificates believed. patience_s: how long to go on asking. timeout_s: of one attempt; a large batch takes
    seconds. Raises ServingError for plain HTTP beyond this machine.
    """

    url: str
    service_signing_key: SigningKey
    custodian_public_key: bytes
    transport: httpx.BaseTransport | None = None
    ca: Path | None = None
    patience_s: float = 30.0
    timeout_s: float = 60.0
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    _http: httpx.Client = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(
            base_url=check_address(self.url),
            transport=self.transport,
            verify=pinned_context(self.ca),
            timeout=self.timeout_s,
            headers={"user-agent": "ownshelf-service"},
            trust_env=False,  # no proxy: plain HTTP to this machine must stay on it
        )

    def shut(self) -> None:
        """Close its connections."""
        self._http.close()

    def open_round(self, draft: Task) -> Task:
        """Have a draft signed, with its round key.

        Raises TaskRefused, BudgetExhausted; FederationError for another draft under the same task_id.
        """
        task = Task.from_bytes(self._ask("/v1/rounds", draft.draft_bytes()))
        if not task.is_signed_by(self.custodian_public_key):
            raise SignatureRefused(f"task_id={task.task_id}: is not signed by the pinned custodian")
        if task.draft_bytes() != draft.draft_bytes():
            raise FederationError(f"task_id={draft.task_id}: the custodian signed another task")
        return task

    def answer(self, batch: Batch) -> Answer:
        """Ask for the custodian's half of a block's sum.

        Raises BatchTooSmall, AlreadyCounted, ForeignTask, BatchRefused.
        """
        answer = Answer.from_bytes(self._ask("/v1/batches", batch.to_bytes()))
        report_ids = {seed.report_id for seed in batch.seeds}
        if (answer.block, answer.batch_digest) != (batch.block, batch.digest) or not report_ids.issuperset(
            answer.counted
        ):
            raise FederationError(f"block={batch.block}: the custodian answered another batch")
        return answer

    def log_proof(self, task_id: str, since: int) -> bytes:
        """Fetch a LogProof (bytes) for devices, who check it themselves.

        Raises ForeignTask, LogRefused for an unknown size, CustodianUnreachable at once: whoever waits for it may ask
        again.
        """
        return self._get(f"/v1/log/proofs/{task_id}?since={since}")

    def log_clusters(self, version: str, content_hash: bytes) -> None:
        """Have the hash of a version's clusters file logged. Raises TaskRefused for a second one of a version."""
        self._ask("/v1/clusters", clusters_to_bytes(version, content_hash))

    def clusters_proof(self, version: str, since: int) -> bytes:
        """Fetch a LogProof (bytes) of a version's clusters file, as log_proof does of a task."""
        return self._get(f"/v1/log/clusters/{version}?since={since}")

    def add_issuer_key(self, key: IssuerKey) -> None:
        """Have an issuer's key put into the public log, where devices look for it. Raises IssuerKeyRefused."""
        self._ask("/v1/issuer-keys", key.to_bytes())

    def issuer_key_proof(self, token_key_id: bytes, since: int) -> bytes:
        """Fetch the LogProof (bytes) of an issuer's key for devices. Raises IssuerKeyRefused; else as log_proof."""
        return self._get(f"/v1/log/issuer-keys/{token_key_id.hex()}?since={since}")

    def no_answer(self, task_id: str) -> bytes:
        """Fetch the NoAnswer (bytes) of a closed round, its signature unchecked. Raises ForeignTask for an unknown one.

        CustodianUnreachable and FederationError as of log_proof: asking again later is safe.
        """
        return self._get(f"/v1/rounds/{task_id}/no-answer")

    def close(self, task_id: str) -> None:
        """Have the round's key destroyed. Raises ForeignTask for a task the custodian does not know."""
        self._ask(f"/v1/rounds/{task_id}/close", b"")

    def _get(self, path: str) -> bytes:
        """Fetch what anybody may fetch, once."""
        try:
            response = self._http.get(path, follow_redirects=False)
        except httpx.TransportError as error:
            raise CustodianUnreachable(f"custodian: cannot be asked ({type(error).__name__})") from None
        if response.status_code >= 500:
            raise CustodianUnreachable(f"custodian: status {response.status_code}")
        if response.status_code != 200:
            raise _error(response)
        return response.content

    def time(self) -> float | None:
        """Ask for the custodian's time, seconds since 1970-01-01 UTC, to half a second; None when it does not say."""
        try:
            said = self._http.get("/healthz", follow_redirects=False).headers["date"]
            return parsedate_to_datetime(said).timestamp() + 0.5
        except (httpx.TransportError, KeyError, ValueError, TypeError):
            return None

    def _ask(self, path: str, body: bytes) -> bytes:
        give_up, wait = time.monotonic() + self.patience_s, FIRST_WAIT_S
        while True:
            try:
                return self._ask_once(path, body)
            except CustodianUnreachable:
                if time.monotonic() + wait > give_up:
                    raise
            self.sleep(wait * (0.5 + random.random()))  # nosec B311 # spreads waits, hides nothing
            wait = min(2 * wait, LONGEST_WAIT_S)

    def _ask_once(self, path: str, body: bytes) -> bytes:
        target = self._http.base_url.raw_path.decode().rstrip("/") + path
        signed = sign_request(self.service_signing_key, "POST", target, body, int(self.clock()))
        headers = {"content-type": "application/octet-stream", **signed.headers}
        try:
            response = self._http.post(path, content=body, headers=headers, follow_redirects=False)
        except httpx.TransportError as error:
            raise CustodianUnreachable(f"custodian: cannot be asked ({type(error).__name__})") from None
        if response.status_code >= 500:
            raise CustodianUnreachable(f"custodian: status {response.status_code}")
        check_answer(
            self.custodian_public_key,
            signed.signature,
            response.status_code,
            response.content,
            response.headers.get(HEADER),
        )
        if response.status_code >= 300:
            raise _error(response)
        return response.content


def _error(response: httpx.Response) -> FederationError:
    """Convert a signed refusal to the error it is raised as."""
    try:
        error = json.loads(response.content)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "", ""
    return ERRORS.get(code, FederationError)(f"custodian: {message[:500] or f'status {response.status_code}'}")
