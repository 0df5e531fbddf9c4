from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sample_ratio import ALPHA
from recsys.experiments.results.results import HIDDEN, results
from tests.recsys.experiments.an_experiment import an_experiment

EXPERIMENT = an_experiment(privacy={"epsilon": 1.0, "min_reports": 50, "max_reports": 1_000})
LAYOUT = layout_of(EXPERIMENT)


def look(sizes: dict[str, tuple[int, int]], number: int = 1, seed: int = 0) -> Look:
    """Sums of so many shoppers in each arm's two cells."""
    rng, total = np.random.default_rng(seed), np.zeros(LAYOUT.length, dtype=np.int64)
    for arm, counts in sizes.items():
        for cell, n in enumerate(counts):
            for _ in range(n):
                values = {
                    "converted": float(rng.random() < 0.3), "spent": rng.uniform(0, 50),
                    "spent_before": rng.uniform(0, 50), "clicks": float(rng.integers(0, 5)),
                    "lists": float(rng.integers(1, 8)),
                }  # fmt: skip
                total += LAYOUT.contribution(arm, cell, LAYOUT.risen(values, np.full((2, len(LAYOUT.slots)), 0.5)))
    return Look(number, LAYOUT.sums(total))


def numbers(shown: Any) -> list[float]:
    if isinstance(shown, dict):
        return [n for value in shown.values() for n in numbers(value)]
    if isinstance(shown, list):
        return [n for value in shown for n in numbers(value)]
    return [float(shown)] if isinstance(shown, int | float) and not isinstance(shown, bool) else []


sizes = st.tuples(st.sampled_from([0, 1, 20, 49, 50, 60]), st.sampled_from([0, 10, 30, 49, 50, 80]))


@settings(max_examples=25, deadline=None)
@given(control=sizes, treatment=sizes)
@example(control=(49, 0), treatment=(50, 50))
@example(control=(0, 49), treatment=(49, 0))
def test_no_arm_below_min_reports_is_ever_shown(control: tuple[int, int], treatment: tuple[int, int]) -> None:
    shown = results(EXPERIMENT, [look({"global": control, "personal": treatment})])
    small = {"global": sum(control) < 50, "personal": sum(treatment) < 50}
    for arm, counts in (("global", control), ("personal", treatment)):
        assert (shown["arms"][arm]["all"] is None) == small[arm]
        assert [cell is None for cell in shown["arms"][arm]["cells"]] == [n < 50 for n in counts]
        assert (shown["arms"][arm]["note"] == HIDDEN) == (min(counts) < 50)
    analysis = shown["analysis"]
    if any(small.values()):
        ratio = analysis["sample_ratio"]
        assert ratio is None or ratio["p_value"] in (1.0, ALPHA)  # the alarm alone, no figure to count back from
        shown_shoppers = sum(
            sum(counts) for arm, counts in (("global", control), ("personal", treatment)) if not small[arm]
        )
        assert ratio is None or set(ratio["expected"].values()) <= {float(shown_shoppers)}
        for effect in (*analysis["effects"], *analysis["history"]):
            assert numbers({key: effect[key] for key in effect if key != "look"}) == []
    for effect in analysis["segments"]:
        level = ["new", "returning"].index(effect["level"])
        if min(control[level], treatment[level]) < 50:
            assert numbers({key: effect[key] for key in effect if key != "look"}) == []
    json.dumps(shown, allow_nan=False)


def test_before_the_first_sum_there_is_nothing_to_show() -> None:
    shown = results(EXPERIMENT, [])
    assert (shown["arms"], shown["analysis"], shown["looks"]) == ({}, None, [])
    assert shown["privacy"]["epsilon"] == 1.0


def test_results_say_whether_they_are_private() -> None:
    off = an_experiment(privacy={"epsilon": None, "min_reports": 1, "max_reports": 10})
    assert not results(off, [])["privacy"]["private"]
    assert results(EXPERIMENT, [])["privacy"]["private"]
