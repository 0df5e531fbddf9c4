"""What a device has named in mode cluster: one answer a period, stored before it is sent, and repeated.

Whoever may choose the centroids asks where a profile lies among them; so what counts is how often it is answered. One
answer stands for a whole period, whatever bundle, session or number of clusters is asked for meanwhile, and a lifetime
has a bound of its own. docs/modes.md measures what 1, 2 and 4 answers give an attacker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data.errors import ModelError
from federation.device.unknown_fields import Unknown, unknown_fields

DAY_S = 86_400
_ANSWER = ("bundle_version", "at", "clusters")
_ACCOUNT = ("answers", "last", "pinned")
MAX_PINNED = 256
"""Versions whose clusters file is remembered: more than a service can publish in a lifetime of honest periods."""


@dataclass(frozen=True)
class ClusterPolicy:
    """How much a device may name. period_days: how long an answer stands. max_answers: of a lifetime."""

    period_days: float = 30.0
    max_answers: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.period_days < np.inf:
            raise ModelError(f"period_days={self.period_days}: must be > 0 and finite")
        if self.max_answers < 1:
            raise ModelError(f"max_answers={self.max_answers}: must be 1 or more")


@dataclass(frozen=True)
class ClusterAnswer:
    """The ids named. at: seconds since 1970-01-01 UTC. clusters: empty once the shopper has forgotten everything."""

    bundle_version: str
    at: float
    clusters: tuple[int, ...]
    unknown: Unknown = field(default_factory=dict, repr=False)

    def encode(self) -> dict[str, Any]:
        """Write it for the vault's JSON."""
        named = {"bundle_version": self.bundle_version, "at": self.at, "clusters": list(self.clusters)}
        return {**self.unknown, **named}

    @staticmethod
    def decode(stored: dict[str, Any]) -> ClusterAnswer:
        """Read the answer of encode."""
        unknown = unknown_fields(stored, _ANSWER)
        return ClusterAnswer(stored["bundle_version"], stored["at"], tuple(stored["clusters"]), unknown)


@dataclass(frozen=True)
class ClusterAccount:
    """What the vault holds. answered: in a lifetime. last: the newest answer. pinned: version → sha256 of its file."""

    answered: int = 0
    last: ClusterAnswer | None = None
    pinned: tuple[tuple[str, str], ...] = ()
    unknown: Unknown = field(default_factory=dict, repr=False)

    def with_file(self, bundle_version: str, digest: str) -> ClusterAccount:
        """Return the account with one file (sha256, hex) taken for a version; itself when it was before.

        Raises ModelError for another file of a version whose file was taken.
        """
        known = dict(self.pinned).get(bundle_version)
        if known == digest:
            return self
        if known is not None:
            raise ModelError(
                f"clusters: a second file for bundle {bundle_version} (sha256 {digest[:12]}…, the first was "
                f"{known[:12]}…): refused, for with centroids of its choice a service reads a profile"
            )
        return replace(self, pinned=(*self.pinned, (bundle_version, digest))[-MAX_PINNED:])

    def with_answer(
        self, bundle_version: str, policy: ClusterPolicy, now_s: float, choose: Callable[[], list[int]]
    ) -> tuple[ClusterAccount, tuple[int, ...]]:
        """Return the account to be stored before anything is sent, and the ids to name for this bundle.

        No ids: nothing may be named now, because the period's answer was for another bundle or was forgotten, or the
        bound of a lifetime is reached.
        """
        last = self.last
        if last is not None and abs(now_s - last.at) < policy.period_days * DAY_S:
            return self, last.clusters if last.bundle_version == bundle_version else ()
        if self.answered >= policy.max_answers:
            return self, ()
        chosen = tuple(choose())
        return replace(self, answered=self.answered + 1, last=ClusterAnswer(bundle_version, now_s, chosen)), chosen

    def without_shopper(self) -> ClusterAccount:
        """Return the account without what was named; how often, and when last, stays."""
        return self if self.last is None else replace(self, last=replace(self.last, clusters=()))

    def encode(self) -> dict[str, Any]:
        """Write it for the vault's JSON."""
        return {
            **self.unknown,
            "answers": self.answered,
            "last": None if self.last is None else self.last.encode(),
            "pinned": [list(pair) for pair in self.pinned],
        }

    @staticmethod
    def decode(stored: dict[str, Any]) -> ClusterAccount:
        """Read the account of encode."""
        last = None if stored["last"] is None else ClusterAnswer.decode(stored["last"])
        return ClusterAccount(
            stored["answers"],
            last,
            tuple((version, content) for version, content in stored["pinned"]),
            unknown_fields(stored, _ACCOUNT),
        )
