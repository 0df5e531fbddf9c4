"""The benchmark runs at a small size, and interleaving needs fewer sessions than an A/B test there already."""

from tests.benchmarks import interleaving


def test_interleaving_needs_fewer_sessions():
    figures = interleaving.run(n_shoppers=400, n_items=100, sessions=40_000, runs=20)
    alike = figures["pairs"]["large, alike"]
    assert alike["sessions_ratio"] < alike["sessions_ratio_all_credited"] < 0.5
    assert figures["pairs"]["large"]["sessions_ratio"] < 1
    assert figures["a_a"]["same_ranker_sessions_with_preference"] == 0
    assert figures["a_a"]["equally_good"]["t_test"] <= 0.3
    assert set(figures["power"]) == {"wanted", "interleaving", "ab_clicks", "runs"}
