"""Running a replay: bundle after bundle in simulated time, rounds, publications and answers; ends with the tables.

Between two publications the tables stand still, so a period is one batch. reference.py does the same event by event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.dataset import Dataset
from data.errors import ModelError
from data.split import known_at
from recsys.model.trend import trend_of
from recsys.replay.answering import Answer, Task
from recsys.replay.checkpoint import Checkpoint
from recsys.replay.cuts import facts_of, head_items
from recsys.replay.prefixes import histories_before
from recsys.replay.processes import Workers, finished_task, workers
from recsys.replay.questions import prepare
from recsys.replay.replay_arms import Arm, Publication, TimedRecommender, answers_of
from recsys.replay.result import Replay
from recsys.replay.settings import ReplayConfig
from recsys.replay.splitting import Splitter
from recsys.replay.tables import PeriodResult, make_tables
from recsys.replay.taste_changes import find_changes
from recsys.replay.timeline import ItemPopularity, Period, periods
from recsys.replay.trainer import Arrays, Trainer, draw_cohort

OnPeriod = Callable[[int, int], None]


def replay(
    dataset: Dataset,
    arms: Sequence[Arm | TimedRecommender],
    config: ReplayConfig | None = None,
    *,
    trainer: Trainer | None = None,
    jobs: int = 1,
    work: Path | None = None,
    on_period: OnPeriod | None = None,
) -> Replay:
    """Replay a log: list with each arm before every event, and find what was then wanted in the lists.

    arms: names must be distinct. trainer: learns the shared table in rounds, one at each publication, from the devices
    active since the last; without one, arms must bring their own. jobs: processes; any number of them gives the same
    bytes. work: a folder that makes the replay resumable, removed when it is done. on_period: told of events replayed
    and of all events. Raises ModelError for settings that cannot work and for a work folder of another replay.
    """
    run = _Run(dataset, tuple(arms), config or ReplayConfig(), trainer)
    checkpoint = None if work is None else Checkpoint(work, run.identity())
    with workers(jobs) as pool:
        left = list(run.periods(pool, jobs, checkpoint, on_period))
    result = run.result(left)
    if checkpoint is not None:
        checkpoint.remove()
    return result


@dataclass(frozen=True, eq=False)
class _OpenPeriod:
    """A period with the trainer's state at its begin; tasks is None where its part is in the checkpoint."""

    period: Period
    left: PeriodResult
    state: Arrays | None
    tasks: Iterator[Task] | None


class _Run:
    """One replay. What is cheap to know is made anew when it goes on after a stop; rounds and answers are kept."""

    def __init__(
        self, dataset: Dataset, arms: tuple[Arm | TimedRecommender, ...], config: ReplayConfig, trainer: Trainer | None
    ) -> None:
        self._dataset, self._arms, self._config, self._trainer = dataset, arms, config, trainer
        self._names = tuple(str(getattr(arm, "name", type(arm).__name__)) for arm in arms)
        if not arms or len(set(self._names)) != len(arms):
            raise ModelError(f"arms={list(self._names)}: must be at least one, with distinct names")
        session = dataset.log["session_id"]
        numbers = None if session.null_count() else session.rank("dense").to_numpy().astype(np.int64)
        self._log = prepare(dataset.interactions(), config, numbers)
        self._facts = facts_of(dataset, self._log, config.group)
        self._changes = find_changes(self._log, self._facts.category[1])
        self._split = Splitter(self._log, config, self._changes, self._facts.category[1])

    def identity(self) -> dict[str, object]:
        """Describe what a stopped replay must agree in to go on. Arms are told apart by name only."""
        return {
            "dataset": self._dataset.hash,
            "arms": list(self._names),
            "config": {**asdict(self._config), "bootstrap": 0},
            "trainer": None if self._trainer is None else self._trainer.identity(),
        }

    def periods(
        self, pool: Workers, jobs: int, checkpoint: Checkpoint | None, on_period: OnPeriod | None
    ) -> Iterator[PeriodResult]:
        """Yield what every period left, in order. Tasks of later periods begin while earlier ones are not done."""
        finished, stored = (-1, None) if checkpoint is None else checkpoint.done()
        waiting: deque[tuple[_OpenPeriod, list[Future[Answer]]]] = deque()
        total, replayed = self._log.events.n_events, 0

        def close() -> PeriodResult:
            nonlocal replayed
            opened, answers = waiting.popleft()
            number = opened.period.number
            if opened.tasks is None:
                assert checkpoint is not None
                opened.left.part.update(checkpoint.part(number))
            else:
                opened.left.part.update(self._join([finished_task(future).arrays for future in answers], opened.period))
                if checkpoint is not None:
                    checkpoint.add(number, opened.left.part, opened.state)
            replayed += len(opened.period.rows)
            if on_period is not None:
                on_period(replayed, total)
            return opened.left

        for opened in self._open_periods(finished, stored):
            waiting.append((opened, []))
            for task in opened.tasks or ():
                waiting[-1][1].append(pool.start(task))
                while len(waiting) > 1 and sum(len(answers) for _, answers in waiting) > 2 * jobs:
                    yield close()
            while len(waiting) > jobs:
                yield close()
        while waiting:
            yield close()

    def _open_periods(self, finished: int, stored: Arrays | None) -> Iterator[_OpenPeriod]:
        """Yield round, publication and tasks of every period.

        finished: number of the last one done. stored: the state then.
        """
        log, config, trainer = self._log, self._config, self._trainer
        events = log.events
        levels = ItemPopularity.start(events.n_items)
        state = None if trainer is None else trainer.start(events.n_items)
        ends = events.offsets[:-1].copy()
        requests = np.zeros(events.n_users, dtype=np.int64)
        rows = np.empty(0, dtype=np.int64)
        before: tuple[TimedRecommender, ...] = ()
        for number, period in enumerate(periods(events, config.every_us)):
            levels = levels.after(events, rows, period.begin)
            active = np.unique(log.user[rows]).astype(np.int64)
            cohort = active[:0]
            if trainer is not None and state is not None:
                cohort = draw_cohort(active, config.cohort_size, number, config.seed)
                requests[cohort] += 1
                if period.number == finished and stored is not None:
                    state = stored
                elif period.number > finished and len(cohort):
                    moments = np.full(len(cohort), period.begin)
                    known = histories_before(events, cohort, ends[cohort], moments)
                    state = trainer.round(state, known, period.begin, number)
            rows = period.rows
            scored = rows[log.scored[rows]]
            ends += np.bincount(log.user[rows], minlength=len(ends))
            counts = (len(active), len(cohort), int(requests.max(initial=0)), int(levels.seen.sum()), len(rows))
            questions = len(np.unique(log.moment[scored]))
            left = PeriodResult(
                (period.number, period.begin, *counts, questions), levels.seen, head_items(levels.counts), {}
            )
            tasks = None
            if period.number >= finished:
                published = self._publish(period, levels, state)
                answers = tuple(answers_of(arm, published) for arm in self._arms)
                if period.number > finished:
                    tasks = self._split.tasks(published, answers, before, scored, ends.copy())
                before = answers
            yield _OpenPeriod(period, left, state, tasks)

    def _publish(self, period: Period, levels: ItemPopularity, state: Arrays | None) -> Publication:
        trend = trend_of(levels.recent)
        events, now = self._log.events, period.begin
        return Publication(
            number=period.number,
            now=now,
            table=None if self._trainer is None or state is None else self._trainer.table(state, trend),
            trend=trend,
            counts=levels.counts,
            recent=levels.recent,
            candidates=levels.seen,
            known=lambda: known_at(events, now),
        )

    def _join(self, answers: list[Arrays], period: Period) -> Arrays:
        """Join a period's answers: its tasks' arrays one after the other, questions in order of time."""
        if not answers:
            return {}
        log = self._log
        part: Arrays = {}
        for name in sorted({name for arrays in answers for name in arrays}):
            arrays = [arrays_of_task[name] for arrays_of_task in answers if name in arrays_of_task]
            part[name] = np.sum(arrays, axis=0) if name == "exposure" else np.concatenate(arrays)
        for target in self._config.targets:
            row = part[f"row.{target}"]
            order = np.lexsort((row, log.events.time[row]))
            part |= {name: array[order] for name, array in part.items() if name.endswith(f".{target}")}
        if self._config.lists:
            moments = np.unique(log.moment[period.rows[log.scored[period.rows]]])
            part |= {"list.user": np.unique(log.user[moments]), "look": self._split.looks(moments)}
        return part

    def result(self, left: list[PeriodResult]) -> Replay:
        """Make the tables, when all periods are done."""
        trainer = None if self._trainer is None else self._trainer.identity()
        return make_tables(
            self._dataset, self._log, self._facts, self._changes, self._config, self._names, trainer, left
        )
