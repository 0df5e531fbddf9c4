"""Hostile rows and files: the law holds, no error is a traceback, JSON is strict. `ownshelf bench hostile`."""

import pytest

from tests.benchmarks.hostile import run


@pytest.mark.parametrize("seed", [1, 2])
def test_no_row_of_a_hostile_log_is_lost(seed):
    figures = run(rows=250, seed=seed)
    assert figures["failures"] == []
    assert figures["read"] > 3
