"""A device's own account of the private sums it took part in: what was spent, what is still to be sent.

Kept over all sums, whoever asks for them. Each participation is ρ-zCDP with ρ = S / 2σ² (S the squared sensitivity,
σ one party's noise, in integer steps; Canonne, Kamath, Steinke 2020, theorem 14); the ρ of a lifetime add up. A sum
without noise has no ρ and leaves no finite ε.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, field, replace
from typing import Any

from federation.device.unknown_fields import Unknown, unknown_fields
from federation.private_sum.accounting import epsilon_of
from federation.protocol.transparency import SeenHead

_ENTRY = ("task_hash", "round", "at", "rho", "proof_error", "block", "returned", "share")
_PENDING = ("task_hash", "deadline", "post_at", "report")
_PARTICIPATION = (
    *("entries", "pending", "come_back_at", "measures_only", "judges", "experiments", "log_head"),
    *("imported", "imported_experiments"),
)


@dataclass(frozen=True)
class LedgerEntry:
    """One participation, written before its report is sent, and kept whatever becomes of the report.

    task_hash: 32 bytes. at: seconds since 1970-01-01 UTC. rho: of zCDP, inf for a sum without noise. proof_error: what
    the proof of a verified report adds to δ. block: that the report is of; None where that is not noted. returned: the
    custodian never answered, so the report cost nothing but its proof. share: of a participation in a training round,
    by which a cap counts; less for a sum whose noise is larger.
    """

    task_hash: bytes = field(repr=False)
    round: int
    at: int
    rho: float
    proof_error: float = 0.0
    block: int | None = field(default=None, repr=False)
    returned: bool = False
    unknown: Unknown = field(default_factory=dict, repr=False, hash=False)
    share: float = 1.0

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        return {
            **self.unknown,
            "task_hash": self.task_hash.hex(),
            "round": self.round,
            "at": self.at,
            "rho": None if math.isinf(self.rho) else self.rho,
            "proof_error": self.proof_error,
            "block": self.block,
            "returned": self.returned,
            "share": self.share,
        }

    @staticmethod
    def decode(stored: dict[str, Any] | list[Any]) -> LedgerEntry:
        """Read the entry of encode; format 1 had an array of the four values."""
        if isinstance(stored, list):
            stored = dict(zip(_ENTRY, stored, strict=False))
        rho = math.inf if stored["rho"] is None else stored["rho"]
        unknown = unknown_fields(stored, _ENTRY)
        error = stored.get("proof_error", 0.0)  # entries of before reports were proved have none
        task_hash, block = bytes.fromhex(stored["task_hash"]), stored.get("block")
        returned, share = stored.get("returned", False), stored.get("share", 1.0)
        return LedgerEntry(task_hash, stored["round"], stored["at"], rho, error, block, returned, unknown, share)


@dataclass(frozen=True)
class PendingReport:
    """A report that may have been sent and was not acknowledged: these bytes or none at all.

    deadline, post_at: seconds since 1970-01-01 UTC; it is not sent before post_at.
    """

    task_hash: bytes = field(repr=False)
    deadline: int
    post_at: float
    report: bytes = field(repr=False)
    unknown: Unknown = field(default_factory=dict, repr=False, hash=False)

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        return {
            **self.unknown,
            "task_hash": self.task_hash.hex(),
            "deadline": self.deadline,
            "post_at": self.post_at,
            "report": base64.b64encode(self.report).decode(),
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> PendingReport:
        """Decode the report of encode."""
        report = base64.b64decode(stored["report"])
        unknown = unknown_fields(stored, _PENDING)
        return PendingReport(bytes.fromhex(stored["task_hash"]), stored["deadline"], stored["post_at"], report, unknown)


@dataclass(frozen=True)
class Participation:
    """The vault's record of taking part. measures_only, judges: the device's own coins, None until they are needed.

    judges: whether it judges the mix, and never fits it. entries: reports to training rounds. experiments: one entry an
    experiment, whose windows are together within the bound of one report (recsys/experiments/analysis/layout.py); its
    task_hash is the experiment's fixed hash. log_head: the last head of the custodian's log that this device has seen.
    imported, imported_experiments: the same of other devices of the shopper, whose history was taken over from an
    export.
    """

    entries: tuple[LedgerEntry, ...] = ()
    pending: PendingReport | None = None
    come_back_at: int = 0
    measures_only: bool | None = None
    experiments: tuple[LedgerEntry, ...] = ()
    log_head: SeenHead | None = None
    imported: tuple[LedgerEntry, ...] = ()
    imported_experiments: tuple[LedgerEntry, ...] = ()
    unknown: Unknown = field(default_factory=dict, repr=False, hash=False)
    judges: bool | None = None

    @property
    def returned(self) -> tuple[LedgerEntry, ...]:
        """Reports that nobody's answer ever counted."""
        return tuple(entry for entry in self.entries if entry.returned)

    def took_part_in(self, task_hash: bytes) -> bool:
        """Check if a report to this task was ever made, by this device or one whose history it took over."""
        return any(entry.task_hash == task_hash for entry in (*self.entries, *self.imported))

    def count_since(self, since: int, until: float = math.inf) -> float:
        """Count participations from one moment to another, in seconds, without those taken back.

        A sum of more noise counts as a part of one.
        """
        entries = (*self.entries, *self.imported)
        return math.fsum(entry.share for entry in entries if since <= entry.at <= until and not entry.returned)

    def epsilon(self, delta: float, *, and_rho: float = 0.0, and_proof_error: float = 0.0) -> float:
        """Compute ε of this device over its whole life, at δ of which proofs take their part.

        and_rho, and_proof_error: as it would be after one more sum.
        """
        entries = (*self.entries, *self.experiments, *self.imported, *self.imported_experiments)
        spent = math.fsum(entry.rho for entry in entries if not entry.returned) + and_rho
        left = delta - math.fsum(entry.proof_error for entry in entries) - and_proof_error
        return epsilon_of(spent, left) if left > 0 else math.inf

    def with_report(self, entry: LedgerEntry, pending: PendingReport, come_back_at: int) -> Participation:
        """Charge a report that was made."""
        return replace(self, entries=(*self.entries, entry), pending=pending, come_back_at=come_back_at)

    def with_experiment(self, entry: LedgerEntry) -> Participation:
        """Charge the first report to an experiment."""
        return replace(self, experiments=(*self.experiments, entry))

    def without_report(self) -> Participation:
        """Drop a report that was acknowledged, refused, or given up. What it cost stays."""
        return self if self.pending is None else replace(self, pending=None)

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        pending = self.pending
        return {
            **self.unknown,
            "entries": [entry.encode() for entry in self.entries],
            "pending": pending and pending.encode(),
            "come_back_at": self.come_back_at,
            "measures_only": self.measures_only,
            "judges": self.judges,
            "experiments": [entry.encode() for entry in self.experiments],
            "imported": [entry.encode() for entry in self.imported],
            "imported_experiments": [entry.encode() for entry in self.imported_experiments],
            "log_head": self.log_head and [self.log_head.size, self.log_head.root.hex()],
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> Participation:
        """Decode the state of encode."""
        pending, head = stored["pending"], stored.get("log_head")
        return Participation(
            entries=tuple(LedgerEntry.decode(entry) for entry in stored["entries"]),
            pending=pending and PendingReport.decode(pending),
            come_back_at=stored["come_back_at"],
            measures_only=stored["measures_only"],
            judges=stored.get("judges"),
            experiments=tuple(LedgerEntry.decode(entry) for entry in stored.get("experiments", ())),
            log_head=head and SeenHead(head[0], bytes.fromhex(head[1])),
            imported=tuple(LedgerEntry.decode(entry) for entry in stored.get("imported", ())),
            imported_experiments=tuple(LedgerEntry.decode(entry) for entry in stored.get("imported_experiments", ())),
            unknown=unknown_fields(stored, _PARTICIPATION),
        )
