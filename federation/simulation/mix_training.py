"""Simulated training of the mix: devices' gradients in sums, Newton steps, and the guard.

Roles are a device's own coin, so that one that judges never fits: what an installation spends on the mix is the STEPS
of its fit, or one sum as a judge, whichever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from federation.learning.mix_step import Verdict, judge, judged_by_guard, start_fit, step_fit
from federation.learning.mix_sum import STEPS, MixSum, mix_parts, sum_at
from federation.learning.mix_update import mix_judgement, mix_update
from federation.learning.privacy_plan import noised_plan
from federation.private_sum.fixed_point import decode
from federation.private_sum.plan import SumPlan
from federation.simulation.simulated_noise import both_parties_noise
from recsys.mix.examples import MAX_EXAMPLES, Examples, make_examples
from recsys.mix.features import N_FEATURES
from recsys.mix.fit import FitState
from recsys.mix.mix_tables import MixTables
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import CAUTIOUS, LISTS, MIN_DEVICES, ListName, cautious_weights

Floats = npt.NDArray[np.float64]
Sums = dict[str, Floats]

_DRAW = 8
"""Purpose of draws, beside those of federation.simulation.training."""


@dataclass(frozen=True)
class MixConfig:
    """Settings of learning the mix.

    judging_share: devices that judge and never fit. max_devices: whose examples a simulation reads, of each role
    together. noise_multiplier: of every sum, one party's noise over what one report can add; 0 is privacy off.
    """

    judging_share: float = 0.25
    max_devices: int = MAX_EXAMPLES
    noise_multiplier: float = 0.0


@dataclass(frozen=True, eq=False)
class Earlier:
    """A moment in the past, and what came after it.

    signals: as of `now` (µs), from nothing later. histories: what each user had done by then; later: what came next.
    """

    signals: Signals
    histories: Interactions
    later: Interactions
    now: int


def train_mix(earlier: Earlier, tables: MixTables, prior: str, config: MixConfig, *, seed: int) -> MixModel:
    """Learn the weights from what came after an earlier moment; tables: of now, which the weights are served with.

    prior: a name of recsys.mix.priors.PRIORS. With fewer than MIN_DEVICES nothing is fitted: served are the cautious
    weights, or the prior where those few judge it better.
    """
    rng = np.random.default_rng([seed, _DRAW])
    targeted = earlier.later.where(earlier.later.kind != EventKind.DISLIKE).counts > 0
    users = np.flatnonzero((earlier.histories.counts > 0) & targeted)
    if len(users) > config.max_devices:
        users = np.sort(rng.choice(users, config.max_devices, replace=False))
    if not len(users):
        return cautious_mix(tables, prior)
    every = make_examples(earlier.signals, earlier.histories, earlier.later, earlier.now, users)
    if len(users) < MIN_DEVICES and not config.noise_multiplier:  # else the first step's sum says whether they are
        return _judged_by_few(every, tables, prior, config, rng)
    judging = rng.random(len(users)) < config.judging_share
    fit = _fit(every.devices(~judging), prior, config, rng)
    if fit.step > STEPS:  # noise hides whether they were enough
        return cautious_mix(tables, prior)
    verdict = _guard(every.devices(judging), fit.weights, prior, config, rng)
    return MixModel(verdict.weights, verdict.served, max(round(fit.devices + verdict.devices), 0), tables, prior)


def _judged_by_few(
    examples: Examples, tables: MixTables, prior: str, config: MixConfig, rng: np.random.Generator
) -> MixModel:
    """Serve the cautious weights, or the prior where it judges better: of many candidates the best would be noise."""
    safe = {name: cautious_weights(prior, name) for name in LISTS}
    verdict = _guard(examples, safe, prior, config, rng, ("prior",))
    served = {name: CAUTIOUS if chosen == "mix" else chosen for name, chosen in verdict.served.items()}
    return MixModel(verdict.weights, served, len(examples.pools), tables, prior)


def cautious_mix(tables: MixTables, prior: str) -> MixModel:
    """Choose what is served where no device can prove any weights."""
    weights = {name: cautious_weights(prior, name, seen=False) for name in LISTS}
    return MixModel(weights, dict.fromkeys(LISTS, CAUTIOUS), 0, tables, prior)


def _fit(examples: Examples, prior: str, config: MixConfig, rng: np.random.Generator) -> FitState:
    """Fit by Newton steps of both lists over the devices that fit."""
    fit = start_fit(prior)
    while (kind := sum_at(fit.step)) in ("first_step", "step"):
        plan = _plan(kind, config, len(examples.pools))
        parts = _published(mix_update(examples, fit.weights, kind).parts, plan, rng)
        fit = step_fit(fit, prior, parts, plan, len(examples.pools))
    return fit


def _guard(
    examples: Examples,
    weights: Mapping[ListName, Floats],
    prior: str,
    config: MixConfig,
    rng: np.random.Generator,
    allowed: tuple[str, ...] | None = None,
) -> Verdict:
    """Choose what is served by the devices that judge. allowed: as of mix_step.judge."""
    plan = _plan("guard", config, max(len(examples.pools), 1))
    parts = _published(mix_judgement(examples, judged_by_guard(weights, prior)).parts, plan, rng)
    return judge(weights, prior, parts, plan, allowed)


def _plan(kind: MixSum, config: MixConfig, devices: int) -> SumPlan:
    return noised_plan(mix_parts(kind, N_FEATURES), config.noise_multiplier, min_reports=1, max_reports=devices)


def _published(sums: Sums, plan: SumPlan, rng: np.random.Generator) -> Sums:
    """Publish the parts of a sum as both parties would."""
    if not plan.private:
        return sums
    noise = decode(plan, both_parties_noise(plan, rng))
    return {name: value + noise[name] for name, value in sums.items()}
