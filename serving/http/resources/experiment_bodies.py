"""The JSON bodies of the experiment routes. A definition's own rules are recsys.experiments.definition's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import TIMES, content_hash, to_dict
from serving.http.bodies import Strict

if TYPE_CHECKING:
    from federation.service.experiment_store import StoredExperiment
    from federation.service.window_store import StoredWindow

_MOMENT = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}], "description": "Seconds, or ISO 8601."}


class ExperimentEntry(Strict):
    """An experiment in its newest version. hash: SHA-256 of the canonical definition, which the custodian signs for.

    failed_windows: opened, and no sum came of them: devices that reported to one learn here that it is lost.
    """

    id: str
    version: int
    state: Literal["draft", "running", "stopped"]
    hash: str
    started_at: int | None
    stopped_at: int | None
    definition: dict[str, Any]
    failed_windows: list[int]


class ExperimentList(Strict):
    """The app's experiments by id; to keys of devices and backends, those that run."""

    experiments: list[ExperimentEntry]


class WindowEntry(Strict):
    """A window as its app may see it: how many reports are in its sum, zeros included, and never whose."""

    window: int
    version: int
    state: str
    deadline: int
    reports: int
    finished_at: int | None
    failure: str | None


class ExperimentAnswer(ExperimentEntry):
    """One experiment, with its windows so far."""

    windows: list[WindowEntry]


class ResultsAnswer(Strict):
    """What may be shown of the sums, and what they say; null where fewer than min_reports shoppers are behind it."""

    experiment: str
    version: int
    looks: list[int]
    privacy: dict[str, Any]
    cells: list[list[str]]
    arms: dict[str, Any]
    analysis: dict[str, Any] | None
    verdicts: list[dict[str, Any]] | None
    beside: list[dict[str, Any]]
    windows: list[WindowEntry]


def entry_of(stored: StoredExperiment, failed: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Write the fields of an ExperimentEntry. failed: of the app's experiments, by id."""
    experiment = stored.experiment
    return {
        "id": experiment.id,
        "version": experiment.version,
        "state": str(stored.state),
        "hash": content_hash(experiment).hex(),
        "started_at": stored.started_at,
        "stopped_at": stored.stopped_at,
        "definition": to_dict(experiment),
        "failed_windows": list(failed.get(experiment.id, ())),
    }


def window_entry(window: StoredWindow) -> WindowEntry:
    """Describe a window as its app may see it."""
    return WindowEntry(
        window=window.window,
        version=window.version,
        state=str(window.state),
        deadline=window.task.deadline,
        reports=window.counted,
        finished_at=window.finished_at,
        failure=window.failure,
    )


def definition_schema() -> dict[str, Any]:
    """Write the JSON schema of a definition, as a request may write it. Whatever has a default may be left out."""
    schema = TypeAdapter(Experiment).json_schema(ref_template="#/components/schemas/{model}")
    for name in TIMES:
        schema["properties"][name] = _MOMENT
    schema["required"] = [name for name in schema["required"] if name not in ("metrics", "outcomes")]  # interleaved
    return schema
