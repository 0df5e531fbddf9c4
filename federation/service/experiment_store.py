"""Experiments in SQL, by app. Every change of state is one transaction that names the state before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from data.errors import DataError, FederationError
from federation.learning.experiment_sum import experiment_plan
from federation.service.experiment_schema import EXPERIMENTS, SCHEMA, VERSIONS, WINDOWS, ExperimentState, rows_of
from federation.service.round_schema import SCHEMA as ROUNDS
from federation.service.round_schema import RoundState
from federation.service.window_store import WindowStore
from federation.storage.database import reading
from federation.storage.migrations import prepare
from recsys.experiments.definition.amendments import check_amendment, check_beside
from recsys.experiments.definition.definition import Experiment, date_of
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


class ExperimentStore:
    """Experiments of all apps, and their windows: `.windows`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        prepare(engine, ROUNDS)
        prepare(engine, SCHEMA)
        self.windows = WindowStore(engine)

    def put(self, app: str, experiment: Experiment, now: int) -> StoredExperiment:
        """Store a new draft, a draft rewritten, the same once more, or the next version of a running experiment.

        Raises DataError for a version that is no amendment or too large, PlanRefused for noise that does not fit,
        WrongState for a stopped experiment.
        """
        experiment_plan(experiment)
        with self.engine.begin() as connection:
            _lock_app(connection, app)
            stored = _find(connection, app, experiment.id)
            if stored is None:
                key = {"app": app, "experiment_id": experiment.id}
                connection.execute(insert(EXPERIMENTS).values(**key, state=ExperimentState.DRAFT, version=0))
            elif stored.experiment == experiment:
                return stored
            elif stored.state is ExperimentState.STOPPED:
                raise WrongState(f"experiment {experiment.id}: is stopped; another one needs another id")
            elif stored.state is ExperimentState.RUNNING:
                check_amendment(stored.experiment, experiment)
                check_beside(experiment, _running(connection, app))
            else:
                connection.execute(VERSIONS.delete().where(rows_of(VERSIONS, app, experiment.id)))
            connection.execute(
                insert(VERSIONS).values(
                    app=app,
                    experiment_id=experiment.id,
                    version=experiment.version,
                    definition=canonical_json(experiment),
                    at=now,
                )
            )
            newest = (
                update(EXPERIMENTS).where(rows_of(EXPERIMENTS, app, experiment.id)).values(version=experiment.version)
            )
            connection.execute(newest)
            return _get(connection, app, experiment.id)

    def start(self, app: str, experiment_id: str, now: int) -> StoredExperiment:
        """Change draft → running. Raises DataError for dates that are past, and beside one that needs its shoppers."""
        with self.engine.begin() as connection:
            _lock_app(connection, app)
            stored = _get(connection, app, experiment_id)
            if stored.state is ExperimentState.RUNNING:
                return stored
            if stored.state is not ExperimentState.DRAFT:
                raise WrongState(f"experiment {experiment_id}: is {stored.state}, must be draft to start")
            if stored.experiment.window(stored.experiment.looks.count - 1)[1] <= now:
                end = date_of(stored.experiment.ends_at)
                raise DataError(
                    f"experiment {experiment_id}: ends_at={end} is past, and so is every window: define dates to come"
                )
            check_beside(stored.experiment, _running(connection, app))
            self._set(connection, stored, state=ExperimentState.RUNNING, started_at=now)
            return _get(connection, app, experiment_id)

    def stop(self, app: str, experiment_id: str, now: int) -> StoredExperiment:
        """Change running → stopped, for good; its open window takes no more reports."""
        with self.engine.begin() as connection:
            _lock_app(connection, app)
            stored = _get(connection, app, experiment_id)
            if stored.state is ExperimentState.STOPPED:
                return stored
            if stored.state is not ExperimentState.RUNNING:
                raise WrongState(f"experiment {experiment_id}: is {stored.state}, must be running to stop")
            self._set(connection, stored, state=ExperimentState.STOPPED, stopped_at=now)
            for before, values in (
                (RoundState.OPEN, {"state": RoundState.CLOSED}),
                (RoundState.DRAFTED, {"state": RoundState.FAILED, "failure": "the experiment was stopped"}),
            ):
                still = rows_of(WINDOWS, app, experiment_id) & (WINDOWS.c.state == before)
                connection.execute(update(WINDOWS).where(still).values(values))
            return _get(connection, app, experiment_id)

    def get(self, app: str, experiment_id: str) -> StoredExperiment:
        """Read one of the app's experiments. Raises UnknownExperiment for any other."""
        with reading(self.engine) as connection:
            return _get(connection, app, experiment_id)

    def all(self, app: str | None = None, *, state: ExperimentState | None = None) -> list[StoredExperiment]:
        """List the app's experiments by id; of every app for None, which only the one who advances windows asks."""
        query = _newest().order_by(EXPERIMENTS.c.app, EXPERIMENTS.c.experiment_id)
        if app is not None:
            query = query.where(EXPERIMENTS.c.app == app)
        if state is not None:
            query = query.where(EXPERIMENTS.c.state == state)
        with reading(self.engine) as connection:
            return [_experiment(row) for row in connection.execute(query)]

    def versions(self, app: str, experiment_id: str) -> list[Experiment]:
        """List every version, the first one first."""
        query = select(VERSIONS.c.definition).where(rows_of(VERSIONS, app, experiment_id)).order_by(VERSIONS.c.version)
        with reading(self.engine) as connection:
            return [experiment_of(json.loads(text)) for text in connection.execute(query).scalars()]

    @staticmethod
    def _set(connection: Connection, stored: StoredExperiment, **values: Any) -> None:
        here = rows_of(EXPERIMENTS, stored.app, stored.experiment.id) & (EXPERIMENTS.c.state == stored.state)
        if connection.execute(update(EXPERIMENTS).where(here).values(values)).rowcount != 1:
            raise WrongState(f"experiment {stored.experiment.id}: was changed meanwhile")


def _lock_app(connection: Connection, app: str) -> None:
    """Lock out everybody else who would change a state or version of the app's experiments.

    SQLite's lock is held already.
    """
    rows = select(EXPERIMENTS.c.experiment_id).where(EXPERIMENTS.c.app == app).order_by(EXPERIMENTS.c.experiment_id)
    connection.execute(rows.with_for_update()).all()


def _newest() -> Any:
    same = (
        (EXPERIMENTS.c.app == VERSIONS.c.app)
        & (EXPERIMENTS.c.experiment_id == VERSIONS.c.experiment_id)
        & (EXPERIMENTS.c.version == VERSIONS.c.version)
    )
    return select(EXPERIMENTS, VERSIONS.c.definition).join(VERSIONS, same)


def _find(connection: Connection, app: str, experiment_id: str) -> StoredExperiment | None:
    row = connection.execute(_newest().where(rows_of(EXPERIMENTS, app, experiment_id))).one_or_none()
    return None if row is None else _experiment(row)


def _get(connection: Connection, app: str, experiment_id: str) -> StoredExperiment:
    stored = _find(connection, app, experiment_id)
    if stored is None:
        raise UnknownExperiment("experiment: this app has none of that id")
    return stored


def _running(connection: Connection, app: str) -> list[Experiment]:
    query = _newest().where((EXPERIMENTS.c.app == app) & (EXPERIMENTS.c.state == ExperimentState.RUNNING))
    return [_experiment(row).experiment for row in connection.execute(query)]


def _experiment(row: Row[Any]) -> StoredExperiment:
    definition = experiment_of(json.loads(row.definition))
    return StoredExperiment(row.app, definition, ExperimentState(row.state), row.started_at, row.stopped_at)
