"""Tasks in order, in this process or in several; what comes back does not depend on how many."""

from __future__ import annotations

import multiprocessing
import pickle  # nosec B403 # for the name of an error
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager

import torch

from data.errors import ModelError
from recsys.replay.answering import Answer, Task, answer


class Workers:
    """Takes tasks, gives answers. Without a pool the work is done when a task is handed in."""

    def __init__(self, pool: ProcessPoolExecutor | None) -> None:
        self._pool = pool

    def start(self, task: Task) -> Future[Answer]:
        """Start a task and return the answer to come; ask for it by `finished_task`."""
        if self._pool is not None:
            return self._pool.submit(answer, task)
        done: Future[Answer] = Future()
        done.set_result(answer(task))
        return done


def finished_task(future: Future[Answer]) -> Answer:
    """Wait for a task's answer. Raises ModelError where its task could not reach another process."""
    try:
        return future.result()
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # what an arm raises is a ModelError by now
        raise ModelError(f"jobs: an arm does not pickle ({error}); use one process, or an arm that does") from error


@contextmanager
def workers(jobs: int) -> Iterator[Workers]:
    """Open `jobs` processes, or use this one alone. On an interrupt, what has not begun is dropped."""
    if jobs < 1:
        raise ModelError(f"jobs={jobs}: must be 1 or more")
    torch.set_num_threads(1)
    if jobs == 1:
        yield Workers(None)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_quiet)
    try:
        yield Workers(pool)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _quiet() -> None:
    """Leave Ctrl-C to the parent process, and give torch one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
