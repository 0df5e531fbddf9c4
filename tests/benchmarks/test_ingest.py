"""The ingest benchmark compares like with like: it raises unless all sides find the same, here on a small log."""

import pytest

from tests.benchmarks import ingest


def test_ours_and_pandas_find_the_same_and_the_figures_have_their_names(tmp_path):
    figures = ingest.run(rows=20_000, workdir=tmp_path, rounds=1)
    assert {"speedup_over_pandas", "speedup_over_tuned_pandas", "peak_gb", "rows_per_cpu_s", "load"} <= figures.keys()
    assert 0 < figures["peak_gb"] < 1.5
    assert list(tmp_path.iterdir()) == []


def test_sides_that_disagree_are_no_figure(tmp_path, monkeypatch):
    def measured(side, path):
        return {"result": side, "cpu_s": 1.0, "wall_s": 1.0, "peak_gb": 0.1}

    monkeypatch.setattr(ingest, "_measure", measured)
    with pytest.raises(RuntimeError, match="disagree"):
        ingest.run(rows=100, workdir=tmp_path, rounds=1)
