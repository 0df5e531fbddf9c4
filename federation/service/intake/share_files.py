"""Shares on their way to a sum, in files: one append-only segment a process and round, destroyed by unlinking.

Segments, not rows or a file a share: three times as many a second as either, and a quarter of the disk's writing that
rows cost (log, checkpoint, zeros on deletion); tests/benchmarks/share_storage.py. Nothing is left in free pages once a
segment is gone.

A row in SQL points at a share only after the share was synced; bytes that no row points at, left by a crash, are never
read. Hosts that do not share this folder share objects instead (share_objects.py).
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.atomic import sync
from data.errors import FederationError
from federation.storage.crash_points import crash_point


class ShareLost(FederationError):
    """A share that is not on the disk whole, and never will be."""


@dataclass(frozen=True)
class ShareLocation:
    """The place where a share begins."""

    segment: str
    at: int


class ShareStorage(Protocol):
    """The shares of all rounds, the same for every process of a store. One thread appends; any may read."""

    def append(self, task_id: str, shares: Sequence[bytes | memoryview]) -> list[ShareLocation]:
        """Append shares and return where each begins; all are durable when this returns. Raises OSError."""
        ...

    def read(self, task_id: str, place: ShareLocation, n_bytes: int) -> bytes:
        """Read one share. Raises ShareLost when it is not there whole, OSError when it may be read another time."""
        ...

    def lost(self, task_id: str, places: Collection[ShareLocation], n_bytes: int) -> set[ShareLocation]:
        """Collect those of the places where no whole share is, by the sizes of segments. Raises OSError."""
        ...

    def destroy(self, task_id: str) -> None:
        """Destroy every share of a round; again is fine."""
        ...

    def rounds(self) -> set[str]:
        """List the task_ids that have shares."""
        ...

    def release(self) -> None:
        """Let go of what is being written."""
        ...


def lost_places(sizes: dict[str, int], places: Collection[ShareLocation], n_bytes: int) -> set[ShareLocation]:
    """Collect the places that lie beyond the end of their segment. sizes: in bytes, by segment."""
    return {place for place in places if place.at + n_bytes > sizes.get(place.segment, 0)}


@dataclass
class _Segment:
    task_id: str
    name: str
    descriptor: int
    end: int = 0


class ShareFolder:
    """The shares of all rounds. One thread appends; any may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: _Segment | None = None

    def append(self, task_id: str, shares: Sequence[bytes | memoryview]) -> list[ShareLocation]:
        """Append shares and return where each begins; all are on the disk when this returns.

        Raises OSError if that failed.
        """
        if self._open is None or self._open.task_id != task_id:
            self.release()
            self._open = self._new(task_id)
        segment, places = self._open, []
        try:
            for share in shares:
                places.append(ShareLocation(segment.name, segment.end))
                rest = memoryview(share)
                while rest:
                    rest = rest[os.write(segment.descriptor, rest) :]
                segment.end += len(share)
            crash_point("shares written")
            os.fdatasync(segment.descriptor)
        except OSError:
            self.release()  # its end is unknown now: the next shares get a new one
            raise
        return places

    def read(self, task_id: str, place: ShareLocation, n_bytes: int) -> bytes:
        """Read one share. Raises ShareLost when it is not there whole, OSError when it may be read another time."""
        share = b""
        try:
            with (self._folder / task_id / place.segment).open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), place.at, n_bytes, os.POSIX_FADV_WILLNEED)
                while len(share) < n_bytes:
                    more = os.pread(file.fileno(), n_bytes - len(share), place.at + len(share))
                    if not more:
                        raise ShareLost(f"share of {len(share)} bytes: must be {n_bytes}")
                    share += more
        except FileNotFoundError:
            if not (self._folder / task_id).exists():  # no segment was lost: the file system is not there
                raise
            raise ShareLost(f"segment {place.segment}: is gone") from None
        return share

    def lost(self, task_id: str, places: Collection[ShareLocation], n_bytes: int) -> set[ShareLocation]:
        """Collect those of the places where no whole share is. Raises OSError."""
        sizes = {}
        for segment in {place.segment for place in places}:
            try:
                sizes[segment] = (self._folder / task_id / segment).stat().st_size
            except FileNotFoundError:
                if not (self._folder / task_id).exists():  # the file system is not there
                    raise
        return lost_places(sizes, places, n_bytes)

    def destroy(self, task_id: str) -> None:
        """Unlink every share of a round; again is fine."""
        if (self._folder / task_id).exists():
            shutil.rmtree(self._folder / task_id)
            sync(self._folder)

    def rounds(self) -> set[str]:
        """List the task_ids that have shares here."""
        return {path.name for path in self._folder.iterdir()} if self._folder.exists() else set()

    def release(self) -> None:
        """Close the segment being written."""
        if self._open is not None:
            os.close(self._open.descriptor)
            self._open = None

    def _new(self, task_id: str) -> _Segment:
        folder = self._folder / task_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{secrets.token_hex(8)}.shares"
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        for path in (folder, self._folder, self._folder.parent):
            sync(path)
        return _Segment(task_id, name, descriptor)
