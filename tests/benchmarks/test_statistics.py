"""The statistics benchmark at a tenth of its size: wide bounds, 100 data sets."""

from tests.benchmarks.statistics import run


def test_intervals_cover_and_equal_models_are_seldom_told_apart():
    found = run(data_sets=100, users=(100,))
    assert 0.88 <= found["coverage"] <= 1.0  # 95 ± 2.2
    assert found["aa_rejects"] <= 0.12  # 5 ± 2.2
    assert found["by_users"].keys() == {"100"}
