"""What the mix costs in ε, at 2,000 and at 50,000 devices of a synthetic shop: its weights alone, and all of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from federation.lab.defaults import fitted, with_private_half_life
from federation.lab.mixing import PRIVATE_DEVICES, learn_mix
from federation.lab.recipes import Recipe, privately, statistics_noise
from federation.learning.mix_sum import NOISE_OF_MIX
from federation.learning.privacy_plan import least_noise
from federation.simulation.mix_training import Earlier, MixConfig, train_mix
from federation.simulation.training import train
from recsys.evaluation.arms import Personalized
from recsys.evaluation.evaluation import evaluate
from recsys.mix.mix_tables import build_tables
from recsys.mix.mixed_arm import Mixed
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.model.items import ItemTable
from recsys.model.trend import trend
from tests.benchmarks.dp_utility import DELTA, World, synthetic

SIZES, EPSILONS = (2_000, 50_000), (8.0, 1.0)
USERS = 1_000
RECIPE = "purchases"


def run(seed: int = 0, sizes: Sequence[int] = SIZES, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """NDCG@20 of all items and of new ones, a row for each number of devices and ε.

    weights: ε of the sums of the mix alone, everything else exact: what learning the weights costs. plan: ε of all sums
    of a plan, taste, popularity, statistics and half-life among them. served: what the guard chose.
    """
    rows: list[dict[str, Any]] = []
    for size in sizes:
        world = synthetic(size, seed, users=USERS)
        say(f"{size:,} devices, no noise")
        recipe = replace(fitted(RECIPE, world.asked.split.train)[0])
        log, now = world.asked.split.train, world.asked.now
        exact = train(log, replace(recipe.train, measure_every=0), seed=seed, now=now).table
        rows.append(_row(world, "none", math.inf, exact, recipe, None))
        rows[-1] |= {"trend": _figures(world, Personalized("x", _still(world, recipe, exact), recipe.serve))}
        earlier = _earlier(world, recipe, seed)
        tables = build_tables(log, now)
        for epsilon in (math.inf, *EPSILONS):
            z = 0.0 if math.isinf(epsilon) else least_noise(epsilon, DELTA, 1) * NOISE_OF_MIX
            config = MixConfig(max_devices=PRIVATE_DEVICES, noise_multiplier=z)
            mix = train_mix(earlier, tables, RECIPE, config, seed=seed)
            rows.append(_row(world, "weights", epsilon, exact, recipe, mix))
        for epsilon in EPSILONS:
            say(f"{size:,} devices, all of a plan at ε = {epsilon:g}")
            noise = statistics_noise(epsilon, DELTA)
            base, _ = fitted(RECIPE, log, noise=noise)
            private = privately(base, epsilon=epsilon, delta=DELTA, n_devices=world.devices)
            private = with_private_half_life(private, log, now, seed=seed)
            table = train(log, replace(private.train, measure_every=0), seed=seed, now=now).table
            mix = learn_mix(world.asked, private, RECIPE, table, seed=seed)
            rows.append(_row(world, "plan", epsilon, table, private, mix))
            rows.append(_row(world, "plan without a mix", epsilon, table, private, None))
    return {"rows": rows}


def _earlier(world: World, recipe: Recipe, seed: int) -> Earlier:
    before = world.asked.earlier()
    table = train(before.split.train, replace(recipe.train, measure_every=0), seed=seed, now=before.now).table
    signals = Signals(table, recipe.serve, build_tables(before.split.train, before.now))
    return Earlier(signals, before.histories, before.split.test, before.now)


def _still(world: World, recipe: Recipe, table: ItemTable) -> ItemTable:
    """The trend alone."""
    known = trend(world.asked.split.train, world.asked.now, recipe.train.trend_half_life)
    return replace(table, item_embeddings=np.zeros_like(table.item_embeddings), trend=known)


def _row(
    world: World, noised: str, epsilon: float, table: ItemTable, recipe: Recipe, mix: MixModel | None
) -> dict[str, Any]:
    if mix is None:
        arm: Any = Personalized("x", table, recipe.serve)
    else:
        arm = Mixed("x", Signals(table, recipe.serve, mix.tables), mix)
    return {
        "devices": world.devices,
        "noised": noised,
        "epsilon": None if math.isinf(epsilon) else epsilon,
        "served": None if mix is None else dict(mix.served),
        "ndcg": _figures(world, arm),
    }


def _figures(world: World, arm: Any) -> dict[str, float]:
    evaluation = evaluate([arm], world.asked.split, users=world.users, now=world.asked.now, bootstrap=1)
    return {part: float(np.nanmean(evaluation.column("x", "ndcg@20", part))) for part in ("all", "new")}
