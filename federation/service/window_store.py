"""The windows of all apps' experiments in SQL. A window is a round of one block, whose sum is kept in its row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Engine, Row, insert, select

from federation.protocol.messages import Task
from federation.service.experiment_schema import WINDOWS, rows_of
from federation.service.round_schema import RoundState
from federation.service.round_store import WIRE_INT, RoundStore, StoredSum, task_of
from federation.storage.database import reading
from recsys.experiments.definition.definition import Experiment


@dataclass(frozen=True)
class StoredWindow:
    """A window as the store has it: the task is the draft until it is open; words are its sum, once it is summed."""

    app: str
    experiment_id: str
    window: int
    version: int
    task: Task = field(repr=False)
    state: RoundState
    counted: int
    broken: int
    words: npt.NDArray[np.int32] | None = field(repr=False)
    failure: str | None
    finished_at: int | None


class WindowStore(RoundStore[StoredWindow]):
    """Windows of all apps."""

    def __init__(self, engine: Engine) -> None:
        """engine: of a database that has the table already."""
        super().__init__(engine, WINDOWS, RoundState.SUMMED)

    def decode(self, row: Row[Any]) -> StoredWindow:
        """Read a window from its row."""
        return StoredWindow(
            app=row.app,
            experiment_id=row.experiment_id,
            window=row.window,
            version=row.version,
            task=task_of(row),
            state=RoundState(row.state),
            counted=row.counted,
            broken=row.broken,
            words=None if row.words is None else np.frombuffer(row.words, WIRE_INT),
            failure=row.failure,
            finished_at=row.finished_at,
        )

    def of(self, app: str, experiment_id: str) -> list[StoredWindow]:
        """List the windows of an experiment that were begun, in order."""
        return self._select(rows_of(WINDOWS, app, experiment_id))

    def failed_numbers(self, app: str) -> dict[str, list[int]]:
        """List the numbers of windows that failed after they took reports or may have, by experiment."""
        lost = (WINDOWS.c.app == app) & (WINDOWS.c.state == RoundState.FAILED) & WINDOWS.c.task.is_not(None)
        query = select(WINDOWS.c.experiment_id, WINDOWS.c.window).where(lost).order_by(WINDOWS.c.window)
        numbers: dict[str, list[int]] = {}
        with reading(self.engine) as connection:
            for experiment_id, window in connection.execute(query):
                numbers.setdefault(experiment_id, []).append(window)
        return numbers

    def draft(self, app: str, experiment: Experiment, draft: Task) -> None:
        """Store a new window, drafted."""
        with self.engine.begin() as connection:
            connection.execute(
                insert(WINDOWS).values(
                    app=app,
                    experiment_id=experiment.id,
                    window=draft.round,
                    version=experiment.version,
                    task_id=draft.task_id,
                    state=RoundState.DRAFTED,
                    draft=draft.draft_bytes(),
                    max_reports=draft.plan.max_reports,
                )
            )

    def keep_sum(self, task_id: str, block: int, block_sum: StoredSum) -> None:
        """Store the sum of a closed window. Of a block that was given up nothing is stored: the window fails next."""
        if block_sum.words is None:
            return
        values = {
            "counted": block_sum.counted,
            "broken": block_sum.broken,
            "words": block_sum.words.astype(WIRE_INT).tobytes(),
        }
        with self.engine.begin() as connection:
            self._change(connection, task_id, RoundState.CLOSED, RoundState.CLOSED, **values)

    def sums(self, task_id: str) -> dict[int, StoredSum]:
        """Read the sum of a window's only block, if there is one."""
        window = self.of_task(task_id)
        if window is None or window.words is None:
            return {}
        return {0: StoredSum(window.counted, window.broken, window.words)}
