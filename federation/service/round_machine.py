"""Advance one round: drafted → open → closed → summed, or failed. Training rounds and experiment windows alike.

Each arrow is one transaction, taken after everything it promises is durable. What a crash leaves half done is done
again with the same result: the custodian replays its answers, and a sum that nobody saw may get fresh noise.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Generic

from data.errors import BudgetExhausted
from federation.private_sum.refusals import ForeignTask, PlanRefused, TaskRefused
from federation.private_sum.report_share import share_bytes
from federation.protocol.merkle_log import LogRefused
from federation.protocol.messages import Task
from federation.protocol.no_answer import NoAnswer
from federation.protocol.transparency import LogProof, task_entry
from federation.service.attempts import Attempts
from federation.service.block_sum import NOT_SUMMED, Custodian, sum_block
from federation.service.errands import Errands
from federation.service.intake.report_store import StoredReport, of_large_issuers
from federation.service.intake.share_files import ShareLost, ShareStorage
from federation.service.round_schema import RoundState
from federation.service.round_store import AnyRound, RoundStore, StoredSum
from federation.storage.crash_points import crash_point

log = logging.getLogger("ownshelf.federation")

SUM_WITHIN_S = 2 * 86_400
"""A closed round is summed within this time after its deadline, or not at all: its key is destroyed by then."""


ASKS_CUSTODIAN = (RoundState.DRAFTED, RoundState.CLOSED)
"""States whose next transition waits for the other party."""

LOOKS = 7
"""A share that is not there is looked for so often, over a minute or more, before its report is left out: a file system
that hosts share may be behind, or not be mounted."""


class RoundMachine(Generic[AnyRound]):
    """The transitions that all rounds share. One process at a time may use it."""

    def __init__(
        self,
        store: RoundStore[AnyRound],
        shares: ShareStorage,
        custodian: Custodian,
        custodian_key: bytes,
        patience_s: float = math.inf,
    ) -> None:
        """custodian_key: Ed25519 public key (32 bytes) that tasks must be signed with.

        patience_s: how long other rounds wait while one asks the custodian; the asking itself goes on beside them.
        """
        self.store, self.custodian, self.custodian_key = store, custodian, custodian_key
        self.attempts, self.errands = Attempts(), Errands(patience_s)
        self.budget_spent = False
        self._shares = shares
        self._looks: Counter[str] = Counter()

    def advance_all(
        self, now: int, *, is_full: Callable[[AnyRound], bool], finish: Callable[[AnyRound, int], bool]
    ) -> bool:
        """Make the next transition of every unfinished round by itself; whether there was one.

        A round that fails is tried again later, ever less often, and no other round notices. is_full, finish: as of
        advance_one.
        """
        moved = False
        for round_ in self.store.unfinished():
            advance = partial(self.advance_one, round_, now, is_full=is_full, finish=finish)
            if round_.state in ASKS_CUSTODIAN:
                advance = partial(self.errands.run, round_.task.task_id, advance)
            moved |= self.attempts.run(round_.task.task_id, now, advance)
        return moved

    def advance_one(
        self,
        round_: AnyRound,
        now: int,
        *,
        is_full: Callable[[AnyRound], bool],
        finish: Callable[[AnyRound, int], bool],
    ) -> bool:
        """Make the round's next transition if it is due. Raises what custodian, disk, store and finish raise.

        is_full: whether an open round may close before its deadline. finish: makes the transitions after the sum.
        """
        if round_.state is RoundState.DRAFTED:
            return self._open(round_, now)
        if round_.state is RoundState.OPEN:
            return self._close_if_due(round_, now, is_full)
        if round_.state is RoundState.CLOSED:
            return self._sum(round_, now)
        return finish(round_, now)

    def fail(self, round_: AnyRound, reason: str, now: int) -> bool:
        """End the round without a result."""
        task_id = round_.task.task_id
        log.warning("task_id=%s: failed, %s", task_id, reason)
        self.store.failed(task_id, round_.state, reason, now)
        crash_point("round failed")
        return True

    def clean(self, now: int) -> None:
        """Destroy the shares and keys that no round needs any more, each round by itself."""
        strays = self._shares.rounds()  # before the rounds: a round is there before its first share
        for task_id in strays.difference(self.store.uncleaned_ids()):
            self.attempts.run(f"shares of {task_id}", now, partial(self._destroy_shares, task_id))
        for task_id in self.store.cleanable_ids():
            name = f"key of {task_id}"
            self.attempts.run(name, now, partial(self.errands.run, name, partial(self._clean_one, task_id)))

    def _open(self, round_: AnyRound, now: int) -> bool:
        if now > round_.task.deadline:
            return self.fail(round_, "the custodian was not reached in time", now)
        try:
            task = self.custodian.open_round(round_.task)
        except (BudgetExhausted, TaskRefused, PlanRefused) as refusal:
            self.budget_spent |= isinstance(refusal, BudgetExhausted)
            return self.fail(round_, f"refused by the custodian: {refusal}", now)
        crash_point("round signed")
        if not task.is_signed_by(self.custodian_key):
            return self.fail(round_, "the task is not signed with the custodian's key", now)
        self._follow_log(task)
        self.store.opened(task)
        crash_point("round opened")
        return True

    def _close_if_due(self, round_: AnyRound, now: int, is_full: Callable[[AnyRound], bool]) -> bool:
        if now <= round_.task.deadline and not is_full(round_):
            return False
        self.store.close(round_.task.task_id)
        crash_point("round closed")
        return True

    def _sum(self, round_: AnyRound, now: int) -> bool:
        task = round_.task
        sums = self.store.sums(task.task_id)
        missing = [block for block in range(len(task.blocks)) if block not in sums]
        late = now > task.deadline + SUM_WITHIN_S
        if late and not any(block_sum.words is not None for block_sum in sums.values()):
            return self.fail(round_, "was not summed in time", now)
        first = self.attempts.failures(task.task_id) % max(len(missing), 1)  # so that a bad block costs no good one
        for block in missing[first:] + missing[:first]:
            try:
                block_sum = NOT_SUMMED if late else self._sum_block(task, block)
            except (ForeignTask, BudgetExhausted) as refusal:
                return self.fail(round_, f"refused by the custodian: {refusal}", now)
            self.store.keep_sum(task.task_id, block, block_sum)
            sums[block] = block_sum
            crash_point("block summed")
        if all(block_sum.words is None for block_sum in sums.values()):
            none = "has no" if len(task.blocks) == 1 else "no block has"
            return self.fail(round_, f"{none} min_reports={task.plan.min_reports}", now)
        self.store.summed(task.task_id, now)
        crash_point("round summed")
        return True

    def _sum_block(self, task: Task, block: int) -> StoredSum:
        stored = self.store.reports.of_block(task.task_id, block)
        # Before the block's only answer, never after:
        stored = self._with_shares(task, block, stored)
        reports = of_large_issuers(stored, task.plan.min_reports)
        if len(reports) < len(stored):
            log.warning(
                "task_id=%s block=%d: %d reports of small issuers left out",
                task.task_id,
                block,
                len(stored) - len(reports),
            )
        if len(reports) < task.plan.min_reports:
            return NOT_SUMMED
        self._follow_log(task)
        self.store.asked(task.task_id)
        block_sum = sum_block(task, block, reports, self._shares, self.custodian)
        self._follow_log(task)  # so that a custodian without this answer is known to have forgotten it
        return block_sum

    def _follow_log(self, task: Task) -> None:
        """Check that the custodian's log goes on from the one that was seen last, and has the task; remember its head.

        A custodian whose folder was put back to an earlier day would answer again with fresh noise: it is asked for
        nothing. Raises LogRefused, and what its client raises.
        """
        seen = self.store.log_head(self.custodian_key)
        try:
            content = self.custodian.log_proof(task.task_id, 0 if seen is None else seen.size)
        except LogRefused:
            raise LogRefused(
                f"custodian: its log is shorter than the {0 if seen is None else seen.size} entries that were seen"
                " before; it was put back to an earlier day, and is asked for nothing"
            ) from None
        proof = LogProof.from_bytes(content)
        self.store.keep_log_head(self.custodian_key, proof.check(task_entry(task), self.custodian_key, seen))

    def _keep_no_answer(self, task_id: str) -> None:
        """Keep for devices what the custodian says it did not answer, unless its own answers say otherwise."""
        content = self.custodian.no_answer(task_id)
        statement, sums = NoAnswer.from_bytes(content), self.store.sums(task_id)
        statement.check(self.custodian_key)
        answered = [block for block in statement.blocks if block in sums and sums[block].counted]
        if answered:
            log.error("task_id=%s: the custodian denies its answers to blocks %s; both are signed", task_id, answered)
        elif statement.blocks:
            self.store.keep_no_answer(task_id, content)

    def _with_shares(self, task: Task, block: int, stored: list[StoredReport]) -> list[StoredReport]:
        """Leave out the reports whose shares are lost.

        Raises ShareLost while they may come back, OSError when shares cannot be looked for now.
        """
        places = [report.place for report in stored]
        lost = self._shares.lost(task.task_id, places, share_bytes(task.plan, task.suite))
        if not lost:
            return stored
        what = f"task_id={task.task_id} block={block}: {len(lost)} of {len(stored)} shares are not in the storage"
        self._looks[task.task_id] += 1
        if self._looks[task.task_id] < LOOKS:
            raise ShareLost(what)
        log.error("%s; their reports are left out", what)
        return [report for report in stored if report.place not in lost]

    def _destroy_shares(self, task_id: str) -> bool:
        """Destroy the shares of a report that came while its round was being cleaned."""
        self._shares.destroy(task_id)
        return True

    def _clean_one(self, task_id: str) -> bool:
        self._shares.destroy(task_id)
        crash_point("shares destroyed")
        with contextlib.suppress(ForeignTask):  # it never had a key
            self.custodian.close(task_id)
            crash_point("key destroyed")
            self._keep_no_answer(task_id)
        self.store.cleaned(task_id)
        self._looks.pop(task_id, None)
        return True
