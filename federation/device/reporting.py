"""A device makes one report and sends it: the same steps for a training round and for an experiment's window.

The order of steps is the protection. The exact bytes of the report and its ledger entry are one durable write into
the vault before the first byte is sent, so that whatever is killed or lost, a report id never gets a second content
and the ledger is never behind what others may have received.
"""

from __future__ import annotations

import random
import time as clock
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import httpx
import numpy as np
import numpy.typing as npt

from federation.device.asking.client import service_client
from federation.device.asking.logged_clusters import remember_head
from federation.device.delivery import RetryPolicy, deliver, fetch_log_proof, fetch_task
from federation.device.device import Device
from federation.device.ledger import PendingReport
from federation.device.report import DevicePolicy, check_task, draw_block, make_report
from federation.device.state import DeviceState
from federation.device.tokens.issuing import TokenIssuer, fetch_token
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Purpose, Task
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.protocol.transparency import issuer_key_entry, task_entry
from federation.protocol.transport import is_loopback

HOLDOUT_SHARE = 0.1
"""Chance that a device never trains and only measures; drawn once, by itself."""

JUDGING_SHARE = 0.25
"""Chance that a device judges the mix and never fits it; one that only measures always judges."""

WINDOW_SHARE = 0.9
"""Of the time to a task's deadline, over which reports are spread; the rest is for trying again."""

Status = Literal[
    "accepted",
    "rejected",
    "unsent",
    "no_consent",
    "no_round",
    "no_window",
    "unknown_experiment",
    "not_assigned",
    "too_early",
    "took_part",
    "cap_reached",
    "period_full",
    "budget_spent",
]
Step = Literal["fetched", "checked", "computed", "stored", "sent", "cleared"]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt.

    accepted: the service has the report durably. rejected: it refused it for good, detail is its error code. unsent:
    it could not be reached in time; the same bytes go out next time. The others: no report was made, and why.
    come_back_at: seconds since 1970-01-01 UTC; asking earlier is answered without a request.
    """

    status: Status
    come_back_at: int = 0
    detail: str = ""
    report_bytes: int = 0


@dataclass(frozen=True)
class DeviceRandomness:
    """A device's own chances.

    judges: asked of one that does not only measure. rounding: None is cryptographic randomness; a reproducible
    simulation gives its own.
    """

    block: Callable[[Task], int] = draw_block
    measures_only: Callable[[], bool] = field(default=lambda: random.SystemRandom().random() < HOLDOUT_SHARE)
    judges: Callable[[], bool] = field(
        default=lambda: random.SystemRandom().random() < (JUDGING_SHARE - HOLDOUT_SHARE) / (1 - HOLDOUT_SHARE)
    )
    rounding: np.random.Generator | None = None
    waiting: random.Random = field(default_factory=random.SystemRandom)


@dataclass(frozen=True)
class Contribution:
    """The contribution of a device to one sum. vectors: as of make_report.

    charge: adds to a state the pending report, the moment to come back at (seconds since 1970-01-01 UTC) and what the
    report costs; returns the very same state if something changed since the vectors were computed.
    """

    block: int
    vectors: Mapping[str, npt.ArrayLike] = field(repr=False)
    charge: Callable[[DeviceState, PendingReport, int], DeviceState]


class ReportTarget(Protocol):
    """The target of a device's report: the open training round, or the open window of an experiment."""

    @property
    def purpose(self) -> Purpose:
        """What its tasks must be for."""
        ...

    @property
    def task_path(self) -> str:
        """Where its task is asked for."""
        ...

    @property
    def report_path(self) -> str:
        """Where its reports go."""
        ...

    @property
    def key(self) -> str | None:
        """A key that a shop published for all of its devices; it goes with the question for a task only."""
        ...

    @property
    def none_open(self) -> Status:
        """The status when the service has no task."""
        ...

    def unavailable(self, state: DeviceState) -> Status | None:
        """Say why nothing may even be asked, or None."""
        ...

    def pending(self, state: DeviceState) -> PendingReport | None:
        """Read the report on its way."""
        ...

    def come_back_at(self, state: DeviceState) -> int:
        """Read when to ask for a task again, seconds since 1970-01-01 UTC."""
        ...

    def with_come_back_at(self, state: DeviceState, until: int) -> DeviceState:
        """Remember when to ask again."""
        ...

    def check(self, task: Task) -> None:
        """Raise TaskRefused for a task that is other than agreed, beyond what check_task knows."""
        ...

    def refused(self, state: DeviceState, task: Task, policy: DevicePolicy, at: int) -> Status | None:
        """Say why the device has no report for this task, although the task is as agreed, or None."""
        ...

    def look_again_at(self, state: DeviceState, task: Task, at: int) -> int:
        """Say when to ask again after a refusal of the device's own; the policy bounds it."""
        ...

    def contribution(
        self, device: Device, client: httpx.Client, task: Task, draws: DeviceRandomness, at: int
    ) -> Contribution:
        """Compute what the device would say. Raises TaskRefused."""
        ...

    def settled(self, state: DeviceState, *, lost: bool) -> DeviceState:
        """Forget the report on its way. lost: nobody will count it."""
        ...


@dataclass(frozen=True)
class Reporter:
    """One attempt of one device to report. now: seconds since 1970-01-01 UTC. on_step: told after each step.

    before_asking: called, with the moment, before the service is asked for a task.
    """

    device: Device
    target: ReportTarget
    policy: DevicePolicy
    issuer: TokenIssuer
    draws: DeviceRandomness = field(default_factory=DeviceRandomness)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    now: Callable[[], float] = clock.time
    on_step: Callable[[Step], None] = lambda _: None
    before_asking: Callable[[httpx.Client, int], None] = lambda _, __: None

    def report(self, service: str | httpx.Client, ca: Path | None) -> Outcome:
        """Send one report, or finish sending the last one.

        Raises TaskRefused, LogRefused for a task or an issuer's key that is not public, and ServingError without a
        task or a token.
        """
        unavailable = self.target.unavailable(self.device.state)
        if unavailable is not None:
            return Outcome(unavailable)
        with service_client(service, ca) as client:
            return self._deliver(client) or self._report_anew(client)

    def _report_anew(self, client: httpx.Client) -> Outcome:
        at, back = int(self.now()), self.target.come_back_at(self.device.state)
        if at < back <= at + self.policy.max_wait_s:  # a wait that no service could ask for is of another clock
            return Outcome("too_early", back)
        self.before_asking(client, at)
        task = fetch_task(client, self.retry, self.draws.waiting, self.target.task_path, self.target.key)
        self.on_step("fetched")
        if isinstance(task, int):
            wait_s = min(task, self.policy.max_wait_s)
            return self._wait(self.target.none_open, at + wait_s + int(self.draws.waiting.uniform(0, wait_s / 10)))
        check_task(task, self.policy, at, self.target.purpose)
        self.target.check(task)
        self._follow_log(client, task.task_id, task_entry(task))
        if not task.plan.private and not is_loopback(client.base_url.host):
            raise TaskRefused("sigma=0: a sum without noise is for this machine only")
        self.on_step("checked")
        state = self.device.state
        refused = self.target.refused(state, task, self.policy, at)
        if refused is not None:
            return self._wait(refused, self._at_most(self.target.look_again_at(state, task, at), at))
        token = fetch_token(self.issuer, task, self.policy.app, partial(self._check_public, client))
        self._store(client, task, token, at)
        return self._deliver(client) or Outcome("took_part", task.come_back_at)

    def _check_public(self, client: httpx.Client, key: IssuerKey) -> None:
        """Check that an issuer's key is public: one made for this device alone would mark its report."""
        self._follow_log(client, f"issuer-keys/{key.token_key_id.hex()}", issuer_key_entry(key))

    def _follow_log(self, client: httpx.Client, name: str, entry: bytes) -> None:
        """Check that an entry is public, in the log that this device has seen so far; remember the log's new head.

        Raises LogRefused, and ServingError when the service has no proof to give.
        """
        if not self.policy.follows_log:
            return
        seen = self.device.state.participation.log_head
        since = 0 if seen is None else seen.size
        proof = fetch_log_proof(client, self.retry, self.draws.waiting, name, since)
        remember_head(self.device, proof.check(entry, self.policy.custodian_key, seen))

    def _store(self, client: httpx.Client, task: Task, token: bytes, at: int) -> None:
        """Compute, split and seal; then store bytes and charge, unless consent or cap were lost meanwhile."""
        contribution = self.target.contribution(self.device, client, task, self.draws, at)
        report = make_report(task, contribution.block, contribution.vectors, token, self.draws.rounding).to_bytes()
        self.on_step("computed")
        window_s = min(self.retry.spread_s, WINDOW_SHARE * (task.deadline - at))
        pending = PendingReport(task.hash, task.deadline, at + self.draws.waiting.uniform(0, window_s), report)
        back = self._at_most(task.come_back_at, at)

        def charge(state: DeviceState) -> DeviceState:
            if self.target.unavailable(state) is not None or self.target.pending(state) is not None:
                return state
            if self.target.refused(state, task, self.policy, at) is not None:
                return state
            return contribution.charge(state, pending, back)

        self.device.change(charge)
        self.on_step("stored")

    def _deliver(self, client: httpx.Client) -> Outcome | None:
        """Send the stored report until it is answered; None when there is none, or its time is over."""
        state = self.device.state
        pending, back = self.target.pending(state), self.target.come_back_at(state)
        if pending is None:
            return None
        if self.now() > pending.deadline:
            self._settle(pending, lost=True)
            return None

        def still_wanted() -> bool:
            return self.target.pending(self.device.state) == pending

        delivery = deliver(
            client, pending, self.retry, self.draws.waiting, self.now, still_wanted, self.target.report_path
        )
        self.on_step("sent")
        if delivery.status != "unsent" or self.now() > pending.deadline:
            self._settle(pending, lost=delivery.status != "accepted")
        self.on_step("cleared")
        return Outcome(delivery.status, back, delivery.detail, len(pending.report))

    def _settle(self, pending: PendingReport, *, lost: bool) -> None:
        def settle(state: DeviceState) -> DeviceState:
            return self.target.settled(state, lost=lost) if self.target.pending(state) == pending else state

        self.device.change(settle)

    def _wait(self, status: Status, until: int) -> Outcome:
        """Remember when to come back."""
        self.device.change(lambda state: self.target.with_come_back_at(state, until))
        return Outcome(status, until)

    def _at_most(self, until: int, at: int) -> int:
        """Bound a wait: no service can silence a device for longer than was agreed."""
        return min(until, at + self.policy.max_wait_s)
