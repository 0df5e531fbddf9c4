"""One definition that the tests of experiments share."""

from __future__ import annotations

from typing import Any

from recsys.experiments.definition.definition import Experiment
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.definition.metric_definitions import SESSIONS_CAP, preference_metric

START = 1_764_547_200  # 2025-12-01T00:00:00Z


def raw_experiment(**changes: Any) -> dict[str, Any]:
    """Plain values, as a file has them."""
    return {
        "id": "personal-home",
        "arms": [
            {"name": "global", "settings": {"model": "global"}},
            {"name": "personal", "settings": {"model": "personalized", "mode": "device", "diversity": 0.2}},
        ],
        "control": "global",
        "layer": {"name": "home"},
        "metrics": [
            {"name": "conversion", "kind": "proportion", "numerator": "converted", "role": "primary"},
            {
                "name": "revenue",
                "numerator": "spent",
                "cap": 200.0,
                "covariate": "spent_before",
                "covariate_cap": 200.0,
            },
            {
                "name": "clicks_per_list",
                "kind": "ratio",
                "numerator": "clicks",
                "cap": 20.0,
                "denominator": "lists",
                "denominator_cap": 20.0,
                "denominator_centre": 5.0,
                "role": "guardrail",
                "margin": 0.02,
            },
        ],
        "outcomes": [
            {"name": "converted", "event": "purchase", "measure": "any"},
            {"name": "spent", "event": "purchase", "measure": "value"},
            {"name": "spent_before", "event": "purchase", "measure": "value", "before_days": 28},
            {"name": "clicks", "event": "click"},
            {"name": "lists", "event": "list"},
        ],
        "segments": [{"name": "shopper", "fact": "purchases", "cuts": [1], "levels": ["new", "returning"]}],
        "looks": {"method": "group_sequential", "count": 3},
        "starts_at": START,
        "ends_at": START + 14 * 86_400,
        "privacy": {"epsilon": 1.0, "delta": 1e-6, "min_reports": 50, "max_reports": 10_000},
        **changes,
    }


def an_experiment(**changes: Any) -> Experiment:
    """The experiment of raw_experiment."""
    return experiment_of(raw_experiment(**changes))


def raw_interleaving(**changes: Any) -> dict[str, Any]:
    """The same two arms, interleaved."""
    kept = {key: value for key, value in raw_experiment().items() if key not in ("metrics", "outcomes", "segments")}
    return {**kept, "design": "interleaved", **changes}


def an_interleaving(cap: int = SESSIONS_CAP, **changes: Any) -> Experiment:
    """The experiment of raw_interleaving. cap: of sessions won, and lost, by one shopper."""
    return experiment_of(raw_interleaving(**{"metrics": [preference_metric(cap).to_dict()], **changes}))
