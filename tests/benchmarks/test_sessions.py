from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.questions import question
from federation.lab.recipes import recipe
from tests.benchmarks import sessions


def test_the_sessions_bench_compares_all_models_on_the_same_users_at_tiny_size() -> None:
    log = Dataset.open("sample:eshop-2008").interactions()
    few = log.where(np.isin(log.user_idx, np.arange(0, log.n_users, 12)))
    chosen = recipe("sessions")
    assert chosen.train.intent is not None
    small = replace(
        chosen.train,
        dim=8,
        rounds=5,
        cohort_size=100,
        intent=replace(chosen.train.intent, rounds=4, cohort_size=400),
    )
    table = sessions.measured(question(few, "sessions", parse_time(sessions.CUT)), replace(chosen, train=small))
    assert {"personalized", "fold_in", "ease", "ease_recency", "item_knn", "central", "global"} <= set(table.models)
    low, high = table.intervals["personalized", "all", "ndcg@20"]
    assert low < float(np.nanmean(table.column("personalized", "ndcg@20"))) < high


def test_the_fold_in_alone_has_no_intent_in_training_or_serving() -> None:
    alone = sessions.fold_in_alone(recipe("sessions"))
    assert alone.train.intent is None
    assert (alone.train.profile.intent_pools, alone.serve.intent_pools) == ((), ())
    assert (alone.train.dim, alone.train.profile.reg, alone.serve.trend_weight) == (32, 0.06, pytest.approx(0.1))
