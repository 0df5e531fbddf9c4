"""What differential privacy costs: NDCG against ε of a device's whole life and the number of devices.

4,056 real devices (Online Retail before 2011-11-09), and 50,000 and 500,000 of a synthetic shop with 2,000 items, the
last fifth of its log held out. Every device takes part in all of a few rounds, and every round's sums carry the noise
of both parties. Measured on items that are new to a shopper, full ranking: what a shopper buys again needs no training,
so `all` (as served) hardly falls, and would flatter. Floors: the trend alone, and fold-in on an untrained table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from data.dataset import Dataset
from data.interactions import Interactions
from data.split import parse_time
from data.synthetic import SyntheticShop
from federation.lab.questions import Question, default_cut, question
from federation.lab.recipes import recipe
from federation.learning.item_step import StepConfig
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.training import TrainConfig, train
from recsys.evaluation.arms import Personalized
from recsys.evaluation.evaluation import evaluate
from recsys.model.items import ItemTable
from recsys.model.trend import trend

EPSILONS = (1.0, 2.0, 4.0, 8.0, 16.0)
DELTA = 1e-6
CLIPS = Clips(rows=1.0, counts=4.0, second=0.5, first=0.5)
ROUNDS, DIM = 6, 32
STEP = StepConfig(step=1.0, final_step=0.5, momentum=0.0, memory=1.0, trust_radius=3.0, eigenvalue_floor=0.02)
"""Whole-population rounds need no running means. Much noise in Ā is caught by the eigenvalue floor."""
FREE = 0.05
"""Loss up to which DP counts as free here."""


@dataclass(frozen=True, eq=False)
class World:
    """A log with its last part held out. source: real or synthetic; users: who is asked."""

    asked: Question
    source: str
    users: np.ndarray

    @property
    def devices(self) -> int:
        """Devices with a history."""
        return int((self.asked.split.train.counts > 0).sum())


def world_of(log: Interactions, at: int, source: str, users: int, seed: int) -> World:
    """A log cut at `at` (µs); up to `users` of those with history and test events are asked."""
    asked = question(log, "temporal", at)
    both = np.flatnonzero((asked.split.train.counts > 0) & (asked.split.test.counts > 0))
    return World(asked, source, np.sort(np.random.default_rng([seed, 30]).permutation(both)[:users]))


def real(seed: int, users: int = 2_000) -> World:
    """Online Retail."""
    return world_of(
        Dataset.open("sample:online-retail").interactions(), parse_time("2011-11-09"), "Online Retail", users, seed
    )


def synthetic(n: int, seed: int, n_items: int = 2_000, users: int = 2_000) -> World:
    """A shop with 30 events a device, three in four of them before the cut."""
    log = SyntheticShop(n, n_items, 30 * n, seed=seed + 1, drift=0.3).interactions()
    return world_of(log, default_cut(log), "synthetic", users, seed)


def config_of(epsilon: float, devices: int, rounds: int = ROUNDS) -> TrainConfig:
    """Training with the noise of a lifetime ε; inf: neither noise nor clips."""
    base = replace(
        recipe("purchases").train,
        dim=DIM,
        rounds=rounds,
        cohort_size=devices,
        max_participations=rounds,
        holdout_share=0.0,
        measure_every=0,
        patience=0,
        step=STEP,
    )
    if np.isinf(epsilon):
        return base
    plan = PrivacyPlan.calibrated(epsilon, DELTA, rounds, CLIPS, min_reports=min(50, devices), max_reports=devices)
    return replace(base, clips=CLIPS, privacy=plan)


def ndcg(world: World, table: ItemTable) -> dict[str, float]:
    """NDCG@20 of new items and of all, as served."""
    arm = Personalized("served", table, recipe("purchases").serve)
    found = evaluate([arm], world.asked.split, users=world.users, now=world.asked.now, bootstrap=1)
    return {part: float(np.nanmean(found.column("served", "ndcg@20", part))) for part in ("new", "all")}


def trained(world: World, config: TrainConfig, seed: int) -> dict[str, float]:
    """Figures of one training, with the exact trend, so that they say what noise costs the table."""
    log, now = world.asked.split.train, world.asked.now
    table = train(log, config, seed=seed, now=now).table
    return ndcg(world, replace(table, trend=trend(log, now, config.trend_half_life)))


def floors(world: World, seed: int) -> dict[str, dict[str, float]]:
    """What no training reaches: trend alone, and fold-in on a random table."""
    log, now = world.asked.split.train, world.asked.now
    random = train(log, replace(config_of(np.inf, world.devices), rounds=0), seed=seed, now=now).table
    still = replace(random, item_embeddings=np.zeros_like(random.item_embeddings), trend=trend(log, now))
    return {"trend": ndcg(world, still), "untrained": ndcg(world, random)}


def run(
    seed: int = 0, sizes: Sequence[int] = (50_000, 500_000), epsilons: Sequence[float] = EPSILONS
) -> dict[str, Any]:
    """Rows of devices and ε, and from where on DP is free.

    loss: share of the NDCG that training without noise and clips, otherwise the same, reaches. gain: share of what that
    training adds to the trend which is kept; below 0 the training had better not have been.
    """
    rows, worlds = [], []
    for make in (real, *(_maker(n) for n in sizes)):
        world = make(seed)
        found = floors(world, seed)
        without = trained(world, config_of(np.inf, world.devices), seed)
        clipped = trained(world, replace(config_of(np.inf, world.devices), clips=CLIPS), seed)
        worlds.append(
            {"devices": world.devices, "source": world.source, "without_dp": without, "clipped_only": clipped} | found
        )
        for epsilon in epsilons:
            config = config_of(epsilon, world.devices)
            assert config.privacy is not None
            figures = trained(world, config, seed)
            rows.append(
                {
                    "devices": world.devices,
                    "source": world.source,
                    "epsilon": epsilon,
                    "delta": DELTA,
                    "noise_multiplier": config.privacy.noise_multiplier,
                    "ndcg": figures["new"],
                    "loss": 1 - figures["new"] / without["new"],
                    "gain": (figures["new"] - found["trend"]["new"]) / (without["new"] - found["trend"]["new"]),
                    "ndcg_all": figures["all"],
                    "loss_all": 1 - figures["all"] / without["all"],
                }
            )
    return {
        "rows": rows,
        "worlds": worlds,
        "free_below_loss": FREE,
        "free": free(rows),
        "settings": {"rounds": ROUNDS, "dim": DIM, "clips": vars(CLIPS), "metric": "ndcg@20 of new items"},
    }


def _maker(n: int) -> Any:
    return lambda seed: synthetic(n, seed)


def free(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """For each number of devices the smallest ε from which on the loss is below FREE; None: nowhere."""
    found: dict[str, float | None] = {}
    for devices in dict.fromkeys(row["devices"] for row in rows):
        of_size = sorted((row for row in rows if row["devices"] == devices), key=lambda row: -row["epsilon"])
        smallest = None
        for row in of_size:
            if row["loss"] > FREE:
                break
            smallest = row["epsilon"]
        found[str(devices)] = smallest
    return found


def plot(figures: dict[str, Any], path: Path) -> None:
    """NDCG as a share of training without privacy, against ε, one line a number of devices; dashed: the trend alone."""
    figure = Figure(figsize=(6.8, 3.8), layout="constrained")
    axes = figure.subplots()
    epsilons = sorted({row["epsilon"] for row in figures["rows"]})
    for colour, world in zip(("#d1495b", "#e8a33d", "#1b6ca8", "#3aa17e"), figures["worlds"], strict=False):
        rows = [row for row in figures["rows"] if row["devices"] == world["devices"]]
        label = f"{world['devices']:,} devices ({world['source']})"
        shares = [1 - row["loss"] for row in rows]
        axes.plot([row["epsilon"] for row in rows], shares, "o-", color=colour, label=label, ms=4)
        axes.axhline(world["trend"]["new"] / world["without_dp"]["new"], color=colour, lw=1, ls="--")
    axes.axhline(1.0, color="#333333", lw=1, ls=":")
    axes.set_xscale("log", base=2)
    axes.set_xticks(epsilons, [f"{epsilon:g}" for epsilon in epsilons])
    axes.set_ylim(0, 1.08)
    axes.set_xlabel("ε of a device's whole life (δ = 10⁻⁶)")
    axes.set_ylabel("NDCG@20 of new items, as a share\nof training without privacy", fontsize=9)
    axes.text(epsilons[0], 1.01, "training without privacy", fontsize=8, va="bottom")
    axes.legend(frameon=False, fontsize=8, title="dashed: the trend alone, no training", title_fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
