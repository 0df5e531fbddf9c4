"""Shares on their way to a sum, in an object store that several hosts share: one object a group of reports.

An object store has no append, so that a segment is what one commit brought. It answers a write when it is durable.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence

from federation.service.intake.share_files import ShareLocation, ShareLost, lost_places
from federation.storage.crash_points import crash_point
from federation.storage.objects import Objects

LIST_EVERY_S = 30.0


class ShareObjects:
    """The shares of all rounds below one prefix. One thread appends, one destroys; any may read."""

    def __init__(self, objects: Objects, prefix: str) -> None:
        self._objects, self._prefix = objects, prefix
        self._listed: set[str] = set()
        self._listed_at: float | None = None

    def append(self, task_id: str, shares: Sequence[bytes | memoryview]) -> list[ShareLocation]:
        """Write shares as one object, and return where each begins in it. Raises OSError."""
        segment = f"{secrets.token_hex(8)}.shares"
        places, end = [], 0
        for share in shares:
            places.append(ShareLocation(segment, end))
            end += len(share)
        self._objects.put(f"{self._prefix}/{task_id}/{segment}", b"".join(shares))
        crash_point("shares written")
        return places

    def read(self, task_id: str, place: ShareLocation, n_bytes: int) -> bytes:
        """Read one share. Raises ShareLost when it is not there whole, OSError when it may be read another time."""
        try:
            share = self._objects.get_range(f"{self._prefix}/{task_id}/{place.segment}", place.at, n_bytes)
        except FileNotFoundError:
            if not self._objects.sizes(f"{self._prefix}/{task_id}"):  # no segment was lost: the bucket is not there
                raise
            raise ShareLost(f"segment {place.segment}: is gone") from None
        if len(share) < n_bytes:
            raise ShareLost(f"share of {len(share)} bytes: must be {n_bytes}")
        return share

    def lost(self, task_id: str, places: Collection[ShareLocation], n_bytes: int) -> set[ShareLocation]:
        """Collect those of the places where no whole share is. Raises OSError."""
        sizes = self._objects.sizes(f"{self._prefix}/{task_id}")
        if places and not sizes:
            raise FileNotFoundError(f"{self._prefix}/{task_id}: has no objects at all")
        return lost_places({name.rpartition("/")[2]: size for name, size in sizes.items()}, places, n_bytes)

    def destroy(self, task_id: str) -> None:
        """Delete every share of a round; again is fine."""
        self._objects.delete(f"{self._prefix}/{task_id}")
        self._listed.discard(task_id)

    def rounds(self) -> set[str]:
        """List the task_ids that had shares, as of LIST_EVERY_S ago or later: a listing costs money."""
        now = time.monotonic()
        if self._listed_at is None or now - self._listed_at >= LIST_EVERY_S:
            self._listed, self._listed_at = self._objects.folders(self._prefix), now
        return set(self._listed)

    def release(self) -> None:
        """Do nothing: no segment stays open."""
