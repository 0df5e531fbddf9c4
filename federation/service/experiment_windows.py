"""The service's side of running experiments: each window drafted → open → closed → summed, or failed; resumable.

The same steps as training rounds (federation/service/coordinator.py) with another end: a window's sum is kept, and
that is all.
One process advances windows; any number take reports.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from data.errors import BudgetExhausted, FederationError
from federation.learning.experiment_sum import window_task
from federation.private_sum.refusals import ForeignTask, PlanRefused, TaskRefused
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Task
from federation.protocol.report_head import MAX_HEAD_BYTES
from federation.protocol.report_tokens import Tokens
from federation.service.block_sum import Custodian, sum_block
from federation.service.coordinator import SUM_WITHIN_S
from federation.service.experiment_schema import ExperimentState
from federation.service.experiment_store import ExperimentStore, StoredExperiment, StoredWindow
from federation.service.intake.intake import Intake, IntakeRound
from federation.service.intake.share_files import ShareFolder
from federation.service.round_schema import RoundState
from federation.storage.crash_points import crash_point
from recsys.experiments.analysis.layout import MAX_COORDINATES

log = logging.getLogger("ownshelf.federation")

LEAST_WAIT_S = 60


class ExperimentRounds:
    """Windows of all apps' running experiments. Safe in threads, but `advance` is for one at a time."""

    def __init__(
        self,
        store: ExperimentStore,
        custodian: Custodian,
        shares: Path,
        tokens: Tokens,
        *,
        custodian_key: bytes,
        issuer_reports: int = 1_000_000,
        suite: Suite = Suite.X25519,
    ) -> None:
        """shares: a folder of its own. custodian_key: what its tasks must be signed with."""
        self.store, self._custodian, self._custodian_key, self._suite = store, custodian, custodian_key, suite
        self._shares = ShareFolder(shares)
        self._open: dict[str, StoredWindow] = {}
        self._looking = threading.Lock()
        self.intake = Intake(
            store.reports, self._shares, tokens, round_of=self._round_of, issuer_reports=issuer_reports
        )
        self.refresh()

    def refresh(self) -> None:
        """See what other processes did."""
        with self._looking:
            self._open = {one.task.task_id: one for one in self.store.unfinished() if one.state is RoundState.OPEN}

    def task(self, app: str, experiment_id: str) -> Task | None:
        """The task of the experiment's open window."""
        for one in self._open.values():
            if (one.app, one.experiment_id) == (app, experiment_id):
                return one.task
        return None

    def come_back_s(self, app: str, experiment_id: str, now: int) -> int:
        """Seconds until a next window may be open. Raises UnknownExperiment."""
        held = self.store.get(app, experiment_id)
        if held.state is not ExperimentState.RUNNING:
            return 86_400
        begun = len(self.store.windows(app, experiment_id))
        if begun >= held.experiment.looks.count:
            return 86_400
        return max(held.experiment.window(begun)[0] - now, LEAST_WAIT_S)

    @staticmethod
    def max_report_bytes() -> int:
        """The longest report that any window can have, one that another process has just opened too."""
        return MAX_HEAD_BYTES + 4 * MAX_COORDINATES

    def stop(self) -> None:
        """Commit what is waiting."""
        self.intake.stop()

    def advance(self, now: int) -> bool:
        """Make every transition that is due; whether there was one. Raises what the custodian's client raises."""
        moved = False
        for window in self.store.unfinished():
            if window.state is RoundState.DRAFTED:
                moved |= self._sign(window, now)
            elif window.state is RoundState.OPEN:
                moved |= self._close_if_due(window, now)
            else:
                moved |= self._sum(window, now)
        for held in self.store.all(state=ExperimentState.RUNNING):
            moved |= self._begin_if_due(held, now)
        self._clean()
        self.refresh()
        return moved

    def _round_of(self, task_id: str) -> IntakeRound | None:
        window = self._open.get(task_id) or self.store.window_of(task_id)
        if window is None or not window.task.signature:
            return None
        return IntakeRound(window.task, window.state is RoundState.OPEN, window.app)

    def _begin_if_due(self, held: StoredExperiment, now: int) -> bool:
        """Draft the window of this moment; windows that passed while nobody advanced are left out."""
        experiment = held.experiment
        begun = {one.window for one in self.store.windows(held.app, experiment.id)}
        for number in range(max(begun, default=-1) + 1, experiment.looks.count):
            start, end = experiment.window(number)
            if start <= now < end:
                later = experiment.window(number + 1)[0] if number + 1 < experiment.looks.count else end
                task_id = f"experiment-{secrets.token_hex(8)}"
                draft = window_task(
                    experiment, number, task_id, deadline=end, come_back_at=max(later, end), suite=self._suite
                )
                self.store.draft(held.app, experiment, draft)
                crash_point("window drafted")
                return True
        return False

    def _sign(self, window: StoredWindow, now: int) -> bool:
        if now > window.task.deadline:
            return self._fail(window, "the custodian was not reached in time", now)
        try:
            task = self._custodian.open_round(window.task)
        except (BudgetExhausted, TaskRefused, PlanRefused) as refusal:
            return self._fail(window, f"refused by the custodian: {refusal}", now)
        if not task.is_signed_by(self._custodian_key):
            return self._fail(window, "the task is not signed with the custodian's key", now)
        self.store.opened(task)
        crash_point("window opened")
        return True

    def _close_if_due(self, window: StoredWindow, now: int) -> bool:
        if now <= window.task.deadline:
            return False
        self.store.close(window.task.task_id)
        crash_point("window closed")
        return True

    def _sum(self, window: StoredWindow, now: int) -> bool:
        task = window.task
        if now > task.deadline + SUM_WITHIN_S:
            return self._fail(window, "was not summed in time", now)
        try:
            found = sum_block(task, 0, self.store.reports.of_block(task.task_id, 0), self._shares, self._custodian)
        except (ForeignTask, BudgetExhausted) as refusal:
            return self._fail(window, f"refused by the custodian: {refusal}", now)
        if found.words is None:
            return self._fail(window, f"has no min_reports={task.plan.min_reports}", now)
        self.store.summed(task.task_id, found, now)
        crash_point("window summed")
        return True

    def _fail(self, window: StoredWindow, reason: str, now: int) -> bool:
        log.warning("task_id=%s: failed, %s", window.task.task_id, reason)
        self.store.failed(window.task.task_id, window.state, reason, now)
        return True

    def _clean(self) -> None:
        """Destroy shares and keys that no window needs; an unreachable custodian is asked again next time."""
        for stray in self._strays():
            self._shares.destroy(stray)  # of a report that came while its window was being cleaned
        for window in self.store.uncleaned():
            task_id = window.task.task_id
            self._shares.destroy(task_id)
            try:
                self._custodian.close(task_id)
            except ForeignTask:
                pass  # it never had a key
            except (FederationError, OSError) as error:
                log.warning("task_id=%s: not closed yet (%s)", task_id, type(error).__name__)
                continue
            self.store.cleaned(task_id)

    def _strays(self) -> Iterator[str]:
        there = self._shares.rounds()
        kept = {one.task.task_id for one in (*self.store.unfinished(), *self.store.uncleaned())}
        yield from there.difference(kept)
