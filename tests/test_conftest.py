"""What the suite does for whoever runs it: a failure is told as it happens, a test that hangs ends the run in time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

SLOW = """
import time

def test_first() -> None:
    assert 1 == 2, "planted"

def test_second() -> None:
    time.sleep(60)
"""
HANGS = """
from hypothesis import given, strategies as st

@given(st.integers())
def test_hangs(n: int) -> None:
    while True:
        try:
            while True:
                n += 1
        except BaseException:  # what retries, or cleans up, would swallow the exception of a signal
            pass
"""


def pytest_on(folder: Path, text: str, *options: str) -> subprocess.Popen[str]:
    """The suite's own configuration and conftest on a file of tests."""
    (folder / "test_planted.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), *options]
    return subprocess.Popen(
        [*command, "-p", "tests.conftest", str(folder / "test_planted.py")],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failure_is_told_while_the_others_still_run(tmp_path: Path, workers: str) -> None:
    with pytest_on(tmp_path, SLOW, "-n", workers) as run:
        try:
            assert run.stderr is not None
            line = next(line for line in run.stderr if line.startswith("FAILED"))
            assert "test_planted.py::test_first (call): " in line
            assert "planted" in line
            assert run.poll() is None
        finally:
            run.kill()


def test_a_test_that_swallows_everything_is_ended_all_the_same(tmp_path: Path) -> None:
    with pytest_on(tmp_path, HANGS, "-n", "0", "-o", "timeout=2") as run:
        told = "".join(run.communicate(timeout=120))
    assert run.returncode == 1
    assert "test_hangs" in told
    assert "Timeout" in told
