"""What the custodian remembers beside its database, so that a database restored from a backup answers nothing again.

A batch answered twice with fresh noise, or once more with a report less, gives away what one noise was to hide. The
database replays its answer; one that has forgotten it must not make another. So after an answer is committed, and
before anybody is told, a marker file is written and a counter raised: a database that counts less is an older one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.atomic import sync, write_atomically
from data.errors import ServingError

COUNTER = "counter"


@dataclass(frozen=True)
class AnswerMarkers:
    """A folder of empty files named by task hash and block, and of the counter: answers told, and those given up.

    Answers given up are those that a database lacks whose restore the operator accepted.
    """

    folder: Path

    @staticmethod
    def open(folder: Path) -> AnswerMarkers:
        """Open the folder, made if there is none."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return AnswerMarkers(folder)

    def mark(self, task_hash: bytes, block: int, answered: int) -> None:
        """Remember durably that a block is answered, and that the database then counted so many answers."""
        path = self._path(task_hash, block)
        if not path.exists():
            write_atomically(path, b"", 0o600)
            sync(self.folder)
        told, given_up = self._read()
        if answered + given_up > told:
            self._write(answered + given_up, given_up)

    def is_marked(self, task_hash: bytes, block: int) -> bool:
        """Tell whether a block was answered, whatever the database says."""
        return self._path(task_hash, block).exists()

    def missing(self, answered: int) -> int:
        """Count the answers that a database with so many lacks; 0 unless it was restored. Raises ServingError."""
        told, given_up = self._read()
        return max(told - given_up - answered, 0)

    def given_up(self) -> int:
        """Count the answers that restored databases lacked."""
        return self._read()[1]

    def give_up(self, answered: int) -> None:
        """Accept a database with so many answers: what it lacks stays counted as given."""
        told, given_up = self._read()
        self._write(told, given_up + self.missing(answered))

    def _path(self, task_hash: bytes, block: int) -> Path:
        return self.folder / f"{task_hash.hex()}-{block}"

    def _read(self) -> tuple[int, int]:
        path = self.folder / COUNTER
        try:
            told, given_up = (int(number) for number in path.read_text().split())
        except FileNotFoundError:
            return 0, 0
        except ValueError:
            raise ServingError(f"{path}: must hold two numbers; restore it, never make it anew") from None
        return told, given_up

    def _write(self, told: int, given_up: int) -> None:
        write_atomically(self.folder / COUNTER, f"{told} {given_up}".encode(), 0o600)
        sync(self.folder)
