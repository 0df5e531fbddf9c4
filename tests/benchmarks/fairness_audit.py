"""An audit of MovieLens-100K by private sums, beside the central one; and an attack on what the service holds of it.

The attack: a service that knows the gender of half of the shoppers trains a classifier on the report shares that it
received, and scores the others. Group prior: a score that is the same for everybody. In the clear: the same attack on
the vectors, which never leave a device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from federation.lab.questions import question
from federation.lab.recipes import recipe
from federation.lab.release.audit import audit_release, contributions
from federation.lab.release.evidence import Audience
from federation.learning.audit_sum import PART
from federation.private_sum.fixed_point import encode
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.shares import service_share
from federation.simulation.training import train
from recsys.evaluation.arms import arm
from recsys.evaluation.targets import collect_targets
from recsys.fairness.groups import declared, tail_items
from recsys.fairness.served_lists import serve_lists
from tests.benchmarks import ml100k

EPSILON, K = 8.0, 20
BANDS = {"under 25": (0, 24), "25-34": (25, 34), "35-49": (35, 49), "50 and over": (50, 200)}
RIDGE, DRAWS = 1.0, 20

Floats = npt.NDArray[np.float64]


def run_audit(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """`{"audit_error_se", "attribute_attack_auc", "group_prior_auc", …}`; about half a minute of CPU time."""
    tell = say or (lambda _: None)
    dataset, settings = ml100k.load(), recipe("ratings")
    asked = question(dataset.interactions(), "leave-last-out")
    tell("ml-100k: training")

    table = train(asked.split.train, settings.train, seed=seed, now=asked.now).table
    targets = collect_targets(asked.split, asked.histories)
    tail = tail_items(np.bincount(asked.split.train.item_idx, minlength=len(dataset.items)))
    groupings = tuple(grouping.of(targets.users) for grouping in declared(shoppers(), dataset.users))
    end = int(asked.split.train.time.max())
    audience = Audience(asked, targets, groupings, tail, end, K)
    served = arm("personalized", table, settings.serve)
    lists = serve_lists(served, targets, asked.histories, asked.now, K, len(dataset.items))
    tell("ml-100k: audit")
    central = audit_release(audience, lists, dataset.catalogue, epsilon=None, seed=seed)
    private = audit_release(audience, lists, dataset.catalogue, epsilon=EPSILON, seed=seed)
    truth = {row["group"]: row for row in central.groups()}
    published = [row for row in private.groups() if row["shoppers"] is not None]
    errors = [(row["ndcg"] - truth[row["group"]]["ndcg"]) / row["noise_error"] for row in published
              if truth[row["group"]]["shoppers"] is not None]  # fmt: skip
    vectors = np.array(list(contributions(private.layout, audience, lists)))
    rng = np.random.default_rng(seed)
    words = [encode(private.plan, {PART: vector}, seeded_bytes(rng)) for vector in vectors]
    level = next(grouping for grouping in groupings if grouping.name == "gender").level_of
    attacks = []
    for _ in range(DRAWS):  # each shopper's report is sent once; drawn again, the attack's own luck averages out
        shares = np.array([np.frombuffer(service_share(one, rng.bytes(32)), "<i4") for one in words]) / 2.0**31
        attacks.append(attack(shares, level, rng))
    return {
        "audit_error_se": float(np.sqrt(np.mean(np.square(errors)))),
        "audit_error_se_worst": float(np.max(np.abs(errors))),
        "attribute_attack_auc": float(np.mean(attacks)),
        "attribute_attack_auc_se": float(np.std(attacks, ddof=1) / np.sqrt(DRAWS)),
        "group_prior_auc": auc(np.zeros(len(level)), level == 1),
        "attack_in_the_clear_auc": attack(vectors, level, rng),
        "epsilon": EPSILON,
        "shoppers": len(targets.users),
        "groups": [
            {name: row[name] for name in ("group", "shoppers", "ndcg", "gap", "gap_ci95", "p_holm")}
            | {"central_ndcg": truth[row["group"]].get("ndcg")}
            for row in published
        ],
        "hidden_groups": len(private.layout.cells) - len(published),
        "items": private.items,
    }


def shoppers() -> pl.DataFrame:
    """Gender and age band of every shopper, from the log's own users file."""
    rows = pl.read_csv(ml100k.cache_folder() / "ml-100k" / "ml-100k.user", separator="\t", infer_schema=False)
    rows = rows.rename({name: name.split(":")[0] for name in rows.columns})
    age = pl.col("age").cast(pl.Int64)
    band = pl.coalesce([pl.when(age.is_between(low, high)).then(pl.lit(name)) for name, (low, high) in BANDS.items()])
    return rows.select("user_id", "gender", age_band=band)


def attack(known: Floats, level: npt.NDArray[np.int64], rng: np.random.Generator, folds: int = 2) -> float:
    """Train a ridge classifier on half of the shoppers, score the others, and the reverse: AUC of all scores."""
    fold = rng.permutation(len(level)) % folds
    scores = np.zeros(len(level))
    for held in range(folds):
        seen = known[fold != held]
        mean = seen.mean(axis=0)
        X, y = seen - mean, (level[fold != held] == 1) - (level[fold != held] == 1).mean()
        w = np.linalg.solve(X.T @ X + RIDGE * np.eye(X.shape[1]), X.T @ y)
        scores[fold == held] = (known[fold == held] - mean) @ w
    return auc(scores, level == 1)


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Compute the chance that a positive scores above a negative, ties counting half (Mann and Whitney 1947)."""
    a, b = scores[positive], scores[~positive]
    above = (a[:, None] > b[None, :]).mean() + 0.5 * (a[:, None] == b[None, :]).mean()
    return float(above)
