"""A bound on the time of each request, for all of them with one timer: one a request would cost more than its key."""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """Tasks that are cancelled when their time is over. All have the same time, so the oldest is the next."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._over: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = False

    def enter(self) -> asyncio.Task[Any]:
        """Bound the running task's time from now on."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        if loop is not self._loop:
            self._loop, self._waiting = loop, False
            self._ends.clear()
        end = self._ends[task] = loop.time() + self.timeout_s
        if not self._waiting:
            self._waiting = True
            loop.call_at(end, self._cancel_those_over, loop)
        return task

    def leave(self, task: asyncio.Task[Any]) -> bool:
        """Bound it no longer; return whether it was cancelled because its time was over."""
        self._ends.pop(task, None)
        if task not in self._over:
            return False
        self._over.discard(task)
        return task.uncancel() == 0

    def _cancel_those_over(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        while self._ends:
            task, end = next(iter(self._ends.items()))
            if end > now:
                loop.call_at(end, self._cancel_those_over, loop)
                return
            del self._ends[task]
            self._over.add(task)
            task.cancel()
        self._waiting = False
