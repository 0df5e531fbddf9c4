"""A device reports to a window of an experiment: one task, one report, as to a training round.

Every assigned device reports to every window it can, zeros too, at a random time: that it reports says nothing. The
exact bytes, what they say and what they cost are one durable write before the first byte is sent.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import httpx
import numpy as np

from data.errors import ServingError
from federation.device.asking.bounded_answer import PACKED, read_json
from federation.device.asking.client import service_client
from federation.device.delivery import Patience, deliver, fetch_task
from federation.device.device import Device
from federation.device.experiments.enrolment import assigned_arm, increments_at, keep_definitions
from federation.device.ledger import Entry, Pending
from federation.device.outcome_log import Enrolment
from federation.device.participation import Draws
from federation.device.report import DevicePolicy, check_task, make_report
from federation.device.state import DeviceState
from federation.learning.experiment_sum import PART, check_window
from federation.private_sum.accounting import rho_of
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Purpose, Task
from federation.protocol.transport import is_loopback
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.outcomes import MICROS

Status = Literal[
    "accepted", "rejected", "unsent", "no_consent", "unknown_experiment", "not_assigned", "no_window", "took_part",
    "budget_spent",
]  # fmt: skip


@dataclass(frozen=True)
class WindowOutcome:
    """What became of one attempt; detail: the code of a refusal. rejected: this device says no more from here on."""

    status: Status
    detail: str = ""
    report_bytes: int = 0


def experiment_path(experiment_id: str, what: Literal["task", "reports"]) -> str:
    """Where a device asks for a window's task, or sends its report."""
    return f"/v1/experiments/{experiment_id}/{what}"


def fetch_definitions(
    device: Device, service: str | httpx.Client, *, key: str | None = None, ca: Path | None = None
) -> tuple[str, ...]:
    """Know the service's running experiments, and no others; their ids. Raises ServingError or DataError.

    All devices are told the same: which of them it is in, and whether it lost a report with a window that failed, a
    device finds by itself.
    """
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with service_client(service, ca) as client:
        try:
            with client.stream("GET", "/v1/experiments", headers=headers | PACKED) as response:
                response.raise_for_status()
                answer = read_json(response, "experiments") or {}
            running = [one for one in answer["experiments"] if one["state"] == "running"]
            found = [experiment_of(one["definition"]) for one in running]
            failed = {one["id"]: [int(window) for window in one["failed_windows"]] for one in running}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ServingError(f"service: has no experiments to give ({type(error).__name__})") from None
    keep_definitions(device, found, failed)
    return tuple(one.id for one in found)


def report_window(
    device: Device,
    service: str | httpx.Client,
    policy: DevicePolicy,
    experiment_id: str,
    token: Callable[[], bytes],
    *,
    key: str | None = None,
    ca: Path | None = None,
    draws: Draws | None = None,
    patience: Patience | None = None,
    now: Callable[[], float] = clock.time,
) -> WindowOutcome:
    """Send one report to the experiment's open window, or finish sending the last one; arguments as of `take_part`.

    key: the one of scope `device` that the shop published, where a service has keys; it goes with the question for a
    task only.
    Raises TaskRefused for a task that the pinned custodian did not sign, or that is other or weaker than the definition
    held promises, and ServingError when the service cannot be asked.
    """
    draws, patience = draws or Draws(), patience or Patience()
    state = device.state
    if state.consent != "contribute":
        return WindowOutcome("no_consent")
    experiment = state.experiments.definition(experiment_id)
    if experiment is None:
        return WindowOutcome("unknown_experiment")
    if assigned_arm(state, experiment) is None:
        return WindowOutcome("not_assigned")
    with service_client(service, ca) as client:
        finished = _deliver(device, client, experiment, patience, draws, now)
        if finished is not None:
            return finished
        at = int(now())
        task = fetch_task(client, patience, draws.waiting, experiment_path(experiment_id, "task"), key)
        if isinstance(task, int):
            return WindowOutcome("no_window")
        check_task(task, policy, at, Purpose.EXPERIMENT)
        check_window(task, experiment)
        if not task.plan.private and not is_loopback(client.base_url.host):
            raise TaskRefused("sigma=0: a sum without noise is for this machine only")
        refused = _refused(device.state, experiment, task, policy)
        if refused is not None:
            return WindowOutcome(refused)
        _make(device, experiment, task, policy, token(), draws, patience, at)
        return _deliver(device, client, experiment, patience, draws, now) or WindowOutcome("took_part")


def _refused(state: DeviceState, experiment: Experiment, task: Task, policy: DevicePolicy) -> Status | None:
    """Why the device has no report for this window. Nothing that its shopper did decides about it."""
    own, account = state.experiments.enrolment(experiment), state.participation
    if own.window >= task.round or own.pending is not None:
        return "took_part"
    charged = [entry.rho for entry in account.experiments if entry.task_hash == own.fixed_hash]
    if charged:
        return None if rho_of(task.plan) <= charged[0] else "budget_spent"
    return "budget_spent" if account.epsilon(policy.delta, and_rho=rho_of(task.plan)) > policy.max_epsilon else None


def _make(
    device: Device,
    experiment: Experiment,
    task: Task,
    policy: DevicePolicy,
    token: bytes,
    draws: Draws,
    patience: Patience,
    at: int,
) -> None:
    """Count, split and seal; store bytes, what they say and what they cost, unless something changed meanwhile."""
    state, layout = device.state, layout_of(experiment)
    before = state.experiments.enrolment(experiment)
    arm = assigned_arm(state, experiment)
    if arm is None:
        return
    after, increments = increments_at(state.experiments, experiment, before, at * MICROS)
    vector = layout.contribution(experiment.group_of(arm.name), before.cell, increments)
    report = make_report(task, 0, {PART: vector.astype(np.float64)}, token, draws.rounding).to_bytes()
    window = min(patience.spread_s, (task.deadline - at) / 2)
    pending = Pending(task.hash, task.deadline, at + draws.waiting.uniform(0, window), report)

    def store(now: DeviceState) -> DeviceState:
        unchanged = now.experiments.enrolment(experiment) == before and assigned_arm(now, experiment) == arm
        if not unchanged or _refused(now, experiment, task, policy) is not None:
            return now
        account = now.participation
        if not any(entry.task_hash == before.fixed_hash for entry in account.experiments):
            account = account.with_experiment(Entry(before.fixed_hash, 0, at, rho_of(task.plan)))
        spoke = (*before.spoke, task.round) if increments.any() else before.spoke
        made = replace(after, window=task.round, pending=pending, spoke=spoke)
        return replace(now, participation=account, experiments=now.experiments.with_enrolment(made))

    device.change(store)


def _deliver(
    device: Device,
    client: httpx.Client,
    experiment: Experiment,
    patience: Patience,
    draws: Draws,
    now: Callable[[], float],
) -> WindowOutcome | None:
    """Send the stored report until it is answered; None when there is none, or its time is over.

    A report that was refused or never arrived is lost, and the device with it: its later increments would count
    outcomes of a shopper whom the sums do not have.
    """
    pending = device.state.experiments.enrolment(experiment).pending
    if pending is None:
        return None
    if now() > pending.deadline:
        _settle(device, experiment, pending, lost=True)
        return None

    def still_wanted() -> bool:
        return device.state.experiments.enrolment(experiment).pending == pending

    path = experiment_path(experiment.id, "reports")
    found = deliver(client, pending, patience, draws.waiting, now, still_wanted, path)
    if found.status != "unsent" or now() > pending.deadline:
        _settle(device, experiment, pending, lost=found.status != "accepted")
    return WindowOutcome(found.status, found.detail, len(pending.report))


def _settle(device: Device, experiment: Experiment, pending: Pending, *, lost: bool) -> None:
    def settle(state: DeviceState) -> DeviceState:
        own: Enrolment = state.experiments.enrolment(experiment)
        if own.pending != pending:
            return state
        settled = replace(own, pending=None, left=own.left or lost)
        return replace(state, experiments=state.experiments.with_enrolment(settled))

    device.change(settle)
