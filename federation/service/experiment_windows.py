"""The service's side of running experiments: a window is a round whose sum is kept, and that is all.

One process advances windows; any number take reports.
"""

from __future__ import annotations

import math
import secrets
import threading
from functools import partial

from federation.learning.experiment_sum import window_task
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Task
from federation.protocol.report_head import MAX_HEAD_BYTES
from federation.protocol.tokens.report_token import Tokens
from federation.service.block_sum import Custodian
from federation.service.experiment_schema import ExperimentState
from federation.service.experiment_store import ExperimentStore, StoredExperiment
from federation.service.intake.intake import Intake, IntakeRound
from federation.service.intake.share_files import ShareStorage
from federation.service.round_machine import RoundMachine
from federation.service.round_schema import RoundState
from federation.service.window_store import StoredWindow
from federation.storage.crash_points import crash_point
from recsys.experiments.analysis.layout import MAX_COORDINATES

LEAST_WAIT_S = 60


class ExperimentRounds:
    """Windows of all apps' running experiments. Safe in threads, but `advance` is for one at a time."""

    def __init__(
        self,
        store: ExperimentStore,
        custodian: Custodian,
        shares: ShareStorage,
        tokens: Tokens,
        *,
        custodian_key: bytes,
        issuer_reports: int = 1_000_000,
        suite: Suite = Suite.X25519,
        patience_s: float = math.inf,
    ) -> None:
        """shares: a storage of its own. custodian_key: what its tasks must be signed with.

        patience_s: as of RoundMachine.
        """
        self.store, self._suite = store, suite
        self.machine = RoundMachine(store.windows, shares, custodian, custodian_key, patience_s)
        self._open: dict[str, StoredWindow] = {}
        self._looking = threading.Lock()
        self.intake = Intake(
            store.windows.reports, shares, tokens, round_of=self._round_of, issuer_reports=issuer_reports
        )
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes did."""
        with self._looking:
            unfinished = self.store.windows.unfinished()
            self._open = {window.task.task_id: window for window in unfinished if window.state is RoundState.OPEN}

    def task(self, app: str, experiment_id: str) -> Task | None:
        """Read the task of the experiment's open window."""
        for window in self._open.values():
            if (window.app, window.experiment_id) == (app, experiment_id):
                return window.task
        return None

    def come_back_s(self, app: str, experiment_id: str, now: int) -> int:
        """Compute the seconds until a next window may be open. Raises UnknownExperiment."""
        stored = self.store.get(app, experiment_id)
        if stored.state is not ExperimentState.RUNNING:
            return 86_400
        begun = len(self.store.windows.of(app, experiment_id))
        if begun >= stored.experiment.looks.count:
            return 86_400
        return max(stored.experiment.window(begun)[0] - now, LEAST_WAIT_S)

    @staticmethod
    def max_report_bytes() -> int:
        """Bound the bytes of a report to any window, one that another process has just opened too."""
        return MAX_HEAD_BYTES + 4 * MAX_COORDINATES

    def busy(self) -> bool:
        """Check if the custodian is being asked for something."""
        return self.machine.errands.busy()

    def stop(self) -> None:
        """Commit what is waiting."""
        self.intake.stop()

    def advance(self, now: int) -> bool:
        """Make the next transition of every window that is due, each by itself; whether there was one.

        Raises only what the store raises.
        """
        self.machine.clean(now)
        moved = self.machine.advance_all(now, is_full=_never_full, finish=_nothing_follows)
        for stored in self.store.all(state=ExperimentState.RUNNING):
            name = f"experiment {stored.app}/{stored.experiment.id}"
            moved |= self.machine.attempts.run(name, now, partial(self._begin_if_due, stored, now))
        self.refresh()
        return moved

    def _round_of(self, task_id: str) -> IntakeRound | None:
        window = self._open.get(task_id) or self.store.windows.of_task(task_id)
        if window is None or not window.task.signature:
            return None
        return IntakeRound(window.task, window.state is RoundState.OPEN, window.app)

    def _begin_if_due(self, stored: StoredExperiment, now: int) -> bool:
        """Draft the window of this moment; windows that passed while nobody advanced are left out."""
        experiment = stored.experiment
        begun = {window.window for window in self.store.windows.of(stored.app, experiment.id)}
        for number in range(max(begun, default=-1) + 1, experiment.looks.count):
            start, end = experiment.window(number)
            if start <= now < end:
                later = experiment.window(number + 1)[0] if number + 1 < experiment.looks.count else end
                task_id = f"experiment-{secrets.token_hex(8)}"
                draft = window_task(
                    experiment, number, task_id, deadline=end, come_back_at=max(later, end), suite=self._suite
                )
                self.store.windows.draft(stored.app, experiment, draft)
                crash_point("window drafted")
                return True
        return False


def _never_full(_: StoredWindow) -> bool:
    """Keep a window open until its deadline, however many devices have reported."""
    return False


def _nothing_follows(_: StoredWindow, __: int) -> bool:
    """Do nothing: a window's sum is its end."""
    return False
