"""Where a share of half a megabyte waits for its sum: why service/intake/share_files.py has segments, not files.

Each way stores the same shares in groups of 16, durable before the next group, with a small row each in SQLite (WAL,
synchronous=FULL), and then destroys them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from federation.service.intake.share_files import ShareFolder
from federation.storage.database import open_engine, sqlite_url, truncate_log

SHARE_BYTES, GROUP = 541_076, 16

Store = Callable[[Sequence[bytes], int], None]


def run(shares: int = 960) -> dict[str, Any]:
    """Shares a second, CPU and bytes written to the disk for each, and seconds to destroy them all."""
    return {
        name: _measured(make, shares)
        for name, make in (("segments", _segments), ("file_each", _files), ("rows", _rows))
    }


def _measured(make: Callable[[Path], Iterator[Store]], shares: int) -> dict[str, float]:
    group = [os.urandom(SHARE_BYTES) for _ in range(GROUP)]
    folder = Path(tempfile.mkdtemp(dir="."))
    try:
        steps = make(folder)
        store = next(steps)
        os.sync()
        written, cpu, start = _written(), time.process_time(), time.perf_counter()
        for first in range(0, shares, GROUP):
            store(group, first)
        elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
        os.sync()
        start = time.perf_counter()
        next(steps, None)
        return {
            "per_s": shares / elapsed,
            "cpu_ms": cpu * 1e3 / shares,
            "disk_mb": (_written() - written) / 1e6 / shares,
            "destroy_s": time.perf_counter() - start,
        }
    finally:
        shutil.rmtree(folder)


def _segments(folder: Path) -> Iterator[Store]:
    shares, heads = ShareFolder(folder / "shares"), _Rows(folder)

    def store(group: Sequence[bytes], first: int) -> None:
        shares.append("t", group)
        heads.insert([share[:300] for share in group])

    yield store
    shares.release()
    shares.destroy("t")


def _files(folder: Path) -> Iterator[Store]:
    heads = _Rows(folder)
    (folder / "shares").mkdir()

    def store(group: Sequence[bytes], first: int) -> None:
        opened = []
        for place, share in enumerate(group, first):
            descriptor = os.open(folder / "shares" / str(place), os.O_WRONLY | os.O_CREAT)
            os.write(descriptor, share)
            opened.append(descriptor)
        for descriptor in (*opened, os.open(folder / "shares", os.O_RDONLY)):
            os.fsync(descriptor)
            os.close(descriptor)
        heads.insert([share[:300] for share in group])

    yield store
    shutil.rmtree(folder / "shares")


def _rows(folder: Path) -> Iterator[Store]:
    rows = _Rows(folder)
    yield lambda group, _: rows.insert(group)
    rows.delete()


class _Rows:
    """One table of bytes."""

    def __init__(self, folder: Path) -> None:
        self.engine = open_engine(sqlite_url(folder / "rows.sqlite"))
        self.table = sa.Table(
            "rows", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("content", sa.LargeBinary)
        )
        self.table.create(self.engine)

    def insert(self, contents: Sequence[bytes]) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.table.insert(), [{"content": content} for content in contents])

    def delete(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.table.delete())
        truncate_log(self.engine)


def _written() -> int:
    """Bytes this process caused to be written to disks so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])
