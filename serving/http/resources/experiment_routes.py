"""Experiments over HTTP: definitions in, tasks out, reports in, results out; each app its own. Logs no body.

What a device is asked is signed by the custodian, and what it answers is for the private sum: docs/experiments.md.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Body, FastAPI, Path
from starlette.requests import Request
from starlette.responses import Response

from data.errors import DataError
from federation.learning.experiment_sum import looks_of
from federation.private_sum.refusals import PlanRefused
from federation.service.experiment_store import StoredExperiment, UnknownExperiment, WrongState
from federation.service.experiment_windows import ExperimentRounds
from federation.service.intake.intake import Intake
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.results.results import results
from serving.access import caller
from serving.http.bodies import refusals
from serving.http.resources.experiment_bodies import (
    ExperimentAnswer,
    ExperimentEntry,
    ExperimentList,
    ResultsAnswer,
    definition_schema,
    entry_of,
    window_entry,
)
from serving.http.resources.report_receiver import OCTETS, REPORT_ROUTE, Receiver
from serving.refusal import Refusal

_ID = Annotated[str, Path(min_length=1, max_length=40)]
COME_BACK_S = 3_600


def add_experiments(app: FastAPI, rounds: ExperimentRounds) -> None:
    """Mount the routes on an app that has the federation's, before its OpenAPI document is asked for."""
    app.state.experiments = rounds
    _add_definitions(app, rounds)
    _add_states(app, rounds)
    _add_device(app, rounds)


def _add_definitions(app: FastAPI, rounds: ExperimentRounds) -> None:
    @app.get("/v1/experiments", summary="The app's experiments", responses=refusals())
    def listed(request: Request) -> ExperimentList:
        who = caller(request.scope)
        every = rounds.store.all(who.app)
        if who.scopes.isdisjoint({"analyst", "admin"}):
            every = [entry for entry in every if entry.state == "running"]
        failed = rounds.store.windows.failed_numbers(who.app)
        return ExperimentList(experiments=[ExperimentEntry(**entry_of(entry, failed)) for entry in every])

    @app.put("/v1/experiments", summary="Define an experiment, or amend a running one",
             responses=refusals(409, 413, 422), openapi_extra=_described())  # fmt: skip
    def put(request: Request, definition: Annotated[dict[str, Any], Body()]) -> ExperimentEntry:
        owner = caller(request.scope).app
        try:
            stored = rounds.store.put(owner, experiment_of(definition), int(time.time()))
        except (DataError, PlanRefused, WrongState) as error:
            raise _refused(error) from None
        return ExperimentEntry(**entry_of(stored, rounds.store.windows.failed_numbers(stored.app)))

    @app.get("/v1/experiments/{experiment_id}", summary="One experiment and its windows", responses=refusals(404, 422))
    def one(experiment_id: _ID, request: Request) -> ExperimentAnswer:
        stored = _held(rounds, request, experiment_id)
        windows = rounds.store.windows.of(stored.app, experiment_id)
        return ExperimentAnswer(
            **entry_of(stored, rounds.store.windows.failed_numbers(stored.app)),
            windows=[window_entry(window) for window in windows],
        )


def _add_states(app: FastAPI, rounds: ExperimentRounds) -> None:
    @app.post("/v1/experiments/{experiment_id}/start", summary="Start it: from now on it can only be amended",
              responses=refusals(404, 409, 422))  # fmt: skip
    def start(experiment_id: _ID, request: Request) -> ExperimentEntry:
        try:
            stored = rounds.store.start(caller(request.scope).app, experiment_id, int(time.time()))
        except (DataError, WrongState, UnknownExperiment) as error:
            raise _refused(error) from None
        return ExperimentEntry(**entry_of(stored, rounds.store.windows.failed_numbers(stored.app)))

    @app.post("/v1/experiments/{experiment_id}/stop", summary="Stop it for good; what has come is summed",
              responses=refusals(404, 409, 422))  # fmt: skip
    def stop(experiment_id: _ID, request: Request) -> ExperimentEntry:
        try:
            stored = rounds.store.stop(caller(request.scope).app, experiment_id, int(time.time()))
        except (WrongState, UnknownExperiment) as error:
            raise _refused(error) from None
        rounds.refresh()
        return ExperimentEntry(**entry_of(stored, rounds.store.windows.failed_numbers(stored.app)))

    @app.get("/v1/experiments/{experiment_id}/results", summary="What the sums say",
             description="From sums with noise alone. An arm or cell of fewer than min_reports shoppers is null.",
             responses=refusals(404, 422))  # fmt: skip
    def result(experiment_id: _ID, request: Request) -> ResultsAnswer:
        stored = _held(rounds, request, experiment_id)
        windows = rounds.store.windows.of(stored.app, experiment_id)
        summed = {window.window: window.words for window in windows if window.words is not None}
        shown = results(stored.experiment, looks_of(stored.experiment, summed))
        return ResultsAnswer(**shown, windows=[window_entry(window) for window in windows])


def _add_device(app: FastAPI, rounds: ExperimentRounds) -> None:
    receiver: Receiver = app.state.receiver

    @app.get(
        "/v1/experiments/{experiment_id}/task",
        summary="The task of the open window",
        description="Signed by the custodian; the bytes are in docs/wire.md.",
        response_class=Response,
        responses={
            200: {"content": {OCTETS: {}}, "description": "A task"},
            204: {"description": "No window is open; Retry-After says when to ask again"},
            **refusals(404, 422),
        },
    )
    def task(experiment_id: _ID, request: Request) -> Response:
        owner = caller(request.scope).app
        task = rounds.task(owner, experiment_id)
        if task is not None:
            return Response(task.to_bytes(), 200, {"cache-control": "no-store"}, OCTETS)
        try:
            wait = rounds.come_back_s(owner, experiment_id, int(time.time()))
        except UnknownExperiment as error:
            raise _refused(error) from None
        return Response(None, 204, {"retry-after": str(wait), "cache-control": "no-store"})

    @app.post(
        "/v1/experiments/{experiment_id}/reports",
        summary="One device's report to the open window",
        description="The bytes are in docs/wire.md. Sent again, the same report is counted once.",
        **REPORT_ROUTE,
    )
    async def report(experiment_id: _ID, request: Request) -> Response:
        return await receiver.take(request, _Desk(rounds))


@dataclass(frozen=True)
class _Desk:
    """Takes reports to windows; which one, and whose, is in the report."""

    rounds: ExperimentRounds

    @property
    def intake(self) -> Intake:
        return self.rounds.intake

    def max_report_bytes(self) -> int:
        return self.rounds.max_report_bytes()

    def come_back_s(self, now: int) -> int:
        return COME_BACK_S


def _held(rounds: ExperimentRounds, request: Request, experiment_id: str) -> StoredExperiment:
    try:
        return rounds.store.get(caller(request.scope).app, experiment_id)
    except UnknownExperiment as error:
        raise _refused(error) from None


def _refused(error: Exception) -> Refusal:
    code = "unknown_experiment" if isinstance(error, UnknownExperiment) else "experiment_state"
    return Refusal("invalid_request" if isinstance(error, DataError | PlanRefused) else code, str(error))


def _described() -> dict[str, Any]:
    """Describe the body of a definition for the document, its parts in place.

    FastAPI has no place for them of its own.
    """
    schema = definition_schema()
    parts = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inlined(parts[value["$ref"].rpartition("/")[2]])
            return {key: inlined(item) for key, item in value.items()}
        return [inlined(item) for item in value] if isinstance(value, list) else value

    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined(schema)}}}}
