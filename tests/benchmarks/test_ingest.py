"""The ingest benchmark compares like with like: it raises unless both sides find the same, here on a small log."""

from tests.benchmarks.ingest import run


def test_ours_and_pandas_find_the_same_and_the_figures_have_their_names(tmp_path):
    figures = run(rows=20_000, workdir=tmp_path)
    assert figures["ours"]["result"] == figures["pandas"]["result"]
    assert {"speedup_over_pandas", "peak_gb", "rows_per_cpu_s"} <= figures.keys()
    assert 0 < figures["peak_gb"] < 1.5
    assert list(tmp_path.iterdir()) == []
