"""Experiments and their windows in SQL, by app. Every change of state is one transaction that names the one before."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine, Row, insert, select, update

from data.errors import FederationError
from federation.learning.experiment_sum import experiment_plan
from federation.protocol.messages import Task
from federation.service.experiment_schema import EXPERIMENTS, SCHEMA, VERSIONS, WINDOWS, ExperimentState
from federation.service.intake.report_store import ReportStore, blank
from federation.service.round_schema import SCHEMA as ROUNDS
from federation.service.round_schema import RoundState
from federation.service.round_store import WIRE_INT, StoredSum
from federation.storage.database import reading, truncate_log
from federation.storage.migrations import prepare
from recsys.experiments.definition.amendments import check_amendment, check_beside
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import canonical_json, experiment_of


class UnknownExperiment(FederationError):
    """This app has no experiment of that id."""


class WrongState(FederationError):
    """The experiment's state does not allow it."""


@dataclass(frozen=True)
class StoredExperiment:
    """An experiment of one app, in its newest version. started_at, stopped_at: seconds since 1970-01-01 UTC."""

    app: str
    experiment: Experiment
    state: ExperimentState
    started_at: int | None
    stopped_at: int | None


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


class ExperimentStore:
    """Experiments of all apps, their windows, and the reports on their way into them: `.reports`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        prepare(engine, ROUNDS)
        prepare(engine, SCHEMA)
        self.reports = ReportStore(engine, WINDOWS)

    def put(self, app: str, experiment: Experiment, now: int) -> StoredExperiment:
        """A new draft, a draft rewritten, the same once more, or the next version of a running experiment.

        Raises DataError for a version that is no amendment or too large, PlanRefused for noise that does not fit,
        WrongState for a stopped experiment.
        """
        experiment_plan(experiment)
        with self.engine.begin() as connection:
            _alone(connection, app)
            held = _held(connection, app, experiment.id)
            if held is None:
                key = {"app": app, "experiment_id": experiment.id}
                connection.execute(insert(EXPERIMENTS).values(**key, state=ExperimentState.DRAFT, version=0))
            elif held.experiment == experiment:
                return held
            elif held.state is ExperimentState.STOPPED:
                raise WrongState(f"experiment {experiment.id}: is stopped; another one needs another id")
            elif held.state is ExperimentState.RUNNING:
                check_amendment(held.experiment, experiment)
                check_beside(experiment, _running(connection, app))
            else:
                connection.execute(VERSIONS.delete().where(_of(VERSIONS, app, experiment.id)))
            connection.execute(
                insert(VERSIONS).values(
                    app=app,
                    experiment_id=experiment.id,
                    version=experiment.version,
                    definition=canonical_json(experiment),
                    at=now,
                )
            )
            newest = update(EXPERIMENTS).where(_of(EXPERIMENTS, app, experiment.id)).values(version=experiment.version)
            connection.execute(newest)
            return _known(connection, app, experiment.id)

    def start(self, app: str, experiment_id: str, now: int) -> StoredExperiment:
        """draft → running. Raises DataError beside another experiment that needs the same shoppers."""
        with self.engine.begin() as connection:
            _alone(connection, app)
            held = _known(connection, app, experiment_id)
            if held.state is ExperimentState.RUNNING:
                return held
            if held.state is not ExperimentState.DRAFT:
                raise WrongState(f"experiment {experiment_id}: is {held.state}, must be draft to start")
            check_beside(held.experiment, _running(connection, app))
            self._set(connection, held, state=ExperimentState.RUNNING, started_at=now)
            return _known(connection, app, experiment_id)

    def stop(self, app: str, experiment_id: str, now: int) -> StoredExperiment:
        """running → stopped, for good; its open window takes no more reports."""
        with self.engine.begin() as connection:
            _alone(connection, app)
            held = _known(connection, app, experiment_id)
            if held.state is ExperimentState.STOPPED:
                return held
            if held.state is not ExperimentState.RUNNING:
                raise WrongState(f"experiment {experiment_id}: is {held.state}, must be running to stop")
            self._set(connection, held, state=ExperimentState.STOPPED, stopped_at=now)
            for before, values in (
                (RoundState.OPEN, {"state": RoundState.CLOSED}),
                (RoundState.DRAFTED, {"state": RoundState.FAILED, "failure": "the experiment was stopped"}),
            ):
                still = _of(WINDOWS, app, experiment_id) & (WINDOWS.c.state == before)
                connection.execute(update(WINDOWS).where(still).values(values))
            return _known(connection, app, experiment_id)

    def get(self, app: str, experiment_id: str) -> StoredExperiment:
        """One of the app's experiments. Raises UnknownExperiment for any other."""
        with reading(self.engine) as connection:
            return _known(connection, app, experiment_id)

    def all(self, app: str | None = None, *, state: ExperimentState | None = None) -> list[StoredExperiment]:
        """The app's experiments by id; of every app for None, which only the one who advances windows asks."""
        query = _newest().order_by(EXPERIMENTS.c.app, EXPERIMENTS.c.experiment_id)
        if app is not None:
            query = query.where(EXPERIMENTS.c.app == app)
        if state is not None:
            query = query.where(EXPERIMENTS.c.state == state)
        with reading(self.engine) as connection:
            return [_experiment(row) for row in connection.execute(query)]

    def versions(self, app: str, experiment_id: str) -> list[Experiment]:
        """Every version, the first one first."""
        query = select(VERSIONS.c.definition).where(_of(VERSIONS, app, experiment_id)).order_by(VERSIONS.c.version)
        with reading(self.engine) as connection:
            return [experiment_of(json.loads(text)) for text in connection.execute(query).scalars()]

    def windows(self, app: str, experiment_id: str) -> list[StoredWindow]:
        """The windows that were begun, in order."""
        query = select(WINDOWS).where(_of(WINDOWS, app, experiment_id)).order_by(WINDOWS.c.window)
        with reading(self.engine) as connection:
            return [_window(row) for row in connection.execute(query)]

    def failed_windows(self, app: str) -> dict[str, list[int]]:
        """Numbers of the windows that failed after they took reports or may have, by experiment."""
        query = select(WINDOWS.c.experiment_id, WINDOWS.c.window).order_by(WINDOWS.c.window)
        query = query.where(
            (WINDOWS.c.app == app) & (WINDOWS.c.state == RoundState.FAILED) & WINDOWS.c.task.is_not(None)
        )
        found: dict[str, list[int]] = {}
        with reading(self.engine) as connection:
            for experiment_id, window in connection.execute(query):
                found.setdefault(experiment_id, []).append(window)
        return found

    def window_of(self, task_id: str) -> StoredWindow | None:
        """The window of a task."""
        with reading(self.engine) as connection:
            row = connection.execute(select(WINDOWS).where(WINDOWS.c.task_id == task_id)).one_or_none()
        return None if row is None else _window(row)

    def unfinished(self) -> list[StoredWindow]:
        """Windows of all apps that are drafted, open or closed."""
        states = [RoundState.DRAFTED, RoundState.OPEN, RoundState.CLOSED]
        with reading(self.engine) as connection:
            return [_window(row) for row in connection.execute(select(WINDOWS).where(WINDOWS.c.state.in_(states)))]

    def uncleaned(self) -> list[StoredWindow]:
        """Finished windows that still have shares or a key at the custodian."""
        done = WINDOWS.c.state.in_([RoundState.SUMMED, RoundState.FAILED]) & (WINDOWS.c.cleaned == 0)
        with reading(self.engine) as connection:
            return [_window(row) for row in connection.execute(select(WINDOWS).where(done))]

    def draft(self, app: str, experiment: Experiment, draft: Task) -> None:
        """A new window, drafted."""
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

    def opened(self, task: Task) -> None:
        """drafted → open, with the task as the custodian signed it."""
        with self.engine.begin() as connection:
            _change(connection, task.task_id, RoundState.DRAFTED, RoundState.OPEN, task=task.to_bytes())

    def close(self, task_id: str) -> None:
        """open → closed: not one report more."""
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.OPEN, RoundState.CLOSED)

    def summed(self, task_id: str, found: StoredSum, now: int) -> None:
        """closed → summed; of its reports only ids and digests remain."""
        assert found.words is not None
        values = {"counted": found.counted, "broken": found.broken, "words": found.words.astype(WIRE_INT).tobytes()}
        with self.engine.begin() as connection:
            _change(connection, task_id, RoundState.CLOSED, RoundState.SUMMED, finished_at=now, **values)
            blank(connection, task_id)

    def failed(self, task_id: str, state: RoundState, reason: str, now: int) -> None:
        """state → failed; of its reports only ids and digests remain."""
        with self.engine.begin() as connection:
            _change(connection, task_id, state, RoundState.FAILED, finished_at=now, failure=reason)
            blank(connection, task_id)

    def cleaned(self, task_id: str) -> None:
        """A window's shares and the custodian's key are gone."""
        with self.engine.begin() as connection:
            connection.execute(update(WINDOWS).where(WINDOWS.c.task_id == task_id).values(cleaned=1))
        truncate_log(self.engine)

    @staticmethod
    def _set(connection: Connection, held: StoredExperiment, **values: Any) -> None:
        here = _of(EXPERIMENTS, held.app, held.experiment.id) & (EXPERIMENTS.c.state == held.state)
        if connection.execute(update(EXPERIMENTS).where(here).values(values)).rowcount != 1:
            raise WrongState(f"experiment {held.experiment.id}: was changed meanwhile")


def _alone(connection: Connection, app: str) -> None:
    """From here on nobody else changes a state or version of the app's experiments; SQLite's lock is held already."""
    rows = select(EXPERIMENTS.c.experiment_id).where(EXPERIMENTS.c.app == app).order_by(EXPERIMENTS.c.experiment_id)
    connection.execute(rows.with_for_update()).all()


def _of(table: Any, app: str, experiment_id: str) -> Any:
    return (table.c.app == app) & (table.c.experiment_id == experiment_id)


def _newest() -> Any:
    same = (
        (EXPERIMENTS.c.app == VERSIONS.c.app)
        & (EXPERIMENTS.c.experiment_id == VERSIONS.c.experiment_id)
        & (EXPERIMENTS.c.version == VERSIONS.c.version)
    )
    return select(EXPERIMENTS, VERSIONS.c.definition).join(VERSIONS, same)


def _held(connection: Connection, app: str, experiment_id: str) -> StoredExperiment | None:
    row = connection.execute(_newest().where(_of(EXPERIMENTS, app, experiment_id))).one_or_none()
    return None if row is None else _experiment(row)


def _known(connection: Connection, app: str, experiment_id: str) -> StoredExperiment:
    held = _held(connection, app, experiment_id)
    if held is None:
        raise UnknownExperiment("experiment: this app has none of that id")
    return held


def _running(connection: Connection, app: str) -> list[Experiment]:
    query = _newest().where((EXPERIMENTS.c.app == app) & (EXPERIMENTS.c.state == ExperimentState.RUNNING))
    return [_experiment(row).experiment for row in connection.execute(query)]


def _change(connection: Connection, task_id: str, before: RoundState, after: RoundState, **values: Any) -> None:
    where = (WINDOWS.c.task_id == task_id) & (WINDOWS.c.state == before)
    if connection.execute(update(WINDOWS).where(where).values(state=after, **values)).rowcount != 1:
        raise FederationError(f"task_id={task_id}: must be {before} to become {after}")


def _experiment(row: Row[Any]) -> StoredExperiment:
    definition = experiment_of(json.loads(row.definition))
    return StoredExperiment(row.app, definition, ExperimentState(row.state), row.started_at, row.stopped_at)


def _window(row: Row[Any]) -> StoredWindow:
    return StoredWindow(
        app=row.app,
        experiment_id=row.experiment_id,
        window=row.window,
        version=row.version,
        task=Task.from_draft_bytes(row.draft) if row.task is None else Task.from_bytes(row.task),
        state=RoundState(row.state),
        counted=row.counted,
        broken=row.broken,
        words=None if row.words is None else np.frombuffer(row.words, WIRE_INT),
        failure=row.failure,
        finished_at=row.finished_at,
    )
