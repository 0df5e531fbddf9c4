"""What devices, service and custodian say to each other: Task and Report, complete. docs/wire.md has the bytes.

Neither can carry a profile, a history or an update in the clear. Bytes and tokens stay out of every repr.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field, replace
from enum import Enum

from data.errors import FederationError
from federation.private_sum.encoding import Reader, encode_sized, f64, u8, u32, u64
from federation.private_sum.exchange import MAX_TOKEN_BYTES
from federation.private_sum.plan import MAX_LENGTH, Part, SumPlan
from federation.private_sum.refusals import (
    LateReport,
    MalformedReport,
    MismatchedReport,
    OversizedReport,
    PlanRefused,
    TaskRefused,
)
from federation.private_sum.report_share import share_bytes
from federation.private_sum.sealing import REPORT_ID_BYTES, Suite, frame_fields
from federation.private_sum.signing import SIGNATURE_BYTES, SigningKey, is_signed

MAGIC_BYTES = 4
REPORT_MAGIC = b"OSR1"
TASK_DOMAIN = b"ownshelf/task/v1"
BUNDLE_HASH_BYTES = 32
MAX_ID_CHARS = 64
MAX_BLOCKS = 65_536
MAX_PARTS = 16
MAX_KEY_BYTES = 4_096
MAX_TASK_BYTES = 1_000_000
MAX_SHARE_BYTES = 6 * MAX_LENGTH
"""Four bytes a word, or five and the proof."""

U32 = 2**32 - 1
U64 = 2**64 - 1
ID = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_ID_CHARS}}}", re.ASCII)


class Purpose(Enum):
    """What a sum is for; its value is the first bytes of its tasks, so one signature never serves two purposes."""

    TRAINING = b"OST1"
    EXPERIMENT = b"OSE1"


@dataclass(frozen=True)
class Block:
    """Rows start..stop-1 of the item table. A sum that is not about items has the one block 0..0."""

    start: int
    stop: int


@dataclass(frozen=True)
class Task:
    """What a device is asked to take part in. Every field but the signature is covered by the custodian's signature.

    plan: parts with clips and scales, min_reports, max_reports and noise. A block shorter than the others pads its
    parts with zeros. bundle_hash: SHA-256 of the bundle (32 bytes). round_public_key: HPKE key of this round alone.
    deadline, come_back_at: seconds since 1970-01-01 UTC: until when reports are taken, when to ask for a next task.

    A window of an experiment is a round of that purpose: bundle_version is "id:version" and bundle_hash the content
    hash of the definition.
    """

    task_id: str
    round: int
    bundle_version: str
    bundle_hash: bytes
    blocks: tuple[Block, ...]
    plan: SumPlan
    suite: Suite
    round_public_key: bytes
    deadline: int
    come_back_at: int
    signature: bytes = field(default=b"", repr=False)
    purpose: Purpose = Purpose.TRAINING

    def __post_init__(self) -> None:
        for name in ("task_id", "bundle_version"):
            if not ID.fullmatch(getattr(self, name)):
                raise TaskRefused(f"{name}={getattr(self, name)!r}: must match {ID.pattern}")
        if len(self.bundle_hash) != BUNDLE_HASH_BYTES:
            raise TaskRefused(f"bundle_hash of {len(self.bundle_hash)} bytes: must be {BUNDLE_HASH_BYTES}")
        if not 1 <= len(self.blocks) <= MAX_BLOCKS or len(self.plan.parts) > MAX_PARTS:
            raise TaskRefused(
                f"blocks={len(self.blocks)}, parts={len(self.plan.parts)}: must be 1..{MAX_BLOCKS}, 1..{MAX_PARTS}"
            )
        if any(not 0 <= block.start <= block.stop <= U32 for block in self.blocks):
            raise TaskRefused("blocks: must have 0 ≤ start ≤ stop < 2**32")
        for name, high in (("round", U32), ("deadline", U64), ("come_back_at", U64)):
            if not 0 <= getattr(self, name) <= high:
                raise TaskRefused(f"{name}={getattr(self, name)}: must be 0..{high}")
        if len(self.round_public_key) not in (0, self.suite.public_bytes):
            raise TaskRefused(
                f"round_public_key of {len(self.round_public_key)} bytes: must be {self.suite.public_bytes}"
            )
        if len(self.signature) not in (0, SIGNATURE_BYTES):
            raise TaskRefused(f"signature of {len(self.signature)} bytes: must be {SIGNATURE_BYTES}")
        try:
            share_bytes(self.plan, self.suite)
        except PlanRefused as error:
            raise TaskRefused(f"suite={self.suite}: {error}") from None

    @property
    def signed_bytes(self) -> bytes:
        """The one way to write every field but the signature: what is signed and hashed."""
        plan = self.plan
        return b"".join(
            (
                self.purpose.value,
                encode_sized(self.task_id.encode("ascii")),
                u32(self.round),
                encode_sized(self.bundle_version.encode("ascii")),
                self.bundle_hash,
                u32(len(self.blocks)),
                *(u32(block.start) + u32(block.stop) for block in self.blocks),
                u32(len(plan.parts)),
                *(
                    encode_sized(part.name.encode("ascii"))
                    + u32(part.length)
                    + f64(part.clip_norm)
                    + f64(part.scale)
                    + u8(part.clamped)
                    for part in plan.parts
                ),
                u32(plan.min_reports),
                u32(plan.max_reports),
                u32(plan.sigma),
                encode_sized(self.suite.value.encode("ascii")),
                encode_sized(self.round_public_key),
                u64(self.deadline),
                u64(self.come_back_at),
            )
        )

    @property
    def hash(self) -> bytes:
        """SHA-256 (32 bytes) that binds sealed seeds to this task; the signature is not part of it."""
        return hashlib.sha256(frame_fields(TASK_DOMAIN, self.signed_bytes)).digest()

    def signed_by(self, key: SigningKey) -> Task:
        """Sign the task with the custodian's key over every other field."""
        return replace(self, signature=key.sign(TASK_DOMAIN, self.signed_bytes))

    def is_signed_by(self, public_key: bytes) -> bool:
        """Verify that the signature is that of this Ed25519 public key (32 bytes)."""
        return is_signed(public_key, TASK_DOMAIN, self.signed_bytes, self.signature)

    def to_bytes(self) -> bytes:
        """Encode the task for the wire: the signed bytes, then the signature.

        Raises TaskRefused if it is not signed.
        """
        if len(self.signature) != SIGNATURE_BYTES or not self.round_public_key:
            raise TaskRefused(f"task_id={self.task_id}: must have a round key and a signature to be sent")
        return self.signed_bytes + self.signature

    @staticmethod
    def from_bytes(data: bytes) -> Task:
        """Decode the task of its wire bytes, signature unchecked.

        Raises TaskRefused for anything that is not one task.
        """
        return _task_of(data, draft=False)

    def draft_bytes(self) -> bytes:
        """Encode what the service asks the custodian to sign: the signed bytes without a round key."""
        return replace(self, round_public_key=b"").signed_bytes

    @staticmethod
    def from_draft_bytes(data: bytes) -> Task:
        """Decode the task of its draft bytes, without key and signature. Raises TaskRefused for anything else."""
        return _task_of(data, draft=True)


def _task_of(data: bytes, draft: bool) -> Task:
    if len(data) > MAX_TASK_BYTES:
        raise TaskRefused(f"task of {len(data)} bytes: must be at most {MAX_TASK_BYTES}")
    read = Reader(memoryview(data), TaskRefused)
    try:
        task = _read_task(read, draft)
    except (PlanRefused, ValueError) as error:
        raise TaskRefused(str(error)) from error
    read.end()
    return task


def _read_task(read: Reader, draft: bool) -> Task:
    magic = bytes(read.take("magic", MAGIC_BYTES))
    purpose = next((purpose_of for purpose_of in Purpose if purpose_of.value == magic), None)
    if purpose is None:
        raise TaskRefused(f"magic: must be one of {', '.join(repr(purpose_of.value) for purpose_of in Purpose)}")
    task_id = read.text("task_id", MAX_ID_CHARS)
    round_number = read.number("round", 4, 0, U32)
    bundle_version = read.text("bundle_version", MAX_ID_CHARS)
    bundle_hash = read.take("bundle_hash", BUNDLE_HASH_BYTES)
    n_blocks = read.number("blocks", 4, 1, MAX_BLOCKS)
    blocks = tuple(Block(read.number("start", 4, 0, U32), read.number("stop", 4, 0, U32)) for _ in range(n_blocks))
    parts = tuple(
        Part(
            name=read.text("part name", 32),
            length=read.number("part length", 4, 1, MAX_LENGTH),
            clip_norm=read.real("clip_norm"),
            scale=read.real("scale"),
            clamped=bool(read.number("clamped", 1, 0, 1)),
        )
        for _ in range(read.number("parts", 4, 1, MAX_PARTS))
    )
    plan = SumPlan(
        parts=parts,
        min_reports=read.number("min_reports", 4, 1, U32),
        max_reports=read.number("max_reports", 4, 1, U32),
        sigma=read.number("sigma", 4, 0, U32),
    )
    return Task(
        task_id=task_id,
        round=round_number,
        bundle_version=bundle_version,
        bundle_hash=bundle_hash,
        blocks=blocks,
        plan=plan,
        suite=Suite(read.text("suite", MAX_ID_CHARS)),
        round_public_key=read.field("round_public_key", 0 if draft else 1, 0 if draft else MAX_KEY_BYTES),
        deadline=read.number("deadline", 8, 0, U64),
        come_back_at=read.number("come_back_at", 8, 0, U64),
        signature=b"" if draft else read.take("signature", SIGNATURE_BYTES),
        purpose=purpose,
    )


@dataclass(frozen=True)
class Report:
    """Everything a device ever sends of itself: these six fields. Adding one changes a test and its reason.

    report_id: 16 random bytes, of this report alone. block: index into the task's blocks. service_share: words minus
    the seed's stream, uint32 little-endian; with a verified suite elements of a field, and the proof of their bounds.
    sealed_seed: for the custodian. token: the right to report once.
    """

    task_id: str
    report_id: bytes
    block: int
    service_share: bytes = field(repr=False)
    sealed_seed: bytes = field(repr=False)
    token: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.report_id) != REPORT_ID_BYTES:
            raise MalformedReport(f"report_id of {len(self.report_id)} bytes: must be {REPORT_ID_BYTES}")

    def to_bytes(self) -> bytes:
        """Encode the report for the wire. The share comes last: all else can be refused before it is read."""
        return b"".join(
            (
                REPORT_MAGIC,
                encode_sized(self.task_id.encode("ascii")),
                self.report_id,
                u32(self.block),
                encode_sized(self.sealed_seed),
                encode_sized(self.token),
                encode_sized(self.service_share),
            )
        )

    @staticmethod
    def from_bytes(data: bytes, task: Task, now: int) -> Report:
        """Decode the report of its wire bytes, checked against its task; now in seconds since 1970-01-01 UTC.

        Raises LateReport, OversizedReport, MalformedReport or MismatchedReport, in this order of checks.
        """
        if now > task.deadline:
            raise LateReport(f"now={now}: must be at most deadline={task.deadline}")
        if len(data) > max_report_bytes(task):
            raise OversizedReport(f"report of {len(data)} bytes: must be at most {max_report_bytes(task)}")
        report = _read_report(Reader(memoryview(data), MalformedReport))
        _check_against(report, task)
        return report


def max_report_bytes(task: Task) -> int:
    """Bound the length of a report to a task: what a service reads of a body before it gives up."""
    head = len(REPORT_MAGIC) + 4 + len(task.task_id) + REPORT_ID_BYTES + 4
    return head + 4 + task.suite.sealed_bytes + 4 + MAX_TOKEN_BYTES + 4 + share_bytes(task.plan, task.suite)


def _read_report(read: Reader) -> Report:
    if read.take("magic", len(REPORT_MAGIC)) != REPORT_MAGIC:
        raise MalformedReport(f"magic: must be {REPORT_MAGIC!r}")
    task_id = read.text("task_id", MAX_ID_CHARS)
    report_id = read.take("report_id", REPORT_ID_BYTES)
    block = read.number("block", 4, 0, U32)
    sealed_seed = read.field("sealed_seed", 0, MAX_KEY_BYTES)
    token = read.field("token", 0, MAX_TOKEN_BYTES)
    service_share = read.field("service_share", 0, MAX_SHARE_BYTES)
    read.end()
    return Report(task_id, report_id, block, service_share, sealed_seed, token)


def _check_against(report: Report, task: Task) -> None:
    if report.task_id != task.task_id:
        raise MismatchedReport(f"task_id={report.task_id}: must be {task.task_id}")
    if report.block >= len(task.blocks):
        raise MismatchedReport(f"block={report.block}: must be 0..{len(task.blocks) - 1}")
    for name, size in (
        ("service_share", share_bytes(task.plan, task.suite)),
        ("sealed_seed", task.suite.sealed_bytes),
    ):
        if len(getattr(report, name)) != size:
            raise MismatchedReport(f"{name} of {len(getattr(report, name))} bytes: must be {size}")


def blocks_of(n_items: int, rows: int) -> tuple[Block, ...]:
    """Cut n_items rows into blocks of at most `rows`, in order."""
    if n_items < 1 or rows < 1:
        raise FederationError(f"n_items={n_items}, rows={rows}: must be 1 or more")
    return tuple(Block(start, min(start + rows, n_items)) for start in range(0, n_items, rows))
