"""Batch concurrent queries into one index search.

A search reads more than the processor's caches hold. Where each request is parsed, searched and written before the next
one is looked at, all of it runs from cold caches each time. Nobody is waited for: a group is whoever is here already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Q = TypeVar("Q")
F = TypeVar("F")

MOST = 32
"""In one run: the gain is had with 8, and whatever else there is to do waits for no more than 4 ms of searches."""


@dataclass(frozen=True, eq=False)
class _Group(Generic[Q, F]):
    """The questions that wait in one event loop."""

    loop: asyncio.AbstractEventLoop
    waiting: list[tuple[Q, asyncio.Future[F | _FailedCall]]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _FailedCall:
    """An error as a result: asyncio would log a future's own exception whole, with what was sent in its text."""

    error: Exception


class Batcher(Generic[Q, F]):
    """Answers concurrent questions by one call of a function, which must not wait.

    A question is held until it is answered, no longer.
    """

    def __init__(self, search: Callable[[Sequence[Q]], Sequence[F]], most: int = MOST) -> None:
        """search: the answers to some questions, in their order. Where it raises, each question is asked alone, so that
        only those that cannot be answered fail."""
        self._search = search
        self._most = most
        self._open: _Group[Q, F] | None = None

    async def submit(self, question: Q) -> F:
        """Submit a question and wait for its answer; raises what the function raises of it."""
        loop = asyncio.get_running_loop()
        group = self._open
        if group is None or group.loop is not loop:
            group = self._open = _Group(loop)
            loop.call_soon(self._answer, group)
        answer: asyncio.Future[F | _FailedCall] = loop.create_future()
        group.waiting.append((question, answer))
        result = await answer
        if isinstance(result, _FailedCall):
            raise result.error
        return result

    def _answer(self, group: _Group[Q, F]) -> None:
        if self._open is group:
            self._open = None
        if len(group.waiting) > self._most:
            group.loop.call_soon(self._answer, _Group(group.loop, group.waiting[self._most :]))
        # Of the others, the time was over or the sender left.
        here = [(question, answer) for question, answer in group.waiting[: self._most] if not answer.cancelled()]
        questions = [question for question, _ in here]
        results: Sequence[F | _FailedCall]
        try:
            results = self._search(questions)
        except Exception:  # noqa: BLE001  # whoever asked what cannot be answered is told, nobody else
            results = [self._alone(question) for question in questions]
        for (_, answer), result in zip(here, results, strict=True):
            answer.set_result(result)

    def _alone(self, question: Q) -> F | _FailedCall:
        try:
            return self._search([question])[0]
        except Exception as error:  # noqa: BLE001  # its future carries it
            return _FailedCall(error)
