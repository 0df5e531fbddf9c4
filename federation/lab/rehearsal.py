"""A rehearsal of an experiment with what it needs of federation: trained lists, and private sums in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.errors import BatchTooSmall
from data.split import known_at
from federation.lab.mixing import shipped_mix
from federation.lab.recipes import Recipe
from federation.learning.experiment_sum import PART, experiment_plan, looks_of
from federation.learning.item_step import StepState
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.randomness import seeded_bytes
from federation.simulation.learning_curve import RoundRecord
from federation.simulation.training import train
from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.layout import Integers
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.device.outcomes import MICROS, head_of
from recsys.experiments.device.settings_arm import settings_arm
from recsys.experiments.rehearsal.arm_lists import ArmLists
from recsys.experiments.rehearsal.log_planning import plan_on_log
from recsys.experiments.rehearsal.logged import LoggedVisits, move_to_log
from recsys.experiments.rehearsal.rehearsal import OnProgress, Rehearsal, rehearse
from recsys.mix.mix_tables import attributes_of
from recsys.model.items import ItemTable
from recsys.model.trend import trend

PARTIES = 2


def plan_on(dataset: Dataset, experiment: Experiment) -> dict[str, Any]:
    """Plan an experiment from a log's own variance, with the plan's noise.

    Power, least effects, shoppers and days.

    The experiment is moved to the end of the log if the log does not cover its dates.
    """
    logged = LoggedVisits.of(dataset)
    dated = move_to_log(experiment, logged.log)
    now = dated.starts_at * MICROS
    head = head_of(trend(known_at(logged.log, now), now))
    return plan_on_log(dated, logged, head, sigma=experiment_plan(dated).sigma)


class InProcessSummation:
    """The private sum of windows without parties: the plan's bounds, and the noise that both would add."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 2))

    def window(self, experiment: Experiment, vectors: Iterable[Integers]) -> npt.NDArray[np.int32] | None:
        """Sum one window's contributions, noise included; None below min_reports."""
        plan, random = experiment_plan(experiment), seeded_bytes(self._rng)
        try:
            total = sum_in_process(plan, ({PART: vector} for vector in vectors), self._rng).astype(np.int64)
        except BatchTooSmall:
            return None
        for _ in range(PARTIES):
            total += discrete_gaussian(plan.sigma, plan.length, random)
        return total.astype(np.int32)

    def looks(self, experiment: Experiment, summed: Mapping[int, npt.NDArray[np.int32]]) -> list[Look]:
        """Cumulate looks, as the service makes them."""
        return looks_of(experiment, summed)


def rehearse_on(
    dataset: Dataset,
    experiment: Experiment,
    recipe: Recipe,
    *,
    lift: float,
    seed: int = 0,
    on_round: Callable[[RoundRecord], None] | None = None,
    on_progress: OnProgress | None = None,
) -> Rehearsal:
    """Train on what the log knew before the experiment's start, then rehearse it on the log's shoppers.

    The experiment is moved to the end of the log if the log does not cover its dates. recipe: how to train and
    serve; its mix, where it has one, is learned from the same part of the log, as for a bundle.
    """
    logged = LoggedVisits.of(dataset)
    dated = move_to_log(experiment, logged.log)
    now = dated.starts_at * MICROS
    known = known_at(logged.log, now)
    table = train(known, replace(recipe.train, measure_every=0), seed=seed, now=now, on_round=on_round).table
    mix = shipped_mix(known, now, recipe, table, seed=seed, attributes=attributes_of(dataset.catalogue))
    local = ItemTable(
        StepState.start(known.n_items, table.dim, seed).item_embeddings, table.trend, np.zeros_like(table.mean_profile)
    )
    lists = {}
    for arm in dated.arms:
        of_arm = settings_arm(arm.settings, local if arm.settings.model == "local" else table, recipe.serve, mix)
        lists[arm.name] = ArmLists(of_arm, table.item_embeddings, arm.settings.diversity or 0.0)
    return rehearse(
        dated,
        logged,
        lists,
        head_of(table.trend),
        InProcessSummation(seed),
        lift=lift,
        seed=seed,
        on_progress=on_progress,
    )
