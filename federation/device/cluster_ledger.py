"""What a device has named in mode cluster: stored before it is sent, repeated ever after, and seldom made anew.

Whoever may choose the centroids asks where a profile lies among them; so what counts is how often it is answered. An
answer stands for a whole period, whatever bundle, session or number of clusters is asked for meanwhile, and a lifetime
has a bound of its own. After that the last answer is repeated, which tells nothing more: for another bundle as the
centroids nearest to those named before, a function of what is known already (post-processing).
docs/modes.md measures what 1, 2 and 4 answers give an attacker.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from federation.device.unknown_fields import Unknown, unknown_fields
from recsys.catalogue.clusters import Clusters, nearest

DAY_S = 86_400
_ANSWER = ("bundle_version", "at", "clusters", "named", "mean")
_ACCOUNT = ("answers", "last", "pinned")
MAX_PINNED = 256
"""Versions whose clusters file is remembered: more than a service can publish in a lifetime of honest periods."""


SAME_SPACE = 0.5
"""Least cosine of two bundles' mean profiles for a centroid of the first to mean something in the second: rounds of one
line stay far above, tables that were trained apart have coordinates of their own and lie about 0."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ClusterPolicy:
    """How much a device may name. period_days: how long an answer stands. max_answers: of a lifetime.

    One answer is all that the default gives away: with it 7 % of known histories are found by a service that chooses
    the centroids, no more than by one that only reads; with two 35 %, with four 84 % (docs/modes.md).

    custodian_key: Ed25519 public key (32 bytes) of the custodian in whose public log a clusters file must be before an
    answer is made of it; None asks for no log.
    """

    period_days: float = 30.0
    max_answers: int = 1
    custodian_key: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period_days < np.inf:
            raise ModelError(f"period_days={self.period_days}: must be > 0 and finite")
        if self.max_answers < 1:
            raise ModelError(f"max_answers={self.max_answers}: must be 1 or more")


@dataclass(frozen=True)
class ClusterAnswer:
    """The ids named. at: seconds since 1970-01-01 UTC. clusters: empty once the shopper has forgotten everything.

    named: (n, dim) the public centroids of these ids. mean: (dim,) the public mean profile of their bundle. Both None
    in a vault of before they were kept.
    """

    bundle_version: str
    at: float
    clusters: tuple[int, ...]
    named: Floats | None = field(default=None, repr=False, compare=False)
    mean: Floats | None = field(default=None, repr=False, compare=False)
    unknown: Unknown = field(default_factory=dict, repr=False)

    def carried_to(self, centroids: Floats, mean: Floats) -> tuple[int, ...]:
        """Name the centroids (k, dim) of another bundle that are nearest to those named before.

        None where nothing was named, or where the bundles' mean profiles say that one has coordinates of its own.
        """
        if self.named is None or self.mean is None or not self.clusters or self.named.shape[1:] != centroids.shape[1:]:
            return ()
        lengths = float(np.linalg.norm(self.mean) * np.linalg.norm(mean))
        if lengths > 0 and float(self.mean @ mean) < SAME_SPACE * lengths:
            return ()
        return tuple(sorted({nearest(centroids, place, 1)[0] for place in self.named}))

    def encode(self) -> dict[str, Any]:
        """Write it for the vault's JSON."""
        named = {"bundle_version": self.bundle_version, "at": self.at, "clusters": list(self.clusters)}
        if self.named is not None and self.mean is not None:
            named |= {"named": _packed(self.named), "mean": _packed(self.mean)}
        return {**self.unknown, **named}

    @staticmethod
    def decode(stored: dict[str, Any]) -> ClusterAnswer:
        """Read the answer of encode."""
        unknown, mean, named = unknown_fields(stored, _ANSWER), None, None
        if "named" in stored:
            mean = _unpacked(stored["mean"])
            named = _unpacked(stored["named"]).reshape(-1, len(mean))
        clusters = tuple(stored["clusters"])
        return ClusterAnswer(stored["bundle_version"], stored["at"], clusters, named, mean, unknown)


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

    def is_due(self, policy: ClusterPolicy, now_s: float) -> bool:
        """Check if a new answer may be made: the last one's period is over, and the lifetime's bound not reached."""
        last = self.last
        stands = last is not None and abs(now_s - last.at) < policy.period_days * DAY_S
        return not stands and self.answered < policy.max_answers

    def with_answer(
        self, clusters: Clusters, policy: ClusterPolicy, now_s: float, choose: Callable[[], list[int]]
    ) -> tuple[ClusterAccount, tuple[int, ...]]:
        """Return the account to be stored before anything is sent, and the ids to name for this bundle.

        No ids: nothing may be named now, because the last answer was forgotten, or means nothing for this bundle.
        """
        if self.is_due(policy, now_s):
            ids = tuple(choose())
            named, mean = clusters.centroids[list(ids)], clusters.mean_profile
            answer = ClusterAnswer(clusters.bundle_version, now_s, ids, named, mean)
            return replace(self, answered=self.answered + 1, last=answer), ids
        if self.last is None or self.last.bundle_version == clusters.bundle_version:
            return self, () if self.last is None else self.last.clusters
        return self, self.last.carried_to(clusters.centroids, clusters.mean_profile)

    def without_shopper(self) -> ClusterAccount:
        """Return the account without what was named; how often, and when last, stays."""
        return self if self.last is None else replace(self, last=replace(self.last, clusters=(), named=None, mean=None))

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


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _unpacked(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), "<f4")
