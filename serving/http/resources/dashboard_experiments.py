"""The dashboard's experiments: what the sums of an app's own ones say so far. Nothing of an arm below min_reports."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.http.resources.dashboard_bodies import ArmVerdict, EffectAtLook, ExperimentShown

if TYPE_CHECKING:
    from federation.service.experiment_windows import ExperimentRounds
    from recsys.experiments.definition.definition import Experiment

SHOWN = 10
"""Experiments on the page, those running first, then the newest."""


def experiments_of(rounds: ExperimentRounds | None, app: str) -> list[ExperimentShown]:
    """Collect the app's started experiments, each with its primary metric's effects and verdicts."""
    if rounds is None:
        return []
    started = [experiment for experiment in rounds.store.all(app) if experiment.started_at is not None]
    started.sort(
        key=lambda experiment: (experiment.state != "running", -(experiment.started_at or 0), experiment.experiment.id)
    )
    shown = []
    for stored in started[:SHOWN]:
        windows = rounds.store.windows.of(app, stored.experiment.id)
        summed = tuple(
            (experiment.window, experiment.words.tobytes()) for experiment in windows if experiment.words is not None
        )
        figures = _figures(stored.experiment, summed)
        reports = sum(experiment.counted for experiment in windows if experiment.words is not None)
        shown.append(ExperimentShown(**figures, state=str(stored.state), reports=reports))
    return shown


@lru_cache(maxsize=256)
def _figures(experiment: Experiment, summed: tuple[tuple[int, bytes], ...]) -> dict[str, Any]:
    """Compute what changes only when another window was summed. The page asks every quarter of a minute."""
    from federation.learning.experiment_sum import looks_of
    from recsys.experiments.results.results import results

    looks = looks_of(experiment, {window: np.frombuffer(words, np.int32) for window, words in summed})
    figures = results(experiment, looks)
    analysis = figures["analysis"] or {"look": 0, "history": [], "sample_ratio": None}
    name = experiment.primary.name
    points = [point for point in analysis["history"] if point["metric"] == name]
    relative = all(point["relative_low"] is not None for point in points if point["low"] is not None)
    keys = ("relative", "relative_low", "relative_high") if relative else ("effect", "low", "high")
    ratio = analysis["sample_ratio"]
    return {
        "id": experiment.id,
        "version": experiment.version,
        "control": experiment.control,
        "metric": name,
        "relative": relative,
        "look": analysis["look"],
        "looks": experiment.looks.count,
        "epsilon": experiment.privacy.epsilon,
        "delta": experiment.privacy.delta,
        "mismatch": None if ratio is None else ratio["mismatch"],
        "mismatch_p": None if ratio is None else ratio["p_value"],
        "effects": [
            EffectAtLook(arm=p["arm"], look=p["look"], effect=p[keys[0]], low=p[keys[1]], high=p[keys[2]])
            for p in points
        ],
        "verdicts": [
            ArmVerdict(arm=verdict["arm"], state=str(verdict["state"]), text=verdict["text"])
            for verdict in figures["verdicts"] or ()
        ],
    }
