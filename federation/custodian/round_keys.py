"""The private keys of open rounds: one file each and no copy anywhere, so that destroying the file destroys the key.

Not in the database, whose journal, replicas and backups would keep what was deleted: a stolen database opens nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from data.atomic import sync, write_atomically
from data.errors import ServingError

_LOCK = ".lock"


@dataclass(frozen=True)
class RoundKeys:
    """A folder of private keys, named by task hash. Held by one process at a time: `lock` is its open lock file."""

    folder: Path
    lock: int

    @staticmethod
    def open(folder: Path) -> RoundKeys:
        """Open the folder, made if there is none. Raises ServingError while another process holds it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ServingError(f"{folder}: is held by another custodian") from None
        return RoundKeys(folder, lock)

    def release(self) -> None:
        """Let another process have the folder."""
        os.close(self.lock)

    def write(self, task_hash: bytes, private: bytes) -> None:
        """Keep a key, durably."""
        write_atomically(self._path(task_hash), private, 0o600)

    def read(self, task_hash: bytes) -> bytes | None:
        """Read a kept key, or None once it is destroyed."""
        try:
            return self._path(task_hash).read_bytes()
        except FileNotFoundError:
            return None

    def destroy(self, task_hash: bytes) -> None:
        """Overwrite and remove a key, if it is there. (What the medium itself remembers is beyond a file's reach.)"""
        self._destroy(self._path(task_hash))

    def destroy_all_but(self, task_hashes: Collection[bytes]) -> None:
        """Remove whatever a crash left behind."""
        names = {self._path(task_hash).name for task_hash in task_hashes} | {_LOCK}
        for path in self.folder.iterdir():
            if path.name not in names:
                self._destroy(path)

    def _path(self, task_hash: bytes) -> Path:
        return self.folder / task_hash.hex()

    def _destroy(self, path: Path) -> None:
        try:
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError:
            return
        path.unlink()
        sync(self.folder)
