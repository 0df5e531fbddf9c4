"""The wheel: it holds the package and nothing of the repository around it, and what it holds works."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("data", "recsys", "federation", "serving")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`ownshelf` of the wheel, with this environment's libraries and without the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "serving.cli.main", *arguments]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} - set(PACKAGES) == {"ownshelf-0.1.0.dist-info"}
    assert not [name for name in names if "bench" in name.lower()]


def test_every_file_of_the_packages_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    here = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts)
    }
    assert len(here) > 300
    assert here <= held


def test_a_wheel_has_no_benchmarks_and_says_so_in_one_line(installed: Path) -> None:
    assert "bench" not in run(installed, "--help").stdout
    for arguments in (("bench", "simulation", "--json"), ("bench",), ("bench", "x", "--seed", "3")):
        refused = run(installed, *arguments)
        assert refused.returncode == 1
        assert refused.stderr == "error: bench: needs a checkout of the repository, which has the benchmarks\n"


def test_a_checkout_has_them() -> None:
    assert "bench" in run(ROOT, "--help").stdout
    refused = run(ROOT, "bench", "nonsense")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: bench 'nonsense': must be one of ")
    assert "simulation" in refused.stderr
