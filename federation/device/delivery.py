"""How a device gets a task, and how a report gets to the service: the same bytes again and again, ever less often."""

from __future__ import annotations

import math
import random
import re
import time as clock
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from data.errors import ServingError
from federation.device.asking.bounded_answer import PACKED, read_bounded, read_json
from federation.device.asking.client import MAX_PROOF_BYTES
from federation.device.ledger import PendingReport
from federation.protocol.messages import MAX_TASK_BYTES, Task
from federation.protocol.no_answer import MAX_NO_ANSWERS_BYTES, NoAnswer, no_answers_from_bytes
from federation.protocol.transparency import LogProof

TASK, REPORTS, LOG = "/v1/federation/task", "/v1/federation/reports", "/v1/federation/log"
NO_ANSWERS = "/v1/federation/no-answers"
OCTETS = {"content-type": "application/octet-stream"}
ASK_AGAIN_S = 3600
"""When the service says neither what to do nor when to come back."""

_TRY_AGAIN = frozenset((408, 425, 429, 500, 502, 503, 504))


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds of a device's attempts.

    spread_s: it posts at a random moment of so many seconds, so that times say nothing; by
    default of nearly all the time there is. stay_s: how long it waits for that moment; one that is later comes when
    the device is started again.

    attempts: before it gives up until it is started again. first_s, most_s: bounds of the waiting between them, which
    doubles and is drawn uniformly from 0 up ("full jitter").
    """

    spread_s: float = math.inf
    stay_s: float = 60.0
    attempts: int = 6
    first_s: float = 0.5
    most_s: float = 60.0
    sleep: Callable[[float], None] = clock.sleep

    def wait(self, attempt: int, at_least_s: float, chance: random.Random) -> None:
        """Wait after a failed attempt (0, 1, …); at_least_s: as the service asked, within most_s."""
        drawn = chance.uniform(0.0, min(self.most_s, self.first_s * 2.0**attempt))
        self.sleep(min(at_least_s, self.most_s) + drawn)


@dataclass(frozen=True)
class Delivery:
    """The outcome of sending a report.

    detail: the error code of a refusal, or why it was not sent: not_yet is no failure.
    """

    status: Literal["accepted", "rejected", "unsent"]
    detail: str = ""


def fetch_task(
    client: httpx.Client, retry: RetryPolicy, chance: random.Random, path: str = TASK, key: str | None = None
) -> Task | int:
    """Fetch the open round's task, unchecked, or the seconds until to ask again when none is open.

    key: one that a shop published for all of its devices, and so says nothing of this one.
    Raises ServingError when the service cannot be asked or answers anything else, TaskRefused for a broken task.
    """
    found = _fetch(client, retry, chance, "task", path, MAX_TASK_BYTES, key)
    return found if isinstance(found, int) else Task.from_bytes(found)


def fetch_log_proof(client: httpx.Client, retry: RetryPolicy, chance: random.Random, name: str, since: int) -> LogProof:
    """Fetch the proof that an entry is in the custodian's log, unchecked; since: size of the log seen before.

    name: a task_id, or issuer-keys/ and a token_key_id in hexadecimal.

    Raises ServingError when the service has none to give, LogRefused for broken bytes.
    """
    content = _fetch(client, retry, chance, "log proof", f"{LOG}/{name}?since={since}", MAX_PROOF_BYTES)
    if isinstance(content, int):
        raise ServingError("service: has no log proof to give (status 204)")
    return LogProof.from_bytes(content)


def fetch_no_answers(client: httpx.Client, retry: RetryPolicy, chance: random.Random) -> list[NoAnswer]:
    """Fetch the custodian's statements of what it never answered, their signatures unchecked.

    Raises ServingError when the service has none to give, NoAnswerRefused for broken bytes.
    """
    content = _fetch(client, retry, chance, "statement of the custodian", NO_ANSWERS, MAX_NO_ANSWERS_BYTES)
    return [] if isinstance(content, int) else no_answers_from_bytes(content)


def _fetch(
    client: httpx.Client,
    retry: RetryPolicy,
    chance: random.Random,
    name: str,
    path: str,
    most_bytes: int,
    key: str | None = None,
) -> bytes | int:
    """Fetch the content at a path, asked for again and again, or the seconds until to ask when there is none."""
    why = ""
    for attempt in range(retry.attempts):
        try:
            with closing(_send(client, "GET", path, key=key)) as response:
                if response.status_code == 204:
                    return int(_retry_after(response, ASK_AGAIN_S))
                if response.status_code == 200:
                    return read_bounded(response, name, most_bytes)
                why = f"status {response.status_code}"
                if response.status_code not in _TRY_AGAIN:
                    break
                at_least = _retry_after(response, 0.0)
        except httpx.HTTPError as error:
            why, at_least = type(error).__name__, 0.0
        if attempt + 1 < retry.attempts:
            retry.wait(attempt, at_least, chance)
    raise ServingError(f"service: has no {name} to give ({why})")


def deliver(
    client: httpx.Client,
    pending: PendingReport,
    retry: RetryPolicy,
    chance: random.Random,
    now: Callable[[], float],
    still_wanted: Callable[[], bool],
    path: str = REPORTS,
) -> Delivery:
    """Post a stored report until it is answered, not before its time, not after its deadline.

    still_wanted: asked before each attempt; a withdrawn consent ends the matter.
    """
    if pending.post_at - now() > retry.stay_s:
        return Delivery("unsent", "not_yet")
    retry.sleep(max(0.0, pending.post_at - now()))
    why = "deadline"
    for attempt in range(retry.attempts):
        if not still_wanted():
            return Delivery("unsent", "withdrawn")
        if now() > pending.deadline:
            return Delivery("unsent", "deadline")
        try:
            with closing(_send(client, "POST", path, pending.report)) as response:
                answer = read_json(response, "answer")
        except (httpx.HTTPError, ServingError) as error:
            why, at_least = type(error).__name__, 0.0
        else:
            if response.status_code in (200, 201):
                return Delivery("accepted")
            why, at_least = _code(response.status_code, answer), _retry_after(response, 0.0)
            if response.status_code not in _TRY_AGAIN:
                return Delivery("rejected", why)
        if attempt + 1 < retry.attempts:
            retry.wait(attempt, at_least, chance)
    return Delivery("unsent", why)


def _send(
    client: httpx.Client, method: str, path: str, content: bytes | None = None, key: str | None = None
) -> httpx.Response:
    """Send a request without what the client may hold of its shopper: a login must not be tied to a report."""
    request = client.build_request(
        method, path, content=content, headers=PACKED if content is None else PACKED | OCTETS
    )
    for name in ("cookie", "authorization"):
        request.headers.pop(name, None)
    if key is not None:
        request.headers["authorization"] = f"Bearer {key}"
    return client.send(request, stream=True, auth=None, follow_redirects=False)


def _retry_after(response: httpx.Response, otherwise: float) -> float:
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else otherwise


def _code(status: int, answer: dict[str, Any] | None) -> str:
    """Read the error's code, which is the only word of an answer that is kept."""
    error = (answer or {}).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else f"status_{status}"
