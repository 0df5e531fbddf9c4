"""The front of a report: enough to refuse it before its share, nearly all of its bytes, is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from federation.private_sum.encoding import Reader
from federation.private_sum.exchange import MAX_TOKEN_BYTES
from federation.private_sum.refusals import MalformedReport, MismatchedReport, OversizedReport
from federation.private_sum.report_share import share_bytes
from federation.private_sum.sealing import REPORT_ID_BYTES
from federation.protocol.messages import (
    MAX_ID_CHARS,
    MAX_KEY_BYTES,
    MAX_SHARE_BYTES,
    REPORT_MAGIC,
    U32,
    Task,
)

MAX_HEAD_BYTES = (
    len(REPORT_MAGIC) + 4 + MAX_ID_CHARS + REPORT_ID_BYTES + 4 + 4 + MAX_KEY_BYTES + 4 + MAX_TOKEN_BYTES + 4
)


@dataclass(frozen=True)
class ReportHead:
    """A report's fields but its share, which takes share_bytes from byte share_at on."""

    task_id: str
    report_id: bytes
    block: int
    sealed_seed: bytes = field(repr=False)
    token: bytes = field(repr=False)
    share_at: int
    share_bytes: int

    @property
    def report_bytes(self) -> int:
        """Length of the whole report."""
        return self.share_at + self.share_bytes


def read_head(front: bytes | bytearray | memoryview) -> ReportHead:
    """Read the head of a report.

    Its first MAX_HEAD_BYTES, or all of it if it is shorter, are given.

    Raises MalformedReport where Report.from_bytes would.
    """
    read = Reader(memoryview(front), MalformedReport)
    if read.take("magic", len(REPORT_MAGIC)) != REPORT_MAGIC:
        raise MalformedReport(f"magic: must be {REPORT_MAGIC!r}")
    return ReportHead(
        task_id=read.text("task_id", MAX_ID_CHARS),
        report_id=read.take("report_id", REPORT_ID_BYTES),
        block=read.number("block", 4, 0, U32),
        sealed_seed=read.field("sealed_seed", 0, MAX_KEY_BYTES),
        token=read.field("token", 0, MAX_TOKEN_BYTES),
        share_bytes=read.number("service_share length", 4, 0, MAX_SHARE_BYTES),
        share_at=read.at,
    )


def check_head(head: ReportHead, task: Task) -> None:
    """Check that a report with this head fits the task, which it names.

    Raises OversizedReport or MismatchedReport otherwise.
    """
    share = share_bytes(task.plan, task.suite)
    if head.share_bytes > share:
        raise OversizedReport(f"service_share of {head.share_bytes} bytes: must be {share}")
    if head.block >= len(task.blocks):
        raise MismatchedReport(f"block={head.block}: must be 0..{len(task.blocks) - 1}")
    for name, found, wanted in (
        ("service_share", head.share_bytes, share),
        ("sealed_seed", len(head.sealed_seed), task.suite.sealed_bytes),
    ):
        if found != wanted:
            raise MismatchedReport(f"{name} of {found} bytes: must be {wanted}")
