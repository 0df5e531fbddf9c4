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
from federation.protocol.tokens.issuer_key import IssuerKey
from federation.service.intake.report_store import StoredReport
from federation.service.intake.share_files import ShareLocation, ShareLost, ShareStorage
from federation.service.round_store import StoredSum
from federation.service.summing import seed_of, sum_of
from federation.storage.crash_points import crash_point

log = logging.getLogger("ownshelf.federation")

NOT_SUMMED = StoredSum(0, 0, None)


class Custodian(Protocol):
    """What the coordinator asks of the other party. Every call may be repeated."""

    def open_round(self, draft: Task) -> Task:
        """Sign a draft and give it a round key. Raises TaskRefused and BudgetExhausted."""
        ...

    def answer(self, batch: Batch) -> Answer:
        """Compute its half of a block's sum. Raises BatchTooSmall, BatchRefused, ForeignTask and BudgetExhausted."""
        ...

    def log_proof(self, task_id: str, since: int) -> bytes:
        """Prove that a task is in its public log. Raises ForeignTask and LogRefused."""
        ...

    def log_clusters(self, version: str, content_hash: bytes) -> None:
        """Log the hash of a version's clusters file. Raises TaskRefused for a second one of a version."""
        ...

    def clusters_proof(self, version: str, since: int) -> bytes:
        """Prove that a version's clusters file is in its public log. Raises ForeignTask and LogRefused."""
        ...

    def add_issuer_key(self, key: IssuerKey) -> None:
        """Put an issuer's key into its public log. Raises IssuerKeyRefused."""
        ...

    def issuer_key_proof(self, token_key_id: bytes, since: int) -> bytes:
        """Prove that an issuer's key is in its public log. Raises IssuerKeyRefused and LogRefused."""
        ...

    def no_answer(self, task_id: str) -> bytes:
        """State which blocks of a closed round it never answered. Raises ForeignTask; RoundOpen before."""
        ...

    def close(self, task_id: str) -> None:
        """Destroy the round's key. Raises ForeignTask for a task it never signed."""
        ...


def sum_block(
    task: Task, block: int, reports: list[StoredReport], folder: ShareStorage, custodian: Custodian
) -> StoredSum:
    """Sum a block's reports; NOT_SUMMED when they are too few, a share is lost, or just this batch is refused.

    reports: in the same order every time, so that the custodian finds the same batch when it is asked again. Raises
    OSError when a share cannot be read now, and what the custodian's client raises; then the same may be tried again.
    """
    if len(reports) < task.plan.min_reports:
        return NOT_SUMMED
    batch = _batch(task, block, reports, folder)
    try:
        answer = custodian.answer(batch)
    except (BatchTooSmall, BatchRefused) as refusal:
        log.warning("task_id=%s block=%d: not summed (%s)", task.task_id, block, type(refusal).__name__)
        return NOT_SUMMED
    crash_point("block answered")
    shares = _Shares(folder, task, {report.report_id: report.place for report in reports})
    try:
        return StoredSum(len(answer.counted), len(reports) - len(answer.counted), sum_of(task, shares, answer))
    except ShareLost as error:  # it was there when the custodian was asked; the reports are counted, and not summed
        log.error("task_id=%s block=%d: not summed (%s)", task.task_id, block, error)
        return NOT_SUMMED


def _batch(task: Task, block: int, reports: list[StoredReport], folder: ShareStorage) -> Batch:
    """Build the question to the custodian. Shares are read, one at a time, only where proofs have to be opened.

    A report whose share is lost, or is none, is left out.
    """
    shares = _Shares(folder, task, {report.report_id: report.place for report in reports})
    seeds = []
    for report in reports:
        try:
            share = shares[report.report_id] if task.suite.verified else b""
        except ShareLost as error:
            log.error("task_id=%s block=%d: one report left out (%s)", task.task_id, block, error)
            continue
        seeds.append(seed_of(task, block, report.report_id, report.sealed_seed, report.token, share))
    return Batch(task.hash, block, tuple(seed for seed in seeds if seed is not None), task.suite.verified)


@dataclass(frozen=True)
class _Shares(Mapping[bytes, bytes]):
    """Shares by report id, read when asked for: one at a time in memory."""

    folder: ShareStorage
    task: Task
    places: dict[bytes, ShareLocation] = field(repr=False)

    def __getitem__(self, report_id: bytes) -> bytes:
        return self.folder.read(self.task.task_id, self.places[report_id], share_bytes(self.task.plan, self.task.suite))

    def __contains__(self, report_id: object) -> bool:
        """Tell whether a share has a place, without reading it."""
        return report_id in self.places

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
