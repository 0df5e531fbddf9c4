"""When each round is tried again after an error, so that the error of one round never delays another."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from data.errors import OwnshelfError

log = logging.getLogger("ownshelf.federation")


@dataclass(frozen=True)
class Backoff:
    """failures: in a row. retry_at: seconds since 1970-01-01 UTC; not tried before."""

    failures: int
    retry_at: float


class Attempts:
    """Consecutive failures by name, in memory.

    In memory, because a full disk is one of the failures. After a restart everything is tried at once, which is safe:
    every transition may be repeated.
    """

    def __init__(self, first_wait_s: float = 1.0, longest_wait_s: float = 300.0) -> None:
        """first_wait_s: after the first failure; it doubles with each further one, up to longest_wait_s."""
        self._first_wait_s, self._longest_wait_s = first_wait_s, longest_wait_s
        self._backoffs: dict[str, Backoff] = {}

    def failures(self, name: str) -> int:
        """Count the failures since the last success."""
        return self._backoffs[name].failures if name in self._backoffs else 0

    def run(self, name: str, now: float, action: Callable[[], bool]) -> bool:
        """Run an action unless it failed a short while ago; False if it failed or was not run.

        An error is logged by type and place. Its message is logged only when this project wrote it: any other could
        quote what it was about.
        """
        before = self._backoffs.get(name)
        if (
            before is not None and 0 < before.retry_at - now <= self._longest_wait_s
        ):  # further away: the clock was set back
            return False
        try:
            moved = action()
        except Exception as error:  # noqa: BLE001  # whatever it was, the other rounds go on
            failures = self.failures(name) + 1
            wait_s = min(self._first_wait_s * 2.0 ** min(failures - 1, 30), self._longest_wait_s)
            self._backoffs[name] = Backoff(failures, now + wait_s)
            log.error("%s: failure %d, tried again in %.3g s (%s)", name, failures, wait_s, describe(error))
            return False
        self._backoffs.pop(name, None)
        return moved


def describe(error: Exception) -> str:
    """Name an error's type and place, and its message if it is one of the project's own."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    words = f": {error}" if isinstance(error, OwnshelfError) else ""
    return f"{type(error).__name__}{place}{words}"
