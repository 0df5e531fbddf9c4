"""A device takes part in a training round: one task, one report, and free to vanish between any two steps."""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from federation.device.budget.take_back import take_back
from federation.device.contribution import OwnHistory, training_vectors
from federation.device.delivery import REPORTS, TASK, RetryPolicy
from federation.device.device import Device
from federation.device.ledger import LedgerEntry, PendingReport
from federation.device.mixing.mix_contribution import is_mix_task, mix_vectors
from federation.device.report import DevicePolicy
from federation.device.reporting import Contribution, DeviceRandomness, Outcome, Reporter, Status, Step
from federation.device.state import DeviceState, known_columns
from federation.device.tokens.issuing import TokenIssuer
from federation.learning.mix_sum import SHARE_OF_ROUND, mix_sum_of
from federation.private_sum.accounting import rho_of
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.report_share import proof_error
from federation.protocol.messages import Purpose, Task
from recsys.catalogue.catalogue import Catalogue

LEAST_WAIT_S = 60
_ROUNDING = 1e-9
"""Of counts of fifths, against a cap."""


def take_part(
    device: Device,
    service: str | httpx.Client,
    policy: DevicePolicy,
    issuer: TokenIssuer,
    *,
    ca: Path | None = None,
    history_at: int | None = None,
    draws: DeviceRandomness | None = None,
    retry: RetryPolicy | None = None,
    now: Callable[[], float] = clock.time,
    on_step: Callable[[Step], None] = lambda _: None,
) -> Outcome:
    """Send one report to the service's open round, or finish sending the last one.

    issuer: signs the right to report once, blindly, when a report is to be made. ca: as in service_client. history_at:
    the moment as of which the history is weighed, µs since 1970 UTC, now unless a log is replayed. now: seconds since
    1970 UTC. on_step: told after each step. Needs consent `contribute`. Raises TaskRefused for a task that the pinned
    custodian did not sign, or weaker than agreed, and ServingError when the service cannot be asked for a task.
    """
    draws, retry = draws or DeviceRandomness(), retry or RetryPolicy()

    def before_asking(client: httpx.Client, at: int) -> None:
        take_back(device, client, policy, retry, draws.waiting, at)

    reporter = Reporter(device, TrainingRound(history_at), policy, issuer, draws, retry, now, on_step, before_asking)
    return reporter.report(service, ca)


@dataclass(frozen=True)
class TrainingRound:
    """The service's open training round. history_at: as of take_part."""

    history_at: int | None = None
    purpose: Purpose = Purpose.TRAINING
    task_path: str = TASK
    report_path: str = REPORTS
    key: str | None = None
    none_open: Status = "no_round"

    def unavailable(self, state: DeviceState) -> Status | None:
        """Say no_consent unless the shopper agreed to contribute."""
        return None if state.consent == "contribute" else "no_consent"

    def pending(self, state: DeviceState) -> PendingReport | None:
        """Read the report on its way."""
        return state.participation.pending

    def come_back_at(self, state: DeviceState) -> int:
        """Read when to ask for a task again."""
        return state.participation.come_back_at

    def with_come_back_at(self, state: DeviceState, until: int) -> DeviceState:
        """Remember when to ask again."""
        return replace(state, participation=replace(state.participation, come_back_at=until))

    def check(self, task: Task) -> None:
        """Accept any parts: training_vectors refuses those that training does not have."""

    def refused(self, state: DeviceState, task: Task, policy: DevicePolicy, at: int) -> Status | None:
        """Say why the device has no report for this task, although the task is as agreed."""
        account = state.participation
        if account.took_part_in(task.hash):
            return "took_part"
        cost = _cost_of(task, at, account.judges)
        if account.count_since(0) + cost.share > policy.max_participations + _ROUNDING:
            return "cap_reached"
        lately = account.count_since(at - policy.period_s, at + policy.period_s)  # beyond: entries of another clock
        if policy.max_per_period and lately + cost.share > policy.max_per_period + _ROUNDING:
            return "period_full"
        if account.epsilon(policy.delta, and_rho=cost.rho, and_proof_error=cost.proof_error) > policy.max_epsilon:
            return "budget_spent"
        return None

    def look_again_at(self, state: DeviceState, task: Task, at: int) -> int:
        """Look again when the task says, but not sooner than as long again as since the last report."""
        entries = state.participation.entries
        since = at - entries[-1].at if entries else 0
        return max(task.come_back_at, at + max(since, LEAST_WAIT_S))

    def contribution(
        self, device: Device, client: httpx.Client, task: Task, draws: DeviceRandomness, at: int
    ) -> Contribution:
        """Compute and clip the device's update to one block, or only its figures if it measures only.

        In a round of the mix it adds to the steps or to the guard, by a coin of its own; to the others zeros, which
        tell nothing and cost nothing.
        """
        state, catalogue = device.state, _catalogue_of(device, client, task)
        account = state.participation
        measures_only = draws.measures_only() if account.measures_only is None else account.measures_only
        block = draws.block(task)
        events = known_columns(state.events, catalogue.items)
        history = OwnHistory(*events, at=at * 1_000_000 if self.history_at is None else self.history_at)
        judges = account.judges
        if is_mix_task(task):
            judges = (measures_only or draws.judges()) if judges is None else judges
            vectors = mix_vectors(history, catalogue, task, judges=judges)
        else:
            vectors = training_vectors(history, catalogue, task, block, measures_only=measures_only)
        entry = _cost_of(task, at, judges, block)

        def charge(now: DeviceState, pending: PendingReport, come_back_at: int) -> DeviceState:
            decided = replace(now.participation, measures_only=measures_only, judges=judges)
            return replace(now, participation=decided.with_report(entry, pending, come_back_at))

        return Contribution(block, vectors, charge)

    def settled(self, state: DeviceState, *, lost: bool) -> DeviceState:
        """Forget the report on its way; what it cost stays, lost or not."""
        return replace(state, participation=state.participation.without_report())


def _cost_of(task: Task, at: int, judges: bool | None, block: int | None = None) -> LedgerEntry:
    """Charge a report to a task. judges: None before the coin is thrown; then every sum of the mix may be meant."""
    kind = mix_sum_of([part.name for part in task.plan.parts])
    rho, error = rho_of(task.plan), proof_error(task.plan, task.suite)
    if kind is None:
        return LedgerEntry(task.hash, task.round, at, rho, error, block)
    if judges is None or judges == (kind == "guard"):
        return LedgerEntry(task.hash, task.round, at, rho, error, block, share=SHARE_OF_ROUND)
    return LedgerEntry(task.hash, task.round, at, 0.0, error, block, share=0.0)


def _catalogue_of(device: Device, client: httpx.Client, task: Task) -> Catalogue:
    """Get the catalogue that the custodian signed for, fetched if the device holds another. Raises TaskRefused.

    Without what changed about items since: the signed table has no row for a new item.
    """
    current = device.catalogue
    if current is None or current.bundle_version != task.bundle_version or device.catalogue_hash != task.bundle_hash:
        device.refresh(client)
        current = device.catalogue
    if current is None or current.bundle_version != task.bundle_version:
        raise TaskRefused(f"bundle_version={task.bundle_version}: is not what the service hands out")
    if device.catalogue_hash != task.bundle_hash:
        raise TaskRefused(f"bundle_hash={task.bundle_hash.hex()[:16]}…: the service hands out another catalogue")
    return current.of_bundle
