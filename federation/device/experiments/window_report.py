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
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.experiments.enrolment import assigned_arm, increments_at, keep_definitions
from federation.device.ledger import LedgerEntry, PendingReport
from federation.device.report import DevicePolicy
from federation.device.reporting import Contribution, DeviceRandomness, Outcome, Reporter, Status
from federation.device.state import DeviceState
from federation.device.tokens.issuing import TokenIssuer
from federation.learning.experiment_sum import PART, check_window
from federation.private_sum.accounting import rho_of
from federation.private_sum.refusals import TaskRefused
from federation.protocol.messages import Purpose, Task
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.outcomes import MICROS


def experiment_path(experiment_id: str, what: Literal["task", "reports"]) -> str:
    """Name the path where a device asks for a window's task, or sends its report."""
    return f"/v1/experiments/{experiment_id}/{what}"


def fetch_definitions(
    device: Device, service: str | httpx.Client, *, key: str | None = None, ca: Path | None = None
) -> tuple[str, ...]:
    """Fetch the service's running experiments and know no others; their ids. Raises ServingError or DataError.

    All devices are told the same: which of them it is in, and whether it lost a report with a window that failed, a
    device finds by itself.
    """
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    with service_client(service, ca) as client:
        try:
            with client.stream("GET", "/v1/experiments", headers=headers | PACKED) as response:
                response.raise_for_status()
                answer = read_json(response, "experiments") or {}
            running = [entry for entry in answer["experiments"] if entry["state"] == "running"]
            definitions = [experiment_of(entry["definition"]) for entry in running]
            failed = {entry["id"]: [int(window) for window in entry["failed_windows"]] for entry in running}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise ServingError(f"service: has no experiments to give ({type(error).__name__})") from None
    keep_definitions(device, definitions, failed)
    return tuple(experiment.id for experiment in definitions)


def report_window(
    device: Device,
    service: str | httpx.Client,
    policy: DevicePolicy,
    experiment_id: str,
    issuer: TokenIssuer,
    *,
    key: str | None = None,
    ca: Path | None = None,
    draws: DeviceRandomness | None = None,
    retry: RetryPolicy | None = None,
    now: Callable[[], float] = clock.time,
) -> Outcome:
    """Send one report to the experiment's open window, or finish sending the last one; arguments as of `take_part`.

    key: the one of scope `device` that the shop published, where a service has keys; it goes with the question for a
    task only. After a report that was rejected the device says nothing but zeros.
    Raises TaskRefused for a task that the pinned custodian did not sign, or that is other or weaker than the definition
    held promises, and ServingError when the service cannot be asked.
    """
    state = device.state
    if state.consent != "contribute":
        return Outcome("no_consent")
    experiment = state.experiments.definition(experiment_id)
    if experiment is None:
        return Outcome("unknown_experiment")
    target = ExperimentWindow(experiment, key)
    return Reporter(device, target, policy, issuer, draws or DeviceRandomness(), retry or RetryPolicy(), now).report(
        service, ca
    )


@dataclass(frozen=True)
class ExperimentWindow:
    """The open window of an experiment. A lost report ends what the device says in it.

    Its later increments would count outcomes of a shopper whom the sums do not have.
    """

    experiment: Experiment
    key: str | None = None
    purpose: Purpose = Purpose.EXPERIMENT
    none_open: Status = "no_window"

    @property
    def task_path(self) -> str:
        """Name the path where its task is asked for."""
        return experiment_path(self.experiment.id, "task")

    @property
    def report_path(self) -> str:
        """Name the path where its reports go."""
        return experiment_path(self.experiment.id, "reports")

    def unavailable(self, state: DeviceState) -> Status | None:
        """Say no_consent or not_assigned of a device that no arm takes."""
        if state.consent != "contribute":
            return "no_consent"
        return "not_assigned" if assigned_arm(state, self.experiment) is None else None

    def pending(self, state: DeviceState) -> PendingReport | None:
        """Read the report on its way."""
        return state.experiments.enrolment(self.experiment).pending

    def come_back_at(self, state: DeviceState) -> int:
        """Read when to ask for a task again."""
        return state.experiments.enrolment(self.experiment).come_back_at

    def with_come_back_at(self, state: DeviceState, until: int) -> DeviceState:
        """Remember when to ask again."""
        enrolment = replace(state.experiments.enrolment(self.experiment), come_back_at=until)
        return replace(state, experiments=state.experiments.with_enrolment(enrolment))

    def check(self, task: Task) -> None:
        """Raise TaskRefused for a task that is other than the definition promises."""
        check_window(task, self.experiment)

    def refused(self, state: DeviceState, task: Task, policy: DevicePolicy, at: int) -> Status | None:
        """Say why the device has no report for this window. Nothing that its shopper did decides about it."""
        enrolment, account = state.experiments.enrolment(self.experiment), state.participation
        if enrolment.window >= task.round:
            return "took_part"
        charged = [entry.rho for entry in account.experiments if entry.task_hash == enrolment.fixed_hash]
        if charged:
            return None if rho_of(task.plan) <= charged[0] else "budget_spent"
        return "budget_spent" if account.epsilon(policy.delta, and_rho=rho_of(task.plan)) > policy.max_epsilon else None

    def look_again_at(self, state: DeviceState, task: Task, at: int) -> int:
        """Look again when the task says that the next window may be open."""
        return task.come_back_at

    def contribution(
        self, device: Device, client: httpx.Client, task: Task, draws: DeviceRandomness, at: int
    ) -> Contribution:
        """Count how much each outcome has grown since the last report. Raises TaskRefused for a device in no arm."""
        state, layout = device.state, layout_of(self.experiment)
        before = state.experiments.enrolment(self.experiment)
        arm = assigned_arm(state, self.experiment)
        if arm is None:
            raise TaskRefused(f"experiment {self.experiment.id}: this device is in none of its arms any more")
        after, increments = increments_at(state.experiments, self.experiment, before, at * MICROS)
        vector = layout.contribution(self.experiment.group_of(arm.name), before.cell, increments)
        spoke = (*before.spoke, task.round) if increments.any() else before.spoke

        def charge(now: DeviceState, pending: PendingReport, come_back_at: int) -> DeviceState:
            if now.experiments.enrolment(self.experiment) != before or assigned_arm(now, self.experiment) != arm:
                return now
            account = now.participation
            if not any(entry.task_hash == before.fixed_hash for entry in account.experiments):
                account = account.with_experiment(LedgerEntry(before.fixed_hash, 0, at, rho_of(task.plan)))
            enrolment = replace(after, window=task.round, pending=pending, spoke=spoke, come_back_at=come_back_at)
            return replace(now, participation=account, experiments=now.experiments.with_enrolment(enrolment))

        return Contribution(0, {PART: vector.astype(np.float64)}, charge)

    def settled(self, state: DeviceState, *, lost: bool) -> DeviceState:
        """Forget the report on its way; from a lost one on, the device says nothing but zeros."""
        enrolment = state.experiments.enrolment(self.experiment)
        settled = replace(enrolment, pending=None, left=enrolment.left or lost)
        return replace(state, experiments=state.experiments.with_enrolment(settled))
