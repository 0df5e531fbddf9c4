import json

import pytest

from tests.benchmarks import experiments
from tests.benchmarks.experiments_widths import SETS, shipped


def test_the_benchmark_runs_small_and_its_figures_are_json(tmp_path):
    figures = experiments.run(seed=1, n=1, per_look=400, looks=4, charts=tmp_path)
    json.dumps(figures, allow_nan=False)
    assert set(figures["aa_any_look"]) == {"group_sequential", "always_valid", "fixed_peeked"}
    assert set(figures["aa_any_look"]["always_valid"]) == {"conversion", "revenue", "clicks_per_list"}
    assert {path.name for path in tmp_path.iterdir()} == {"experiments-any-look.png", "experiments-widths.png"}
    for name in ("power_ratio", "srm_false_alarm", "srm_power_52_48", "fdr_segments", "width_ratio_eps_0.5"):
        assert figures[name] >= 0
    assert figures["verdict_interval_agree"] == 10
    assert figures["dead_arm_caught"] == 1.0
    assert set(figures["aa_any_look_more"]) == {"retention", "quantile", "funnel"}


def test_an_interval_under_half_an_epsilon_is_at_most_1_4_times_as_wide():
    """20,000 shoppers an arm, 4 % conversion, δ = 1e-6, one batch: alone, and with all of a full set of metrics."""
    assert 1.0 < shipped(SETS["conversion"]) < 1.15
    assert 1.0 < shipped(SETS["and a ratio"]) < 1.4


@pytest.mark.parametrize("name", SETS)
def test_fewer_shoppers_and_less_epsilon_cost_more(name):
    metrics = SETS[name]
    assert shipped(metrics) < shipped(metrics, n=10_000)
    assert shipped(metrics) < shipped(metrics, epsilon=0.3)
