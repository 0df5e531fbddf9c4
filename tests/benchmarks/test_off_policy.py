"""The benchmark runs at a tiny size, without its oracle, whose figures are golden in tests/recsys/off_policy."""

import sys
from pathlib import Path

from tests.benchmarks import off_policy


def test_coverage_and_the_open_bandit_report_are_printed(monkeypatch):
    monkeypatch.setattr(off_policy, "WORLDS", {"plenty": off_policy.WORLDS["plenty"]})
    figures = off_policy.run(worlds=8, oracle=False)
    coverage = figures["coverage"]["plenty"]
    assert set(coverage["held"]) == {
        f"{one}/{kind}" for one in ("ips", "snips", "clipped", "dr") for kind in ("bootstrap", "asymptotic")
    }
    assert all(0.5 <= share <= 1 for share in coverage["held"].values())
    assert figures["open_bandit"]["rounds"] == 30_000


def test_the_oracle_imports_nothing_that_lies_beside_it(tmp_path, monkeypatch):
    """`statistics` is a benchmark here, and a library of Python's that an oracle's own packages import."""
    (tmp_path / "statistics.py").write_text("raise ImportError")
    (tmp_path / "oracle.py").write_text("import statistics\nprint('{}')")
    monkeypatch.setattr(off_policy, "environment", lambda _: Path(sys.executable))
    monkeypatch.setattr(off_policy, "ORACLE", tmp_path / "oracle.py")
    monkeypatch.setattr(off_policy, "CASES", dict(list(off_policy.CASES.items())[:1]))
    assert list(off_policy.ask_oracle(lambda _: None)["figures"].values()) == [{}]
