"""Files and folders that appear whole or not at all, and the hash that says whether they are what was written."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError

STALE_S = 60.0


def file_hash(path: Path) -> str:
    """Hash a file by SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace a file: after a crash the old or the new content is there, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync(path.parent)


def check_replaceable(folder: Path, ours: Collection[str]) -> None:
    """Check that nothing would be lost but entries named in `ours`: a wrong path must not cost a home.

    Raises DataError otherwise.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: exists and is no folder, it will not be overwritten")
    if foreign := sorted(set(os.listdir(folder)).difference(ours)):
        raise DataError(f"{folder}: holds {foreign[0]}, which is not ours, it will not be overwritten")


@contextmanager
def atomic_folder(folder: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Open a temporary folder to fill.

    It becomes `folder` when the block ends without an error.

    Raises DataError when the folder exists and overwrite is false. An overwrite is two renames: a power cut between
    them leaves the old folder beside its place, under a name that ends in -old.
    """
    if folder.exists() and not overwrite:
        raise DataError(f"{folder}: exists already; choose another folder or allow overwriting")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    claim = os.open(fresh, os.O_RDONLY)
    try:
        fcntl.flock(claim, fcntl.LOCK_SH)
        fresh.chmod(0o755)
        yield fresh
        for path in fresh.rglob("*"):
            sync(path)
        if folder.exists():
            old = fresh.with_name(fresh.name + "-old")
            os.replace(folder, old)
            try:
                os.replace(fresh, folder)
            except BaseException:
                os.replace(old, folder)
                raise
            shutil.rmtree(old)
        else:
            os.replace(fresh, folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    finally:
        os.close(claim)


def _sweep(folder: Path) -> None:
    """Remove what writers of this folder left that were killed: unfinished folders that no process claims.

    One of the last minute is left alone, its writer may be about to claim it.
    """
    name = re.compile(rf"\.{re.escape(folder.name)}-\w{{8}}")
    for path in folder.parent.glob(f".{glob.escape(folder.name)}-*"):
        try:
            if not name.fullmatch(path.name) or not path.is_dir() or time.time() - path.stat().st_mtime < STALE_S:
                continue
            claim = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # another sweeper was first
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(claim)
