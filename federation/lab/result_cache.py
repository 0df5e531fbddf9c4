"""Results of long work kept in a folder, one file each: work that was stopped goes on where it was, to the same end.

Whoever asks for a result says all that it depends on; a result is read only under the same words. Files appear whole or
not at all. Not a cache that grows without end: its owner removes the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.atomic import write_atomically
from data.errors import FederationError

_FORMAT = 1


@dataclass(frozen=True)
class ResultCache:
    """A folder of results, made when the first is kept; None keeps nothing."""

    folder: Path | None = None

    def get_or_compute(self, words: Mapping[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result kept under `words`, else compute it by `work` and keep it.

        Both are JSON values.

        Raises FederationError for a file that is damaged: it says which one to remove.
        """
        if self.folder is None:
            return work()
        key = json.dumps({"format": _FORMAT, **words}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
        if path.exists():
            return self._read(path, key)
        result = work()
        write_atomically(path, json.dumps({"of": key, "result": result}).encode())
        result_again: dict[str, Any] = json.loads(json.dumps(result))
        return result_again

    @staticmethod
    def _read(path: Path, key: str) -> dict[str, Any]:
        try:
            stored = json.loads(path.read_bytes())
            if stored["of"] != key:
                raise ValueError("it is of other work")
            result: dict[str, Any] = stored["result"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FederationError(f"{path}: not a readable result ({error}); remove it to work it out again") from None
        return result
