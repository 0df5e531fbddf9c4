"""A device takes part in a round: one task, one report, and free to vanish between any two steps.

The order of steps is the protection. The exact bytes of the report and its ledger entry are one durable write into
the vault before the first byte is sent, so that whatever is killed or lost, a report id never gets a second content
and the ledger is never behind what others may have received.
"""

from __future__ import annotations

import random
import time as clock
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import httpx
import numpy as np

from federation.device.asking.client import service_client
from federation.device.contribution import OwnHistory, training_vectors
from federation.device.delivery import RetryPolicy, deliver, fetch_task
from federation.device.device import Device
from federation.device.ledger import LedgerEntry, PendingReport
from federation.device.report import DevicePolicy, check_task, draw_block, make_report
from federation.device.state import DeviceState, known_columns
from federation.private_sum.accounting import rho_of
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Task
from federation.protocol.transport import is_loopback
from recsys.catalogue.catalogue import Catalogue

LEAST_WAIT_S = 60
HOLDOUT_SHARE = 0.1
"""Chance that a device never trains and only measures; drawn once, by itself."""

Status = Literal[
    "accepted",
    "rejected",
    "unsent",
    "no_consent",
    "no_round",
    "too_early",
    "took_part",
    "cap_reached",
    "period_full",
    "budget_spent",
]
Step = Literal["fetched", "checked", "computed", "stored", "sent", "cleared"]


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

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
    """A device's own chances. rounding: None is cryptographic randomness; a reproducible simulation gives its own."""

    block: Callable[[Task], int] = draw_block
    measures_only: Callable[[], bool] = field(default=lambda: random.SystemRandom().random() < HOLDOUT_SHARE)
    rounding: np.random.Generator | None = None
    waiting: random.Random = field(default_factory=random.SystemRandom)


def take_part(
    device: Device,
    service: str | httpx.Client,
    policy: DevicePolicy,
    token: Callable[[], bytes],
    *,
    ca: Path | None = None,
    history_at: int | None = None,
    draws: DeviceRandomness | None = None,
    retry: RetryPolicy | None = None,
    now: Callable[[], float] = clock.time,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Outcome:
    """Send one report to the service's open round, or finish sending the last one.

    token: asked for once a report is to be made; the right to report once. ca: as in service_client. history_at: the
    moment as of which the history is weighed, µs since 1970 UTC, now unless a log is replayed. now: seconds since 1970
    UTC. on_step: told after each step. Needs consent `contribute`. Raises TaskRefused for a task that the pinned
    custodian did not sign, or weaker than agreed, and ServingError when the service cannot be asked for a task.
    """
    draws, retry = draws or DeviceRandomness(), retry or RetryPolicy()
    state = device.state
    if state.consent != "contribute":
        return Outcome("no_consent")
    with service_client(service, ca) as client:
        if state.participation.pending is not None:
            finished = _deliver(device, client, retry, draws, now, on_step)
            if finished is not None:
                return finished
            state = device.state
        at = int(now())
        if at < state.participation.come_back_at:
            return Outcome("too_early", state.participation.come_back_at)
        found = fetch_task(client, retry, draws.waiting)
        on_step("fetched")
        if isinstance(found, int):
            wait = min(found, policy.max_wait_s)
            return _wait(device, "no_round", at + wait + int(draws.waiting.uniform(0, wait / 10)))
        check_task(found, policy, at)
        _check_clear(found, client)
        on_step("checked")
        refused = _refused(state, found, policy, at)
        if refused is not None:
            return _wait(device, refused, _back(state, found, policy, at))
        _make(device, client, found, policy, token(), draws, retry, at, history_at, on_step)
        return _deliver(device, client, retry, draws, now, on_step) or Outcome("took_part", found.come_back_at)


def _refused(state: DeviceState, task: Task, policy: DevicePolicy, at: int) -> Status | None:
    """Why the device has no report for this task, although the task is as agreed."""
    own = state.participation
    if own.took_part_in(task.hash):
        return "took_part"
    if own.count_since(0) >= policy.max_participations:
        return "cap_reached"
    if policy.max_per_period and own.count_since(at - policy.period_s) >= policy.max_per_period:
        return "period_full"
    if own.epsilon(policy.delta, and_rho=rho_of(task.plan)) > policy.max_epsilon:
        return "budget_spent"
    return None


def _back(state: DeviceState, task: Task, policy: DevicePolicy, at: int) -> int:
    """When to look again: when the task says, but not sooner than as long again as since the last report."""
    entries = state.participation.entries
    since = at - entries[-1].at if entries else 0
    return min(max(task.come_back_at, at + max(since, LEAST_WAIT_S)), at + policy.max_wait_s)


def _make(
    device: Device,
    client: httpx.Client,
    task: Task,
    policy: DevicePolicy,
    token: bytes,
    draws: DeviceRandomness,
    retry: RetryPolicy,
    at: int,
    history_at: int | None,
    on_step: Callable[[Step], None],
) -> None:
    """Compute, clip, split and seal; then store bytes and ledger entry, unless consent or cap were lost meanwhile."""
    state, catalogue = device.state, _catalogue_of(device, client, task)
    coin = state.participation.measures_only
    measures_only = draws.measures_only() if coin is None else coin
    block = draws.block(task)
    events = known_columns(state.events, catalogue.items)
    own = OwnHistory(*events, at=at * 1_000_000 if history_at is None else history_at)
    vectors = training_vectors(own, catalogue, task, block, measures_only=measures_only)
    report = make_report(task, block, vectors, token, draws.rounding).to_bytes()
    on_step("computed")
    window = min(retry.spread_s, (task.deadline - at) / 2)
    pending = PendingReport(task.hash, task.deadline, at + draws.waiting.uniform(0, window), report)
    entry = LedgerEntry(task.hash, task.round, at, rho_of(task.plan))
    come_back_at = min(task.come_back_at, at + policy.max_wait_s)

    def store(now: DeviceState) -> DeviceState:
        own = now.participation
        if now.consent != "contribute" or own.pending is not None or _refused(now, task, policy, at) is not None:
            return now
        own = replace(own, measures_only=measures_only)
        return replace(now, participation=own.with_report(entry, pending, come_back_at))

    device.change(store)
    on_step("stored")


def _catalogue_of(device: Device, client: httpx.Client, task: Task) -> Catalogue:
    """The catalogue that the custodian signed for, without what changed about items since: the signed table has no row
    for a new item. Fetched if the device holds another. Raises TaskRefused.
    """
    held = device.catalogue
    if held is None or held.bundle_version != task.bundle_version or device.catalogue_hash != task.bundle_hash:
        device.refresh(client)
        held = device.catalogue
    if held is None or held.bundle_version != task.bundle_version:
        raise TaskRefused(f"bundle_version={task.bundle_version}: is not what the service hands out")
    if device.catalogue_hash != task.bundle_hash:
        raise TaskRefused(f"bundle_hash={task.bundle_hash.hex()[:16]}…: the service hands out another catalogue")
    return held.of_bundle


def _deliver(
    device: Device,
    client: httpx.Client,
    retry: RetryPolicy,
    draws: DeviceRandomness,
    now: Callable[[], float],
    on_step: Callable[[Step], None],
) -> Outcome | None:
    """Send the stored report until it is answered; None when there is none, or its time is over."""
    state = device.state
    pending, back = state.participation.pending, state.participation.come_back_at
    if pending is None:
        return None
    if now() > pending.deadline:
        _clear(device, pending)
        return None

    def still_wanted() -> bool:
        return device.state.participation.pending == pending

    found = deliver(client, pending, retry, draws.waiting, now, still_wanted)
    on_step("sent")
    if found.status != "unsent" or now() > pending.deadline:
        _clear(device, pending)
    on_step("cleared")
    return Outcome(found.status, back, found.detail, len(pending.report))


def _clear(device: Device, pending: PendingReport) -> None:
    def clear(state: DeviceState) -> DeviceState:
        if state.participation.pending != pending:
            return state
        return replace(state, participation=state.participation.without_report())

    device.change(clear)


def _wait(device: Device, status: Status, until: int) -> Outcome:
    """Remember when to come back."""
    device.change(lambda state: replace(state, participation=replace(state.participation, come_back_at=until)))
    return Outcome(status, until)


def _check_clear(task: Task, client: httpx.Client) -> None:
    if not task.plan.private and not is_loopback(client.base_url.host):
        raise TaskRefused("sigma=0: a sum without noise is for this machine only")
