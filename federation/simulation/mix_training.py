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
from federation.learning.mix_update import (
    guard_plan,
    mix_update,
    step_plan,
    step_sums,
)
from federation.private_sum.fixed_point import decode
from federation.private_sum.plan import SumPlan
from federation.simulation.simulated_noise import both_parties_noise
from recsys.evaluation.mix_guard import GuardSums, candidates, choose, guard_sums, pool_ndcg
from recsys.mix.examples import MAX_EXAMPLES, Examples, make_examples
from recsys.mix.features import SIGNALS
from recsys.mix.fit import STEPS, newton_step
from recsys.mix.mix_tables import MixTables
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import CAUTIOUS, LISTS, MIN_DEVICES, ListName, cautious_weights, prior_weights

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
    start: dict[ListName, Floats] = {name: prior_weights(prior, name) for name in LISTS}
    if not len(users):
        return cautious_mix(tables, prior)
    every = make_examples(earlier.signals, earlier.histories, earlier.later, earlier.now, users)
    enough = len(users) >= MIN_DEVICES
    judging = rng.random(len(users)) < config.judging_share if enough else np.ones(len(users), dtype=np.bool_)
    safe = {name: cautious_weights(prior, name) for name in LISTS}
    if enough:
        weights, allowed = _fit(_by_list(every.devices(~judging)), start, config, rng), None
    else:  # of many candidates on few devices the best is noise
        weights, allowed = safe, ("prior",)
    weights, served = _guard(_by_list(every.devices(judging)), weights, start, safe, config, rng, allowed)
    if not enough:
        served = {name: CAUTIOUS if chosen == "mix" else chosen for name, chosen in served.items()}
    return MixModel(weights, served, len(users), tables)


def cautious_mix(tables: MixTables, prior: str) -> MixModel:
    """Choose what is served where no device can prove any weights."""
    weights = {name: cautious_weights(prior, name, seen=False) for name in LISTS}
    return MixModel(weights, dict.fromkeys(LISTS, CAUTIOUS), 0, tables)


def _by_list(examples: Examples) -> dict[ListName, Examples]:
    return {"all": examples, "new": examples.new()}


def _fit(
    examples: Mapping[ListName, Examples],
    start: Mapping[ListName, Floats],
    config: MixConfig,
    rng: np.random.Generator,
) -> dict[ListName, Floats]:
    """Fit by Newton steps of both lists over the devices that fit."""
    n = len(examples["all"].pools)
    weights, noise = dict(start), 0.0
    hessians: dict[ListName, Floats] = {}
    for step in range(STEPS):
        plan = step_plan(step, config.noise_multiplier, min_reports=1, max_reports=n)
        parts = _published(mix_update(examples, weights, step).parts, plan, rng)
        if step == 0:
            noise = _noise_of(plan, "hessian_all")
        for name in LISTS:
            sums = step_sums(parts, name, n, hessians.get(name), noise)
            hessians[name] = sums.hessian
            weights[name] = newton_step(weights[name], sums, start[name])
    return weights


def _guard(
    examples: Mapping[ListName, Examples],
    weights: Mapping[ListName, Floats],
    start: Mapping[ListName, Floats],
    safe: Mapping[ListName, Floats],
    config: MixConfig,
    rng: np.random.Generator,
    allowed: tuple[str, ...] | None,
) -> tuple[dict[ListName, Floats], dict[ListName, str]]:
    """Choose what is served for each list, and its name, by the figures of the devices that judge.

    allowed: names of what may be served instead of `weights`, wherever it judges better; None for everything, where it
    judges clearly better.
    """
    judged = {name: candidates(weights[name], start[name], safe[name]) for name in LISTS}
    sums: dict[ListName, GuardSums] = {}
    for name in LISTS:
        examples_of = examples[name]
        figures = {
            what: pool_ndcg(examples_of.pools, examples_of.offsets, examples_of.items, w)
            for what, w in judged[name].items()
        }
        sums[name] = guard_sums(figures)
    plan = guard_plan(config.noise_multiplier, min_reports=1, max_reports=max(len(examples["all"].pools), 1))
    sums_of_parts: Sums = {}
    for name in LISTS:
        sums_of_parts[f"apart_{name}"] = np.array(list(sums[name].difference.values()))
        sums_of_parts[f"square_{name}"] = np.array(list(sums[name].square.values()))
    parts = _published(sums_of_parts, plan, rng)
    chosen: dict[ListName, str] = {}
    for name in LISTS:
        names = list(sums[name].difference)
        spread = _noise_of(plan, f"apart_{name}")
        apart = dict(zip(names, parts[f"apart_{name}"].tolist(), strict=True))
        square = dict(zip(names, parts[f"square_{name}"].tolist(), strict=True))
        useful = names if name == "all" else [one for one in names if one not in SIGNALS["own"]]
        keep = useful if allowed is None else allowed
        told_of = GuardSums(sums[name].n, {one: apart[one] for one in keep}, {one: square[one] for one in keep}, spread)
        chosen[name] = choose(told_of) if allowed is None else choose(told_of, errors=0.0)
    return {name: judged[name][chosen[name]] for name in LISTS}, chosen


def _published(sums: Sums, plan: SumPlan, rng: np.random.Generator) -> Sums:
    """Publish the parts of a sum as both parties would."""
    if not plan.private:
        return sums
    noise = decode(plan, both_parties_noise(plan, rng))
    return {name: value + noise[name] for name, value in sums.items()}


def _noise_of(plan: SumPlan, part: str) -> float:
    """Compute the standard deviation of the noise in each coordinate of a published part, in the part's own unit."""
    (scale,) = (plan_part.scale for plan_part in plan.parts if plan_part.name == part)
    return float(np.sqrt(2.0) * plan.sigma / scale)
