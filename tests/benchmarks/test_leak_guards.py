"""One seed of the benchmark: every kind planted once and found, nothing reported in careful set-ups."""

from data.leakage import REMEDIES
from tests.benchmarks.leak_guards import run


def test_every_kind_is_found_and_careful_set_ups_raise_no_alarm():
    figures = run(seed=7, seeds=1)
    assert figures["missed"] == []
    assert figures["alarms"] == []
    assert figures["planted"] == figures["found"] == figures["kinds"] == len(REMEDIES)
