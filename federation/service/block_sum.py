"""One block of a closed round: its sealed seeds to the custodian, its shares added up one at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from data.errors import BatchTooSmall
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.refusals import BatchRefused
from federation.private_sum.report_share import share_bytes
from federation.protocol.messages import Task
from federation.service.intake.report_store import Kept
from federation.service.intake.share_files import Place, ShareFolder
from federation.service.round_store import StoredSum
from federation.service.summing import seed_of, sum_of
from federation.storage.crash_points import reached

log = logging.getLogger("ownshelf.federation")

NOT_SUMMED = StoredSum(0, 0, None)


class Custodian(Protocol):
    """What the coordinator asks of the other party. Every call may be repeated."""

    def open_round(self, draft: Task) -> Task:
        """The draft, signed and with a round key. Raises TaskRefused and BudgetExhausted."""
        ...

    def answer(self, batch: Batch) -> Answer:
        """Its half of a block's sum. Raises BatchTooSmall, BatchRefused, ForeignTask and BudgetExhausted."""
        ...

    def close(self, task_id: str) -> None:
        """Destroy the round's key. Raises ForeignTask for a task it never signed."""
        ...


def sum_block(task: Task, block: int, kept: list[Kept], folder: ShareFolder, custodian: Custodian) -> StoredSum:
    """The sum of a block's reports; NOT_SUMMED when they are too few, or unreadable, or just this batch is refused.

    kept: in the same order every time, so that the custodian finds the same batch when it is asked again.
    """
    if len(kept) < task.plan.min_reports:
        return NOT_SUMMED
    try:
        batch = _batch(task, block, kept, folder)
    except OSError as error:
        log.error("task_id=%s block=%d: shares cannot be read (%s)", task.task_id, block, type(error).__name__)
        return NOT_SUMMED
    try:
        answer = custodian.answer(batch)
    except (BatchTooSmall, BatchRefused) as refusal:
        log.warning("task_id=%s block=%d: not summed (%s)", task.task_id, block, type(refusal).__name__)
        return NOT_SUMMED
    reached("block answered")
    shares = _Shares(folder, task, {one.report_id: one.place for one in kept})
    try:
        return StoredSum(len(answer.counted), len(answer.broken), sum_of(task, shares, answer))
    except OSError as error:  # a share is gone: no sum, but the custodian has counted the reports
        log.error("task_id=%s block=%d: shares cannot be read (%s)", task.task_id, block, type(error).__name__)
        return NOT_SUMMED


def _batch(task: Task, block: int, kept: list[Kept], folder: ShareFolder) -> Batch:
    """The question to the custodian. Shares are read, one at a time, only where proofs have to be opened."""
    shares = _Shares(folder, task, {one.report_id: one.place for one in kept})
    seeds = (
        seed_of(task, block, one.report_id, one.sealed_seed, shares[one.report_id] if task.suite.verified else b"")
        for one in kept
    )
    return Batch(task.hash, block, tuple(seed for seed in seeds if seed is not None), task.suite.verified)


@dataclass(frozen=True)
class _Shares(Mapping[bytes, bytes]):
    """Shares by report id, read when asked for: one at a time in memory."""

    folder: ShareFolder
    task: Task
    places: dict[bytes, Place] = field(repr=False)

    def __getitem__(self, report_id: bytes) -> bytes:
        return self.folder.read(self.task.task_id, self.places[report_id], share_bytes(self.task.plan, self.task.suite))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
