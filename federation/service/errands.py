"""Work that may wait for the custodian, each piece in its own thread, so that no round waits for another's answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Errand:
    done: threading.Event = field(default_factory=threading.Event)
    moved: bool = False
    error: Exception | None = None


class Errands:
    """Errands by name, of which one of a name is under way at a time. For one thread that sends them."""

    def __init__(self, patience_s: float = math.inf) -> None:
        """patience_s: how long to wait for one that has just begun; inf does everything in the caller's thread."""
        self._patience_s = patience_s
        self._errands: dict[str, _Errand] = {}

    def busy(self) -> bool:
        """Check if any is under way."""
        return any(not errand.done.is_set() for errand in self._errands.values())

    def run(self, name: str, action: Callable[[], bool]) -> bool:
        """Run an action and return what it returns; False while it, or an earlier one of that name, is under way.

        Raises what the action, or the earlier one, has raised meanwhile.
        """
        if math.isinf(self._patience_s):
            return action()
        errand = self._errands.get(name)
        if errand is None:
            self._errands = {key: value for key, value in self._errands.items() if not value.done.is_set()}
            errand = self._errands[name] = _Errand()
            threading.Thread(target=_go, args=(errand, action), name=f"errand {name}", daemon=True).start()
            errand.done.wait(self._patience_s)
        if not errand.done.is_set():
            return False
        del self._errands[name]
        if errand.error is not None:
            raise errand.error
        return errand.moved


def _go(errand: _Errand, action: Callable[[], bool]) -> None:
    try:
        errand.moved = action()
    except Exception as error:  # noqa: BLE001  # raised to whoever asks next
        errand.error = error
    finally:
        errand.done.set()
