"""E-shop 2008: sessions as anonymous devices never seen in training; the rest of a session after its first clicks.

Sessions that begin before 2008-07-01 train; of each later one the first half of the clicks is known, the distinct items
of the other half are the targets. Beside our arms: the fold-in alone, with the table and settings that were best for it
before the current intent had a part; EASE (Steck 2019), plain and with recency weights, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.comparison import compare_models
from federation.lab.questions import Question, question
from federation.lab.recipes import Recipe, recipe
from recsys.evaluation.arms import Personalized
from recsys.evaluation.evaluation import Evaluation, evaluate
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.statistics import paired_difference
from tests.reference_ease import fit_ease

CUT = "2008-07-01"
METRIC = "ndcg@20"
PARTS = ("all", "new", "repeat")


def fold_in_alone(sessions: Recipe) -> Recipe:
    """The recipe without the current intent: chosen on June 2008, as the other was."""
    taste = replace(sessions.train.profile, reg=0.06, trend_weight=0.1, intent_pools=())
    train = replace(sessions.train, dim=32, intent=None, profile=taste)
    return Recipe(train, replace(sessions.serve, trend_weight=0.1, intent_pools=()))


def measured(asked: Question, chosen: Recipe, *, seed: int = 0) -> Evaluation:
    """Our arms, the fold-in alone and EASE on one question, with the same resamples of users."""
    ours = compare_models(asked, chosen, seed=seed, bootstrap=2)
    alone = fold_in_alone(chosen)
    folded = compare_models(asked, alone, seed=seed, bootstrap=2, models=["personalized", "central"])
    log = asked.split.train
    reference = fit_ease(log, 100.0)
    references: list[Recommender] = [
        Personalized("fold_in", folded.training.table, alone.serve),
        replace(reference, name="ease"),
        replace(reference, name="ease_recency", half_life=1.0),
    ]
    theirs = evaluate(references, asked.split, histories=asked.histories, now=asked.now, bootstrap=2, seed=seed)
    values = {**ours.evaluation.values, **theirs.values}
    return replace(ours.evaluation, values=values, protocol=dict(ours.evaluation.protocol) | {"bootstrap": 1000})


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, object]:
    """`{"eshop": {model: ndcg@20}, "ci95": {model: [low, high]}, "new": …, "repeat": …, "against": …}`.

    against: the mean gain of `personalized` over each other model with its interval, over users. Two minutes of CPU.
    """
    tell = say or (lambda _: None)
    asked = question(Dataset.open("sample:eshop-2008").interactions(), "sessions", parse_time(CUT))
    tell("federated training, baselines and EASE")
    table = measured(asked, recipe("sessions"), seed=seed)
    figures = {
        part: {model: float(np.nanmean(table.column(model, METRIC, part))) for model in table.models} for part in PARTS
    }
    best = table.column("personalized", METRIC)
    against = {
        model: paired_difference(best, table.column(model, METRIC), seed=seed)
        for model in table.models
        if model != "personalized"
    }
    return {
        "eshop": figures["all"],
        "ci95": {model: list(table.intervals[model, "all", METRIC]) for model in table.models},
        "new": figures["new"],
        "repeat": figures["repeat"],
        "against": {model: [found.difference, found.low, found.high] for model, found in against.items()},
        "protocol": dict(table.protocol),
    }
