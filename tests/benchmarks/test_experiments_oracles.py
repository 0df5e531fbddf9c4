"""Golden figures of GrowthBook's gbstats and of spotify-confidence, and the benchmark that asks them anew."""

import io
import json

import pytest
from rich.console import Console

from tests.benchmarks import experiments_oracles

GOLDEN = json.loads(experiments_oracles.GOLDEN.read_text())
LIMITS = {
    "gbstats": {
        **dict.fromkeys(["mean", "ratio", "cuped", "always_valid", "always_valid_cuped"], 1e-9),
        "proportion": 1e-4,  # its variance is p(1 − p), ours with n/(n − 1)
        "relative": 0.03,  # its relative interval is symmetric, ours Fieller's
    },
    "spotify": {
        "mean": 1e-9,
        "proportion": 2e-4,  # normal tail and a variance by n
        "cuped": 1e-4,  # same
        **dict.fromkeys(["planned_low", "planned_high"], 2e-5),  # its recursion is by trapezoids
        **dict.fromkeys(["bounds_equal", "bounds_unequal", "bounds_early"], 1e-4),  # same
        "bounds_one": 1e-9,
    },
}


@pytest.mark.parametrize("tool", experiments_oracles.TOOLS)
def test_figures_are_theirs_where_definitions_are_one_and_near_where_they_differ(tool):
    apart = experiments_oracles.differences(tool, GOLDEN["case"], GOLDEN["figures"][tool])
    assert set(apart) == set(LIMITS[tool]) == set(GOLDEN["figures"][tool])
    assert {name: value for name, value in apart.items() if not value <= LIMITS[tool][name]} == {}


def test_the_benchmark_asks_each_tool_about_the_golden_case_and_shows_how_far_apart(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        experiments_oracles, "ask", lambda tool, case, _: asked.update({tool: case}) or GOLDEN["figures"][tool]
    )
    figures = experiments_oracles.run()
    json.dumps(figures, allow_nan=False)
    for case in asked.values():
        for arm in ("control", "treatment"):
            assert case[arm]["totals"] == pytest.approx(GOLDEN["case"][arm]["totals"], rel=1e-12)
    assert list(asked) == ["gbstats", "spotify"]
    console = Console(width=200, record=True, file=io.StringIO())
    experiments_oracles.show(figures, console)
    assert "always_valid_cuped" in console.export_text()
