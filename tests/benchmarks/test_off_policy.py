"""The benchmark runs at a tiny size, without its oracle, whose figures are golden in tests/recsys/off_policy."""

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
