"""Leakage guards against an analyst's mistakes: every kind of leak planted at random, and careful set-ups beside them.

planted, found: set-ups with one mistake in them, and those in which the guards report a leak of that kind.
false_alarms: leaks reported in careful set-ups, five ways to split on each seed. The guards are handed set-ups, and
never learn what was planted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.leakage import REMEDIES
from data.sessions import split_sessions
from data.split import temporal
from recsys.leakage import Setup, inspect
from tests.benchmarks.planted_mistakes import PLANTS
from tests.benchmarks.planted_worlds import DAY, WORLDS, World, careful

SEEDS = 20
ATTEMPTS = 40


def run(
    seed: int = 0, seeds: int = SEEDS, kinds: tuple[str, ...] = (), say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Figures over `seeds` seeds from `seed` on; kinds: only these, all by default."""
    by_kind = {kind: {"planted": 0, "found": 0} for kind in REMEDIES if not kinds or kind in kinds}
    missed, alarms, clean = [], [], 0
    for number in range(seed, seed + seeds):
        worlds = [make(number) for make in WORLDS.values()]
        for kind in by_kind:
            world, made = plant(kind, worlds, np.random.default_rng((number, list(REMEDIES).index(kind))))
            by_kind[kind]["planted"] += 1
            if any(leak.kind == kind for leak in inspect(made).leaks):
                by_kind[kind]["found"] += 1
            else:
                missed.append(f"{kind} in {world}, seed {number}")
        for name, made in careful_setups(worlds, np.random.default_rng((number, 1_000))):
            clean += 1
            alarms += [f"{name}, seed {number}: {leak}" for leak in inspect(made).leaks]
        say(f"seed {number}: {len(missed)} missed, {len(alarms)} false alarms")
    return {
        "planted": sum(one["planted"] for one in by_kind.values()),
        "found": sum(one["found"] for one in by_kind.values()),
        "kinds": len(by_kind),
        "clean_setups": clean,
        "false_alarms": len(alarms),
        "by_kind": by_kind,
        "missed": missed,
        "alarms": alarms,
    }


def plant(kind: str, worlds: list[World], rng: np.random.Generator) -> tuple[str, Setup]:
    """One mistake of a kind, in a world where it can be made and has consequences."""
    for _ in range(ATTEMPTS):
        world = worlds[rng.integers(len(worlds))]
        made = PLANTS[kind](world, rng)
        if made is not None:
            return world.name, made
    raise RuntimeError(f"{kind}: no such mistake had consequences in {ATTEMPTS} attempts")


def careful_setups(worlds: list[World], rng: np.random.Generator) -> list[tuple[str, Setup]]:
    """Five careful set-ups: the three worlds with all declared, and the two bundled logs whole, split by data.split."""
    made = [(f"careful {world.name}", careful(world, rng)) for world in worlds]
    retail = Dataset.open("sample:online-retail").interactions()
    night = int(np.quantile(retail.time, rng.uniform(0.5, 0.9))) // DAY * DAY  # UTC midnight: nobody buys then
    made.append(("online-retail, temporal", Setup.of(temporal(retail, night), log=retail)))
    clicks = Dataset.open("sample:eshop-2008").interactions()
    day = int(np.quantile(clicks.time, rng.uniform(0.5, 0.9))) // DAY * DAY
    split, known = split_sessions(clicks, day, float(rng.uniform(0.3, 0.7)))
    made.append(("eshop-2008, sessions", Setup.of(split, log=clicks, histories=known)))
    return made
