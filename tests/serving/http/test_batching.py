from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from serving.http.batching import Batcher


async def after(ticks: int) -> None:
    for _ in range(ticks):
        await asyncio.sleep(0)


def test_whoever_is_there_is_answered_in_one_run_and_nobody_waits_for_more() -> None:
    events: list[str] = []

    def search(questions: Sequence[int]) -> list[int]:
        events.append(f"search {questions}")
        return [question * 10 for question in questions]

    batcher = Batcher(search)

    async def one(question: int) -> int:
        events.append(f"read {question}")
        found = await batcher.submit(question)
        events.append(f"write {question}")
        return found

    async def three() -> list[int]:
        return await asyncio.gather(*(one(n) for n in (1, 2, 3)))

    assert asyncio.run(three()) == [10, 20, 30]
    reads, writes = ([f"{what} {n}" for n in (1, 2, 3)] for what in ("read", "write"))
    assert events == [*reads, "search [1, 2, 3]", *writes]
    events.clear()
    assert asyncio.run(one(4)) == 40  # alone, and in another event loop


def test_a_run_has_its_bound_so_that_others_get_a_turn_in_between() -> None:
    turns: list[str] = []

    def search(questions: Sequence[int]) -> Sequence[int]:
        turns.extend("search" for _ in questions)
        return questions

    async def asked() -> list[int]:
        batcher = Batcher(search, most=4)
        found = asyncio.gather(*(batcher.submit(n) for n in range(10)))
        while not found.done():
            await after(1)
            turns.append("other")
        return await found

    assert asyncio.run(asked()) == list(range(10))
    assert [len(run) for run in "".join(turn[0] for turn in turns).split("o") if run] == [4, 4, 2]


def test_a_failure_is_for_the_one_who_asked() -> None:
    def search(questions: Sequence[int]) -> list[float]:
        return [1 / question for question in questions]

    async def asked() -> list[float | BaseException]:
        batcher = Batcher(search)
        return await asyncio.gather(*(batcher.submit(n) for n in (1, 0, 2)), return_exceptions=True)

    first, failed, last = asyncio.run(asked())
    assert (first, last) == (1.0, 0.5)
    assert isinstance(failed, ZeroDivisionError)


@pytest.mark.parametrize("ticks", [0, 1, 2])
def test_whoever_has_left_is_not_searched_for_and_no_failure_is_logged_for_nobody(
    ticks: int, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio logs the exception of a future that nobody asked, text and all: here it would be of a request."""
    caplog.set_level(logging.DEBUG)
    searched: list[str] = []

    def search(questions: Sequence[str]) -> list[None]:
        searched.extend(questions)
        raise ValueError(f"bad {questions}")

    async def asked() -> None:
        batcher = Batcher(search)
        task = asyncio.create_task(batcher.submit("a planted profile"))
        stays = asyncio.create_task(batcher.submit("another"))
        await after(ticks)
        task.cancel()
        for one in (task, stays):
            with pytest.raises((asyncio.CancelledError, ValueError)):
                await one

    asyncio.run(asked())
    assert "another" in searched
    assert "planted" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
