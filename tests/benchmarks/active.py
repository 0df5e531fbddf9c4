"""What a service that cheats reaches, beside one that only reads: with the defences, and without them.

Attacks on mode cluster are played against a device's own account (federation/device/cluster_ledger.py), those on
training against a coordinator and a custodian in this process. What takes a defence away is here and nowhere else.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from data.errors import ReportRejected
from federation.custodian.answer_markers import AnswerMarkers
from federation.custodian.custodian import Custodian
from federation.device.cluster_ledger import DAY_S, ClusterAccount, ClusterPolicy
from federation.learning.privacy_plan import PrivacyPlan, least_sigma
from federation.learning.round_plan import check_round_plan
from federation.learning.taste_update import Clips
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.refusals import AlreadyCounted, ForeignTask, TaskRefused
from federation.protocol.messages import Task
from federation.protocol.tokens.report_token import check_token
from recsys.catalogue.clusters import Clusters, cluster_queries, nearest
from tests.benchmarks.attacks_leak import auc
from tests.benchmarks.attacks_modes import membership_auc, recognised, unit
from tests.benchmarks.modes import asked
from tests.benchmarks.modes_world import Floats, World, world
from tests.federation.custodian.a_custodian import a_promise, batch_bytes, draft, now, some_reports, with_issuer
from tests.federation.service.a_lineage import NOW, a_line, stop

SHOP = (10_000, 10_000, 1_000_000, 20)
VIEWS, PERIODS, RESTORES, FOREIGN = 64, (1, 2, 4, 12), 6, 20
PERIOD = ClusterPolicy().period_days
ROUNDS, TRIALS = 4, 4_000
CLIPS = Clips(rows=2.0, counts=4.0, second=1.0, first=1.0)


def run(
    *, seed: int = 0, users: int = 1_500, shop: tuple[int, int, int, int] = SHOP, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Play every attack. users: devices whose histories the service knows and tells apart."""
    torch.set_num_threads(1)
    say(f"a shop of {shop[0]:,} items")
    found = world(*shop, seed=seed, users=users, asked=100)
    say("mode cluster")
    figures = cluster_attack(found, seed)
    say("a question about one shopper")
    figures |= {"targeted_auc": targeted(seed)}
    say("tokens and restores")
    return figures | {
        "foreign_tokens_accepted": {"undefended": foreign_tokens(defended=False), "defended": foreign_tokens()},
        "answers_after_restore": {"undefended": restored_answers(defended=False), "defended": restored_answers()},
        "users": users,
        "views": VIEWS,
        "restores": RESTORES,
    }


def cluster_attack(shop: World, seed: int) -> dict[str, Any]:
    """Guess profiles from what devices name, with centroids of the service's choice at every page view."""
    rng = np.random.default_rng([seed, 71])
    honest = unit(np.stack([shop.clusters.centroids[nearest(shop.clusters.centroids, one, 1)[0]] for one in shop.now]))
    guesses = {"curious": honest, "undefended": np.stack([zoomed(one, rng) for one in shop.now[:200]])}
    for periods in PERIODS:
        guesses[f"{periods}"] = named_in(shop, periods, ClusterPolicy(max_answers=periods), rng)
    guesses["life"] = named_in(shop, PERIODS[-1], ClusterPolicy(), rng)
    known = {name: recognised_of(guess, shop.now) for name, guess in guesses.items()}
    cosine = {
        name: float(np.mean((unit(guess) * unit(shop.now[: len(guess)])).sum(1))) for name, guess in guesses.items()
    }
    V = shop.table.item_embeddings
    exposed = {name: membership_auc(V, guess, shop.pairs) for name, guess in guesses.items() if len(guess) > 500}
    centroids = shop.clusters.centroids
    older = replace(shop.clusters, bundle_version="older", centroids=another_partition(shop, rng))
    named = {
        "fresh": [nearest(centroids, one, 1) for one in shop.now],
        "repeated": [nearest(centroids, one, 1) for one in shop.then],
        "carried": [carried(older, shop.clusters, one) for one in shop.then],
    }
    recall = {
        name: asked(
            shop,
            lambda user, ids=ids: cluster_queries(shop.clusters, ids[user]),
            lambda user, ids=ids: {"mode": "cluster", "clusters": ids[user]},
            2_000,
        )[0]
        for name, ids in named.items()
    }
    return {
        "cluster_cos": cosine,
        "cluster_reidentified": known,
        "cluster_auc": exposed,
        "cluster_recall": recall,
    }


def recognised_of(guesses: Floats, profiles: Floats) -> float:
    """Share of guesses whose nearest of all known profiles is their own."""
    near = unit(guesses) @ unit(profiles).T
    if len(guesses) == len(profiles):
        return recognised(guesses, profiles)
    return float((near.argmax(1) == np.arange(len(guesses))).mean())


def zoomed(profile: Floats, rng: np.random.Generator) -> Floats:
    """Answer every page view as a device without an account would; the service closes in on the profile."""
    guess, width = np.zeros_like(profile), 1.0
    for view in range(VIEWS):
        offered = unit(guess + np.float32(width) * unit(rng.normal(size=(256, len(profile))).astype(np.float32)))
        if view:
            offered[0] = guess
        chosen = nearest(offered, profile, 1)[0]
        width *= 0.93 if view and chosen == 0 else 0.97
        guess = offered[chosen]
    return guess


def another_partition(shop: World, rng: np.random.Generator) -> Floats:
    """Centroids of other k-means of the same items, as the bundle before has: each moved, none where it was."""
    moved = shop.clusters.centroids + 0.3 * unit(rng.normal(size=shop.clusters.centroids.shape).astype(np.float32))
    return unit(rng.permutation(moved))


def carried(before: Clusters, after: Clusters, profile: Floats) -> list[int]:
    """What a device names after a new bundle that named a cluster of the one before, once in its life."""
    account, _ = ClusterAccount().with_answer(
        before, ClusterPolicy(), 0.0, lambda: nearest(before.centroids, profile, 1)
    )
    return list(account.with_answer(after, ClusterPolicy(), 400.0 * DAY_S, list)[1])


def named_in(shop: World, periods: int, policy: ClusterPolicy, rng: np.random.Generator) -> Floats:
    """Add up what devices name in so many periods, with an honestly logged new bundle at every page view.

    What is repeated or carried over adds nothing: it is a function of what was named before.
    """
    account = ClusterAccount()
    offered = [shop.clusters.centroids]
    total, place = np.zeros_like(shop.now), 0
    for view in range(periods * VIEWS):
        moment = view * PERIOD * DAY_S / VIEWS
        before = account.answered
        account, _ = account.with_answer(
            replace(shop.clusters, bundle_version=f"bundle-{view}"), policy, moment, lambda: [0]
        )
        if account.answered == before:
            continue
        if place:  # the first bundle has honest centroids, each later one others of the service's choice
            offered.append(unit(rng.normal(size=offered[0].shape).astype(np.float32)))
        total += np.stack([offered[place][nearest(offered[place], one, 1)[0]] for one in shop.now])
        place += 1
    assert account.answered == min(periods, policy.max_answers)
    return total


def targeted(seed: int) -> dict[str, float]:
    """Tell whether one shopper has bought one item from a round's noised count of it, in ROUNDS rounds.

    all_on_counts: under a plan with all sensitivity on the counts, as a service would ask for; refused: whether the
    parties refuse that task. agreed: under the plan that follows from the promise.
    """
    promise = PrivacyPlan.calibrated(8.0, 1e-6, ROUNDS, CLIPS, min_reports=50, max_reports=1_000)
    agreed = promise.sum_plan(1, 8)
    counts = next(part for part in agreed.parts if part.name == "counts")
    greedy = tuple(
        replace(part, clip_norm=1.0, scale=counts.scale)
        if part.name == "counts"
        else replace(part, clip_norm=1e-3, scale=1.0)
        for part in agreed.parts
    )
    quiet = SumPlan(greedy, min_reports=50, max_reports=1_000, sigma=0)
    chosen = replace(quiet, sigma=least_sigma(promise.noise_multiplier, quiet.sensitivity_squared))
    task = replace(draft(promise), plan=chosen)
    try:
        check_round_plan(task, promise)
        refused = 0.0
    except TaskRefused:
        refused = 1.0
    return {
        "all_on_counts": _count_auc(chosen, seed),
        "all_on_counts_refused": refused,
        "agreed": _count_auc(agreed, seed),
    }


def _count_auc(plan: SumPlan, seed: int) -> float:
    """AUC of the mean of ROUNDS noised counts of one item, bought once against not."""
    part = next(part for part in plan.parts if part.name == "counts")
    signal = math.floor(min(1.0, part.clip_norm) * part.scale)
    noise = discrete_gaussian(plan.sigma, 2 * TRIALS * ROUNDS, seeded_bytes(np.random.default_rng([seed, 72])))
    bought = np.arange(2 * TRIALS) < TRIALS
    return auc(noise.reshape(-1, ROUNDS).sum(1) + ROUNDS * signal * bought, bought)


def foreign_tokens(*, defended: bool = True) -> int:
    """Count the reports that a round takes of FOREIGN with tokens of another tenant."""
    with tempfile.TemporaryDirectory() as home:
        line = a_line(Path(home))
        task = line.open()
        if not defended:
            line.issuer.check = lambda token, task, _: check_token(token, task, line.issuer._key)
        accepted = 0
        for _ in range(FOREIGN):
            try:
                accepted += line.coordinator.accept(line.report(task, issuer="tea-house").to_bytes(), NOW) == "accepted"
            except ReportRejected:
                continue
        stop(line)
    return accepted


def restored_answers(*, defended: bool = True) -> int:
    """Count the fresh answers that a custodian gives after each of RESTORES restores of its database."""
    answers = 0
    with tempfile.TemporaryDirectory() as home:
        folder, kept = Path(home) / "custodian", Path(home) / "backup"
        custodian = with_issuer(Custodian.open(folder, a_promise(), now()))
        task = Task.from_bytes(custodian.open_round(draft().signed_bytes, now()))
        reports = some_reports(task)
        custodian.shut()
        shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("round-keys", "answered"))
        for restore in range(RESTORES + 1):
            with mock.patch.object(AnswerMarkers, "is_marked", AnswerMarkers.is_marked if defended else _never):
                custodian = Custodian.open(folder, a_promise(), now())
                try:
                    custodian.answer(batch_bytes(task, reports[: len(reports) - restore % 2]), now())
                    answers += restore > 0
                except (AlreadyCounted, ForeignTask):
                    pass
                custodian.shut()
            for path in folder.glob("custodian.sqlite*"):
                path.unlink()
            for path in kept.glob("custodian.sqlite*"):
                shutil.copy(path, folder / path.name)
    return answers


def _never(*_: object) -> bool:
    return False
