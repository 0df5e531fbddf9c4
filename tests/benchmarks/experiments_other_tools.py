"""Run by experiments-oracles in environments of their own: what other tools say of the case. Imports nothing of ours.

`python experiments_other_tools.py gbstats|spotify CASE.json` prints JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

Case = dict[str, Any]


def gbstats(case: Case) -> dict[str, list[float]]:
    """GrowthBook's engine: effect, low, high and p of Welch, CUPED, ratio and always-valid tests."""
    from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
    from gbstats.models.statistics import (
        ProportionStatistic,
        RatioStatistic,
        RegressionAdjustedStatistic,
        SampleMeanStatistic,
        compute_theta,
    )

    def mean(arm: Case, x: str) -> Any:
        return SampleMeanStatistic(n=arm["n"], sum=arm["totals"][x], sum_squares=arm["products"][f"{x}*{x}"])

    def said(test: Any) -> list[float]:
        return [test.point_estimate, *test.confidence_interval, test.p_value]

    arms = [case["control"], case["treatment"]]
    plain = [mean(arm, "spent") for arm in arms]
    bought = [ProportionStatistic(n=arm["n"], sum=arm["totals"]["bought"]) for arm in arms]
    ratio = [
        RatioStatistic(arm["n"], mean(arm, "spent"), mean(arm, "visits"), arm["products"]["spent*visits"])
        for arm in arms
    ]
    adjusted = [
        RegressionAdjustedStatistic(
            arm["n"], mean(arm, "spent"), mean(arm, "before"), arm["products"]["before*spent"], 0
        )
        for arm in arms
    ]
    theta = compute_theta(*adjusted)
    for one in adjusted:
        one.theta = theta
    once = FrequentistConfig(difference_type="absolute", alpha=case["alpha"])
    always = SequentialConfig(
        difference_type="absolute", alpha=case["alpha"], sequential_tuning_parameter=case["planned"]
    )
    relative = FrequentistConfig(difference_type="relative", alpha=case["alpha"])
    return {
        "mean": said(TwoSidedTTest(*plain, once)),
        "proportion": said(TwoSidedTTest(*bought, once)),
        "ratio": said(TwoSidedTTest(*ratio, once)),
        "cuped": said(TwoSidedTTest(*adjusted, once)),
        "always_valid": said(SequentialTwoSidedTTest(*plain, always)),
        "always_valid_cuped": said(SequentialTwoSidedTTest(*adjusted, always)),
        "relative": said(TwoSidedTTest(*plain, relative)),
    }


def spotify(case: Case) -> dict[str, list[float]]:
    """spotify-confidence: effect, low, high and p of Welch, z and CUPED; bounds and intervals of planned looks."""
    import numpy as np
    import pandas as pd
    from spotify_confidence import StudentsTTest, ZTest, ZTestLinreg
    from spotify_confidence.analysis.frequentist.confidence_computers.z_test_computer import sequential_bounds

    def frame(looks: list[tuple[Case, Case]], final: float) -> Any:
        rows = [
            {
                "arm": name, "look": look, "n": arm["n"], "final": final,
                "spent": arm["totals"]["spent"], "spent2": arm["products"]["spent*spent"],
                "bought": arm["totals"]["bought"], "before": arm["totals"]["before"],
                "before2": arm["products"]["before*before"], "cross": arm["products"]["before*spent"],
            }
            for look, arms in enumerate(looks, 1)
            for name, arm in zip(("control", "treatment"), arms, strict=True)
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def said(test: Any, **arguments: Any) -> list[float]:
        found = test.difference("control", "treatment", **arguments)
        return [float(found[key].iloc[-1]) for key in ("difference", "ci_lower", "ci_upper", "p-value")]

    both = frame([(case["control"], case["treatment"])], case["planned"])
    size = {"interval_size": 1 - case["alpha"]}
    mean = ("spent", "spent2", "n")
    figures = {
        "mean": said(StudentsTTest(both, *mean, "arm", **size)),
        "proportion": said(ZTest(both, "bought", "bought", "n", "arm", **size)),
        "cuped": said(ZTestLinreg(both, *mean, "before", "before2", "cross", "arm", **size)),
    }
    looks = [(look["control"], look["treatment"]) for look in case["looks"]]
    several = frame(looks, case["planned"])
    found = ZTest(several, *mean, "arm", ordinal_group_column="look", **size).difference(
        "control", "treatment", groupby="look", final_expected_sample_size_column="final"
    )
    figures["planned_low"] = found["adjusted ci_lower"].astype(float).tolist()
    figures["planned_high"] = found["adjusted ci_upper"].astype(float).tolist()
    for name, times in case["times"].items():
        figures[f"bounds_{name}"] = sequential_bounds(np.array(times), case["alpha"], 2).bounds.tolist()
    return figures


if __name__ == "__main__":
    with open(sys.argv[2]) as file:
        json.dump({"gbstats": gbstats, "spotify": spotify}[sys.argv[1]](json.load(file)), sys.stdout)
