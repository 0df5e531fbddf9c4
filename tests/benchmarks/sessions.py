"""E-shop 2008: sessions as anonymous devices never seen in training; the rest of a session after its first clicks.

Sessions that begin before 2008-07-01 train; of each later one the first half of the clicks is known, the distinct items
of the other half are the targets. Beside our arms: EASE (Steck 2019), plain and with recency weights, in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from data.dataset import Dataset
from data.split import parse_time
from federation.comparison import compare_models, question
from federation.recipe import recipe
from recsys.evaluation import evaluate
from tests.reference_ease import fit_ease

CUT = "2008-07-01"
METRIC = "ndcg@20"


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, object]:
    """`{"eshop": {model: ndcg@20}, "ci95": {model: [low, high]}, "new": …}`; about a minute of CPU time."""
    tell = say or (lambda _: None)
    asked = question(Dataset.open("sample:eshop-2008").interactions(), "sessions", parse_time(CUT))
    tell("federated training and baselines")
    ours = compare_models(asked, recipe("sessions"), seed=seed).evaluation
    tell("EASE")
    reference = fit_ease(asked.split.train, 100.0)
    ease = [replace(reference, name="ease"), replace(reference, name="ease_recency", half_life=1.0)]
    theirs = evaluate(ease, asked.split, histories=asked.histories, now=asked.now, seed=seed)
    found: dict[str, dict[str, object]] = {"eshop": {}, "ci95": {}, "new": {}}
    for table in (ours, theirs):
        for model in table.models:
            found["eshop"][model] = float(np.nanmean(table.column(model, METRIC)))
            found["new"][model] = float(np.nanmean(table.column(model, METRIC, "new")))
            found["ci95"][model] = list(table.intervals[model, "all", METRIC])
    return {**found, "protocol": dict(ours.protocol)}
