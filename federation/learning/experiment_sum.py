"""An experiment as a private sum: the plan of its windows, their tasks, what their sums mean. Of no single device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from federation.learning.privacy_plan import least_noise, least_sigma
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Block, Purpose, Task
from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import content_hash

PART = "sums"

ROOM = 1.0 + 2.0**-40
"""A device's integers are within the layout's bound exactly; clipping must not scale them by a float's last bit."""


@lru_cache(maxsize=64)
def experiment_plan(experiment: Experiment) -> SumPlan:
    """Plan each window's sum: one part in integer steps.

    σ of one party is for the whole experiment's (ε, δ).

    All windows together are within the bound of one, so σ does not grow with their number. Raises PlanRefused.
    """
    privacy = experiment.privacy
    quiet = _quiet_plan(experiment)
    if privacy.epsilon is None:
        return quiet
    z = least_noise(privacy.epsilon, privacy.delta, 1)
    return SumPlan(quiet.parts, quiet.min_reports, quiet.max_reports, sigma=least_sigma(z, quiet.sensitivity_squared))


def subject_of(experiment: Experiment) -> str:
    """Name the experiment in a task: its id and version."""
    return f"{experiment.id}:{experiment.version}"


def window_task(
    experiment: Experiment, window: int, task_id: str, *, deadline: int, come_back_at: int, suite: Suite
) -> Task:
    """Draft a window's task, for the custodian to sign. deadline, come_back_at: seconds since 1970 UTC."""
    return Task(
        task_id=task_id,
        round=window,
        bundle_version=subject_of(experiment),
        bundle_hash=content_hash(experiment),
        blocks=(Block(0, 0),),
        plan=experiment_plan(experiment),
        suite=suite,
        round_public_key=b"",
        deadline=deadline,
        come_back_at=come_back_at,
        purpose=Purpose.EXPERIMENT,
    )


def check_window(task: Task, experiment: Experiment) -> None:
    """Refuse, with TaskRefused, a task that is not one of this experiment's windows as its definition promises them.

    A device calls this after `check_task`; it needs no accountant but its own.
    """
    if (task.bundle_version, task.bundle_hash) != (subject_of(experiment), content_hash(experiment)):
        raise TaskRefused(f"subject={task.bundle_version}: is not the held {subject_of(experiment)}, or not as defined")
    if not 0 <= task.round < experiment.looks.count or len(task.blocks) != 1:
        raise TaskRefused(f"window={task.round}: must be 0..{experiment.looks.count - 1}, of one block")
    wanted, privacy = _quiet_plan(experiment), experiment.privacy
    offered = (task.plan.parts, task.plan.min_reports, task.plan.max_reports)
    if offered != (wanted.parts, wanted.min_reports, wanted.max_reports):
        raise TaskRefused("plan: must have the parts and numbers of reports of the experiment's definition")
    spent, promised = epsilon_of(rho_of(task.plan), privacy.delta), privacy.epsilon
    if promised is not None and not spent <= promised:
        raise TaskRefused(f"epsilon={spent:.4g} of sigma={task.plan.sigma}: must be at most {promised}")


def sums_of_windows(experiment: Experiment, windows: Iterable[npt.NDArray[np.int32]]) -> dict[str, list[ArmSums]]:
    """Split the windows' sums into each arm's sums by cell, noise variances included.

    They are the sums (length,) of windows that were summed.
    """
    layout, plan = layout_of(experiment), experiment_plan(experiment)
    total, n = np.zeros(layout.length, dtype=np.int64), 0
    for words in windows:
        total, n = total + words, n + 1
    return layout.sums(total, sigma=plan.sigma, windows=n)


def looks_of(experiment: Experiment, summed: Mapping[int, npt.NDArray[np.int32]]) -> list[Look]:
    """Make one look after each window that was summed, cumulative. summed: number of a window, from 0 → its sum."""
    numbers = sorted(summed)
    return [
        Look(number + 1, sums_of_windows(experiment, [summed[n] for n in numbers if n <= number])) for number in numbers
    ]


def _quiet_plan(experiment: Experiment) -> SumPlan:
    """Plan the sum without noise."""
    layout, privacy = layout_of(experiment), experiment.privacy
    part = Part(PART, layout.length, math.sqrt(layout.bound_squared) * ROOM, 1.0)
    return SumPlan((part,), privacy.min_reports, privacy.max_reports, sigma=0)
