"""Transitions by private sums, three ways: a wider intent, hashed pairs, and a shop's own orders with a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse, stats

from data.interactions import MICROS_PER_DAY, EventKind, Interactions, interactions
from data.split import Split
from federation.lab.recipes import PRIVATE_ROUNDS, recipe
from federation.learning.privacy_plan import PrivacyPlan, least_noise
from federation.learning.table_sum import pair_plan
from federation.learning.taste_update import PRIVATE_CLIPS
from federation.simulation.pair_sums import private_transitions
from federation.simulation.training import train
from recsys.evaluation.arms import Personalized
from recsys.evaluation.evaluation import evaluate
from recsys.evaluation.recommender import Recommender
from recsys.mix.transition_arm import Transition
from recsys.model.items import ItemTable
from recsys.model.pair_sketch import PairSketch
from recsys.model.transitions import (
    DECAY,
    Transitions,
    count_transitions,
    no_transitions,
    pairs_by_gap,
    transition_table,
)
from recsys.model.trend import decayed_popularity

SIZES, N_ITEMS, LENGTH, HELD_OUT = (2_000, 20_000, 200_000), 2_000, 16, 4
EPSILON, DELTA, PARTICIPATIONS = 8.0, 1e-6, 7
"""Four rounds of the taste, the mix, popularity and pairs: what the pairs get of a plan of ε."""
WIDTHS, FEW = (32, 96), 20_000
USERS = 1_000
DAY = MICROS_PER_DAY


def walks(n: int, seed: int) -> Interactions:
    """Devices of 16 events: half of them one of four successors of the event before, half by popularity (Zipf)."""
    rng = np.random.default_rng(seed)
    follows = np.random.default_rng(0).integers(0, N_ITEMS, (N_ITEMS, 4))
    popular = 1.0 / np.arange(1, N_ITEMS + 1) ** 0.8
    popular /= popular.sum()
    items = np.empty((n, LENGTH), dtype=np.int32)
    items[:, 0] = rng.choice(N_ITEMS, n, p=popular)
    for step in range(1, LENGTH):
        after = follows[items[:, step - 1], rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])]
        items[:, step] = np.where(rng.random(n) < 0.5, after, rng.choice(N_ITEMS, n, p=popular))
    start = rng.integers(0, 90 * DAY, n)
    time = start[:, None] + np.arange(LENGTH) * DAY // 24
    kind = np.where(rng.random((n, LENGTH)) < 0.3, EventKind.PURCHASE, EventKind.VIEW)
    users = np.repeat(np.arange(n), LENGTH)
    items = np.random.default_rng(1).permutation(N_ITEMS).astype(np.int32)[items]  # no order of ids says anything
    return interactions(users, items.ravel(), time.ravel(), n_users=n, n_items=N_ITEMS, kind=kind.ravel())


def own_orders(log: Interactions, epsilon: float, seed: int) -> sparse.csr_array[Any, Any]:
    """Pairs of a shop's own orders, one party's noise, pairs of few customers left out.

    Every customer's pairs are within a norm of 1. A pair that one customer alone has passes the threshold with a
    probability of at most δ/2 over all of the customer's pairs, so that publishing which pairs there are is in (ε, δ).
    """
    bought = log.where(log.kind == EventKind.PURCHASE)
    keys, values = [], []
    for gap, (user, source, target) in enumerate(pairs_by_gap(bought)):
        keys.append((user.astype(np.int64) * N_ITEMS + source) * N_ITEMS + target)
        values.append(np.full(len(user), DECAY**gap))
    key, place = np.unique(np.concatenate(keys), return_inverse=True)
    value = np.bincount(place, np.concatenate(values), len(key))
    user, pair = np.divmod(key, N_ITEMS**2)
    norm = np.sqrt(np.bincount(user, value**2, log.n_users))
    value = value * np.minimum(1.0, 1.0 / np.maximum(norm, 1e-12))[user]
    of_pair, spot = np.unique(pair, return_inverse=True)
    total = np.bincount(spot, value, len(of_pair))
    if not math.isinf(epsilon):
        sigma = least_noise(epsilon, DELTA / 2, 1)
        most = int(np.bincount(user).max(initial=1))
        threshold = 1.0 + sigma * float(stats.norm.isf(DELTA / 2 / most))
        total = total + np.random.default_rng(seed).normal(0, sigma, len(total))
        of_pair, total = of_pair[total > threshold], total[total > threshold]
    source, target = np.divmod(of_pair, N_ITEMS)
    return sparse.coo_array((total, (source, target)), shape=(N_ITEMS, N_ITEMS)).tocsr()


@dataclass(frozen=True, eq=False)
class Backed:
    """A table of transitions, and popularity for all that nothing in it follows."""

    name: str
    table: Transition
    popularity: np.ndarray

    def scores(self, histories: Interactions, users: np.ndarray, now: int | np.ndarray) -> np.ndarray:
        """Score as the table does; where it says nothing, by popularity."""
        share = (self.popularity / self.popularity.max()).astype(np.float32)
        return self.table.scores(histories, users, now) + np.float32(1e-6) * share


def run(seed: int = 0, sizes: Sequence[int] = SIZES, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """A row for each number of devices, way and ε: NDCG@20 of new items, bytes of catalogue an item, bytes of a report.

    Ways: popularity; exact (counts in one place, no privacy); sketch; intent of some width; orders. ε = 8 is of a whole
    plan for the private sums, of which pairs are one participation of seven; of a customer of the shop for orders.
    Above 20,000 devices intents are left out, and the sketch reads by embeddings trained without noise: they take long.
    """
    rows: list[dict[str, Any]] = []
    for size in sizes:
        rows += _rows(size, seed, say)
    return {"items": N_ITEMS, "rows": rows}


def _rows(size: int, seed: int, say: Callable[[str], object]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    log = walks(size, seed)
    late = np.arange(log.n_events) % LENGTH >= LENGTH - HELD_OUT
    split = Split(log.where(~late), log.where(late), "last four", None)
    known, now = split.train, int(log.time.max()) + 1
    users = np.sort(np.random.default_rng([seed, 1]).permutation(size)[:USERS])
    popularity = decayed_popularity(known, now, math.inf)

    def add(way: str, epsilon: float, arm: Recommender, catalogue: float, report: int) -> None:
        found = evaluate([arm], split, users=users, now=now, bootstrap=1)
        figure = float(np.nanmean(found.column(arm.name, "ndcg@20", "new")))
        limited = None if math.isinf(epsilon) else epsilon
        rows.append({"devices": size, "way": way, "epsilon": limited, "ndcg_new": figure,
                     "catalogue_bytes_an_item": catalogue, "report_bytes": report})  # fmt: skip
        say(f"{size:,} devices, {way}, ε = {epsilon:g}: {figure:.3f}")

    def add_table(way: str, epsilon: float, table: Transitions, report: int) -> None:
        add(way, epsilon, Backed(way, Transition(table), popularity), 3 * table.nnz / N_ITEMS + 5, report)

    add_table("popularity", math.inf, no_transitions(N_ITEMS), 0)
    add_table("exact", math.inf, transition_table(count_transitions(known), popularity), 0)
    serve = replace(recipe("sessions").serve, intent_share=1.0)
    table = None
    for epsilon in (math.inf, EPSILON):
        z = 0.0 if math.isinf(epsilon) else least_noise(epsilon, DELTA, PARTICIPATIONS)
        if table is None or size <= FEW:
            for width in WIDTHS if size <= FEW else WIDTHS[:1]:
                table = _intent(known, now, width, epsilon, size, seed)
                report = 4 * (N_ITEMS * (width + 1) + width * (width + 1) // 2 + width)
                add(f"intent {width}", epsilon, Personalized("intent", table, serve), width + 4, report)
        plan = pair_plan(PairSketch(N_ITEMS).cells, z, min_reports=1, max_reports=size)
        add_table("sketch", epsilon, private_transitions(known, table, popularity, z, seed=seed), 4 * plan.length)
        add_table("orders", epsilon, transition_table(own_orders(known, epsilon, seed), popularity), 0)
    return rows


def _intent(log: Interactions, now: int, width: int, epsilon: float, devices: int, seed: int) -> ItemTable:
    base = recipe("sessions").train
    assert base.intent is not None
    pools = len(base.profile.intent_pools)
    config = replace(base, dim=max(width // pools, 1), measure_every=0, patience=0)
    if math.isinf(epsilon):
        return train(log, replace(config, rounds=20, intent=replace(base.intent, rounds=20)), seed=seed, now=now).table
    rounds = 2 * PRIVATE_ROUNDS
    plan = PrivacyPlan.calibrated(
        epsilon, DELTA, rounds, PRIVATE_CLIPS, min_reports=1, max_reports=devices, max_rounds=rounds
    )
    size = {"rounds": PRIVATE_ROUNDS, "cohort_size": devices, "max_participations": PRIVATE_ROUNDS}
    step = replace(base.step, step=1.0, final_step=0.5, momentum=0.0, memory=1.0)
    private = replace(
        config, **size, clips=PRIVATE_CLIPS, privacy=plan, intent=replace(base.intent, **size), step=step
    )  # fmt: skip
    return train(log, private, seed=seed, now=now).table
