"""What a running replay keeps, so that it can go on after it was stopped: a part a period and the trainer's state.

The folder holds figures of single devices: it is the analyst's own, and goes when the replay is done.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from data.atomic import write_atomically
from data.errors import ModelError
from recsys.replay.trainer import Arrays

_OURS = ("identity.json", "state.npz")


class Checkpoint:
    """A folder of one replay; identity: whatever must be equal for a run to go on from there, JSON."""

    def __init__(self, folder: Path, identity: dict[str, object]) -> None:
        """Open or begin it; raises ModelError where the folder is of another replay or holds something else."""
        self._folder = folder
        text = json.dumps(identity, sort_keys=True)
        mark = folder / "identity.json"
        if mark.is_file():
            if mark.read_text(encoding="utf-8") != text:
                raise ModelError(
                    f"{folder}: is of a replay of another log, other arms or settings; remove it, or run those"
                )
        elif folder.exists() and any(folder.iterdir()):
            raise ModelError(f"{folder}: holds something that is not a replay's")
        else:
            write_atomically(mark, text.encode())

    def done(self) -> tuple[int, Arrays | None]:
        """Read the number of the last finished period, −1 for none, and the trainer's state there."""
        path = self._folder / "state.npz"
        if not path.is_file():
            return -1, None
        arrays = _read(path)
        number = int(arrays.pop("_number"))
        return number, arrays or None

    def add(self, number: int, part: Arrays, state: Arrays | None) -> None:
        """Keep a period's part, then that it is finished."""
        write_atomically(self._part(number), _bytes(part))
        write_atomically(self._folder / "state.npz", _bytes({"_number": np.array(number), **(state or {})}))

    def part(self, number: int) -> Arrays:
        """Read the arrays of a finished period."""
        return _read(self._part(number))

    def remove(self) -> None:
        """Remove the checkpoint, once the replay is done and its result is safe."""
        for path in self._folder.iterdir():
            if path.name not in _OURS and not path.name.startswith(("part-", ".")):
                raise ModelError(f"{path}: is not a replay's; {self._folder} is left there")
        shutil.rmtree(self._folder)

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:06d}.npz"


def _bytes(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read(path: Path) -> Arrays:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ModelError(f"{path}: not readable ({error}); remove the folder to start again") from None
