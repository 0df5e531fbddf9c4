"""Where reports come in: judged by their heads, then committed in groups, and answered only after that.

While one group is written the next one gathers, so a commit's syncs are shared by as many reports as came meanwhile.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy.exc import SQLAlchemyError

from data.errors import ReportRejected
from federation.private_sum.refusals import LateReport, MalformedReport
from federation.protocol.messages import Task
from federation.protocol.report_head import ReportHead, check_head
from federation.protocol.tokens.report_token import Right, Tokens
from federation.service.intake.report_refusals import IntakeUnavailable, StaleReport, code_of
from federation.service.intake.report_store import Arrival, ReportStore, Status, judge
from federation.service.intake.share_files import ShareStorage
from federation.storage.crash_points import crash_point
from federation.storage.database import reason_of

log = logging.getLogger("ownshelf.federation")

LOOK_S = 0.1
MAX_GROUP = 64
"""Reports of one commit: 32 MB of shares at half a megabyte each."""


@dataclass(frozen=True)
class IntakeRound:
    """A round's task, whether it takes reports, and the app of whose devices alone."""

    task: Task
    is_open: bool
    app: str


@dataclass(frozen=True)
class _QueuedReport:
    head: ReportHead
    body: bytes | bytearray = field(repr=False)
    found: Right | ReportRejected
    answer: Future[Status]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the whole report; computed by the thread that commits."""
        return hashlib.sha256(self.body).digest()

    @property
    def share(self) -> memoryview:
        return memoryview(self.body)[self.head.share_at :]


class Intake:
    """One per process. Its only thread writes; callers wait for their report's future."""

    def __init__(
        self,
        reports: ReportStore,
        shares: ShareStorage,
        tokens: Tokens,
        *,
        round_of: Callable[[str], IntakeRound | None],
        issuer_reports: int,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        """round_of: the round of a task_id, if it may be open. issuer_reports: the most that one issuer's tokens may
        bring to a round. look: reads what other processes did to rounds.
        """
        self._look, self._looking, self._looked_at = look, threading.Lock(), 0.0
        self._reports, self._shares, self._tokens = reports, shares, tokens
        self._round_of, self._issuer_reports = round_of, issuer_reports
        self._outcomes: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._queue: queue.SimpleQueue[_QueuedReport | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)
        self._thread.start()

    def screen(self, head: ReportHead, now: int) -> Right | ReportRejected:
        """Screen a head alone: the token's right, or why a report will be refused unless it is known already.

        A report that was taken before is a duplicate, whatever became of its round and token in the meantime; `known`
        says whether that may be so.
        """
        round_ = self._round_of(head.task_id)
        try:
            if round_ is None:
                return StaleReport(f"task_id={head.task_id}: must be that of the open round")
            if not round_.is_open or now > round_.task.deadline:
                return LateReport(f"task_id={head.task_id}: takes no more reports")
            check_head(head, round_.task)
            return self._tokens.check(head.token, round_.task, round_.app)
        except ReportRejected as refusal:
            return refusal

    def look_again(self, head: ReportHead, now: int) -> Right | ReportRejected:
        """Screen a head once more, after a look at rounds that another host may have opened; asks the store.

        Looks are LOOK_S apart, whatever comes.
        """
        with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_S:
                self._looked_at = time.monotonic()
                self._look()
        return self.screen(head, now)

    def known(self, head: ReportHead) -> bool:
        """Check if a report with this id was taken before; asks the store."""
        return head.report_id in self._reports.known([head.report_id])

    def take(self, head: ReportHead, body: bytes | bytearray, verdict: Right | ReportRejected) -> Future[Status]:
        """Commit a whole report; the future holds its status, or the refusal it raises.

        verdict: what `screen` said of its head.
        """
        answer: Future[Status] = Future()
        if len(body) != head.report_bytes:
            malformed = MalformedReport(f"report of {len(body)} bytes: must be {head.report_bytes}")
            self.count(malformed)
            answer.set_exception(malformed)
            return answer
        self._queue.put(_QueuedReport(head, body, verdict, answer))
        return answer

    def count(self, outcome: Status | ReportRejected) -> None:
        """Count an outcome that was not counted by `take`: a refusal by the head alone."""
        name = code_of(outcome) if isinstance(outcome, ReportRejected) else outcome
        with self._counting:
            self._outcomes[name] += 1

    def outcomes(self) -> dict[str, int]:
        """Count reports so far in this process: accepted, duplicate, and by the code of their refusal."""
        with self._counting:
            return dict(self._outcomes)

    def stop(self) -> None:
        """Commit what is waiting, then end the thread."""
        self._queue.put(None)
        self._thread.join()
        self._shares.release()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group: list[_QueuedReport] = []
            report = self._queue.get()
            while report is not None:
                group.append(report)
                if len(group) == MAX_GROUP or self._queue.empty():
                    break
                report = self._queue.get()
            stopping = report is None
            for task_id in dict.fromkeys(waiting.head.task_id for waiting in group):
                self._commit(task_id, [waiting for waiting in group if waiting.head.task_id == task_id])

    def _commit(self, task_id: str, group: list[_QueuedReport]) -> None:
        try:
            known = self._reports.known(waiting.head.report_id for waiting in group)
            fresh = []
            for waiting in group:
                if waiting.head.report_id in known:
                    self._answer(waiting, judge(task_id, waiting.digest, known[waiting.head.report_id]))
                elif isinstance(waiting.found, ReportRejected):
                    self._answer(waiting, waiting.found)
                else:
                    fresh.append((waiting, waiting.found))
            if fresh:
                self._store(task_id, fresh)
        except (OSError, SQLAlchemyError) as error:
            log.error("%s while reports were committed", reason_of(error))  # its text may hold what they held
            for waiting in group:
                if not waiting.answer.done():
                    self._answer(waiting, IntakeUnavailable("report: cannot be made durable now, send it again later"))
        except Exception as error:  # noqa: BLE001  # the thread must live, and nobody may wait for ever
            log.error("%s while reports were committed", type(error).__name__)
            for waiting in group:
                if not waiting.answer.done():
                    waiting.answer.set_exception(RuntimeError(type(error).__name__))

    def _store(self, task_id: str, fresh: list[tuple[_QueuedReport, Right]]) -> None:
        places = self._shares.append(task_id, [waiting.share for waiting, _ in fresh])
        crash_point("shares synced")
        arrivals = [
            Arrival(
                task_id=task_id,
                report_id=waiting.head.report_id,
                block=waiting.head.block,
                digest=waiting.digest,
                sealed_seed=waiting.head.sealed_seed,
                issuer=right.tag,
                serial=right.serial,
                token=waiting.head.token,
                place=place,
            )
            for (waiting, right), place in zip(fresh, places, strict=True)
        ]
        outcomes = self._reports.admit(task_id, arrivals, self._issuer_reports)
        crash_point("reports committed")
        for (waiting, _), outcome in zip(fresh, outcomes, strict=True):
            self._answer(waiting, outcome)

    def _answer(self, waiting: _QueuedReport, outcome: Status | ReportRejected) -> None:
        self.count(outcome)
        if isinstance(outcome, ReportRejected):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)
