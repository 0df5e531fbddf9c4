"""What may be shown of an experiment's sums, and what they say: plain values for a page, a file or an answer.

A threshold of display protects nobody by itself: the noise in the sums does. It keeps people from reading figures of a
handful.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from data.errors import SumsTooSmall
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.designs import Design
from recsys.experiments.analysis.estimates import difference
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.analysis.verdict import verdicts
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.results.posterior import posterior
from recsys.experiments.results.remaining_power import remaining_power

HIDDEN = "fewer shoppers than min_reports: hidden"


def results(experiment: Experiment, looks: Sequence[Look]) -> dict[str, Any]:
    """Collect everything that may be shown, as JSON has it.

    looks: cumulative, oldest first; none before the first sum.

    arms: each arm's sums at the last look, over all shoppers and by cell, None where fewer than min_reports shoppers
    are in them. analysis, verdicts: None before the first sum. beside: of each metric and arm with a figure a Bayesian
    reading, and while windows are to come what the experiment can still show; neither is a second verdict.
    """
    privacy = experiment.privacy
    shown: dict[str, Any] = {
        "experiment": experiment.id,
        "version": experiment.version,
        "looks": [look.number for look in looks],
        "privacy": asdict(privacy) | {"private": privacy.epsilon is not None, "unit": "installation, all looks"},
        "cells": [list(cell) for cell in experiment.cells],
        "arms": {},
        "analysis": None,
        "verdicts": None,
        "beside": [],
    }
    if not looks:
        return shown
    analysis = analyse(experiment, looks)
    return shown | {
        "arms": {arm: _arm(experiment, cells) for arm, cells in looks[-1].arms.items()},
        "analysis": analysis.to_dict(),
        "verdicts": [asdict(verdict) for verdict in verdicts(experiment, analysis)],
        "beside": _beside(experiment, looks[-1]),
    }


def _beside(experiment: Experiment, look: Look) -> list[dict[str, Any]]:
    arms = {arm: reduce(add, cells) for arm, cells in look.arms.items()}
    rows: list[dict[str, Any]] = []
    for metric in experiment.metrics:
        design = Design.of(experiment, metric.role)
        for arm in (arm.name for arm in experiment.arms if arm.name != experiment.control):
            control, treatment = (arms[experiment.group_of(name)] for name in (experiment.control, arm))
            if min(control.n, treatment.n) < experiment.privacy.min_reports:
                continue
            try:
                found = difference(metric, control, treatment)
            except SumsTooSmall:
                continue
            row: dict[str, Any] = {"metric": metric.name, "arm": arm, "posterior": asdict(posterior(metric, found))}
            if look.number < design.count:
                left = remaining_power(found, design, look.number, experiment.power, experiment.minimum_effect)
                row["remaining"] = {key: _finite(value) for key, value in asdict(left).items()}
            rows.append(row)
    return rows


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _arm(experiment: Experiment, cells: Sequence[ArmSums]) -> dict[str, Any]:
    return {
        "all": _showable_sums(experiment, reduce(add, cells)),
        "cells": [_showable_sums(experiment, sums) for sums in cells],
        "note": None if all(sums.n >= experiment.privacy.min_reports for sums in cells) else HIDDEN,
    }


def _showable_sums(experiment: Experiment, sums: ArmSums) -> dict[str, Any] | None:
    return sums.to_dict() if sums.n >= experiment.privacy.min_reports else None
