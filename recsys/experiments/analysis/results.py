"""What may be shown of an experiment's sums, and what they say: plain values for a page, a file or an answer.

A threshold of display protects nobody by itself: the noise in the sums does. It keeps people from reading figures of a
handful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.analysis.verdict import verdicts
from recsys.experiments.definition.definition import Experiment

HIDDEN = "fewer shoppers than min_reports: hidden"


def results(experiment: Experiment, looks: Sequence[Look]) -> dict[str, Any]:
    """Collect everything that may be shown, as JSON has it.

    looks: cumulative, oldest first; none before the first sum.

    arms: each arm's sums at the last look, over all shoppers and by cell, None where fewer than min_reports shoppers
    are in them. analysis, verdicts: None before the first sum.
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
    }
    if not looks:
        return shown
    analysis = analyse(experiment, looks)
    return shown | {
        "arms": {arm: _arm(experiment, cells) for arm, cells in looks[-1].arms.items()},
        "analysis": analysis.to_dict(),
        "verdicts": [asdict(verdict) for verdict in verdicts(experiment, analysis)],
    }


def _arm(experiment: Experiment, cells: Sequence[ArmSums]) -> dict[str, Any]:
    return {
        "all": _showable_sums(experiment, reduce(add, cells)),
        "cells": [_showable_sums(experiment, sums) for sums in cells],
        "note": None if all(sums.n >= experiment.privacy.min_reports for sums in cells) else HIDDEN,
    }


def _showable_sums(experiment: Experiment, sums: ArmSums) -> dict[str, Any] | None:
    return sums.to_dict() if sums.n >= experiment.privacy.min_reports else None
