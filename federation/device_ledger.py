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

from federation.private_sum.plan import SumPlan


@dataclass(frozen=True)
class Entry:
    """One participation, written before its report is sent, and kept whatever becomes of the report.

    task_hash: 32 bytes. at: seconds since 1970-01-01 UTC. rho: of zCDP, inf for a sum without noise.
    """

    task_hash: bytes = field(repr=False)
    round: int
    at: int
    rho: float


@dataclass(frozen=True)
class Pending:
    """A report that may have been sent and was not acknowledged: these bytes or none at all.

    deadline, post_at: seconds since 1970-01-01 UTC; it is not sent before post_at.
    """

    task_hash: bytes = field(repr=False)
    deadline: int
    post_at: float
    report: bytes = field(repr=False)


@dataclass(frozen=True)
class Participation:
    """What the vault holds of taking part. measures_only: the device's own coin, None until it is needed."""

    entries: tuple[Entry, ...] = ()
    pending: Pending | None = None
    come_back_at: int = 0
    measures_only: bool | None = None

    def took_part_in(self, task_hash: bytes) -> bool:
        """Whether a report to this task was ever made."""
        return any(entry.task_hash == task_hash for entry in self.entries)

    def count_since(self, since: int) -> int:
        """Participations at or after a moment in seconds."""
        return sum(entry.at >= since for entry in self.entries)

    def epsilon(self, delta: float, *, and_rho: float = 0.0) -> float:
        """ε of this device over its whole life, at δ; and_rho: as it would be after one more sum."""
        return epsilon_of(math.fsum(entry.rho for entry in self.entries) + and_rho, delta)

    def with_report(self, entry: Entry, pending: Pending, come_back_at: int) -> Participation:
        """After a report was made."""
        return replace(self, entries=(*self.entries, entry), pending=pending, come_back_at=come_back_at)

    def without_report(self) -> Participation:
        """After a report was acknowledged, refused, or given up. What it cost stays."""
        return self if self.pending is None else replace(self, pending=None)

    def encode(self) -> dict[str, Any]:
        """For the vault's JSON."""
        pending = self.pending
        return {
            "entries": [
                [entry.task_hash.hex(), entry.round, entry.at, None if math.isinf(entry.rho) else entry.rho]
                for entry in self.entries
            ],
            "pending": pending
            and {
                "task_hash": pending.task_hash.hex(),
                "deadline": pending.deadline,
                "post_at": pending.post_at,
                "report": base64.b64encode(pending.report).decode(),
            },
            "come_back_at": self.come_back_at,
            "measures_only": self.measures_only,
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> Participation:
        """The state of encode."""
        pending = stored["pending"]
        return Participation(
            entries=tuple(
                Entry(bytes.fromhex(task_hash), round_, at, math.inf if rho is None else rho)
                for task_hash, round_, at, rho in stored["entries"]
            ),
            pending=pending
            and Pending(
                bytes.fromhex(pending["task_hash"]),
                pending["deadline"],
                pending["post_at"],
                base64.b64decode(pending["report"]),
            ),
            come_back_at=stored["come_back_at"],
            measures_only=stored["measures_only"],
        )


def rho_of(plan: SumPlan) -> float:
    """ρ of zCDP of one report in a sum, one party's noise counted."""
    return plan.sensitivity_squared / (2.0 * plan.sigma**2) if plan.private else math.inf


def epsilon_of(rho: float, delta: float) -> float:
    """ε at δ of a ρ-zCDP mechanism (Canonne, Kamath, Steinke 2020, proposition 12, least over α)."""
    if rho == 0 or math.isinf(rho):
        return rho

    def at(alpha: float) -> float:
        return rho * alpha + math.log1p(-1.0 / alpha) + (math.log(1.0 / delta) - math.log(alpha)) / (alpha - 1.0)

    exponents = [step / 50.0 for step in range(-150, 451)]
    best = min(exponents, key=lambda exponent: at(1.0 + 10.0**exponent))
    finer = (best + step / 10_000.0 for step in range(-200, 201))
    return max(min(at(1.0 + 10.0**exponent) for exponent in finer), 0.0)
