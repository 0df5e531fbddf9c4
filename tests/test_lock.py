"""The lock file: everything that the image installs, by version and hash, as pyproject.toml asks for it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ("postgres", "otel", "hosts")
APART = {"torch"}
"""From an index of its own, which has other hashes than PyPI (Dockerfile)."""

LINE = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.+!]+)((?: --hash=sha256:[0-9a-f]{64})+)")


def locked() -> dict[str, Version]:
    text = re.sub(r"\s*\\\n\s*", " ", (ROOT / "requirements.lock").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line[:80] for line, match in zip(lines, found, strict=True) if not match]
    pairs = [(canonicalize_name(match[1]), Version(match[2])) for match in found if match]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


LOCKED = locked()


def asked_for() -> list[Requirement]:
    """What the project itself names."""
    project = PROJECT["project"]
    named = [*project["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in EXTRAS:
        named += project["optional-dependencies"][extra]
    return [Requirement(one) for one in named]


@pytest.mark.parametrize("asked", asked_for(), ids=str)
def test_what_the_project_asks_for_is_locked_in_a_version_that_it_accepts(asked: Requirement) -> None:
    name = canonicalize_name(asked.name)
    if name in APART:
        assert name not in LOCKED
        return
    assert asked.specifier.contains(LOCKED[name], prereleases=True), f"{asked}: {LOCKED[name]} is locked; `make lock`"


def test_what_locked_packages_need_is_locked_too() -> None:
    """By the metadata of those installed here in the locked version: all but a few."""
    missing, seen = [], 0
    environment = {**default_environment(), "extra": ""}
    for name in (*LOCKED, *APART):
        try:
            needed = [Requirement(one) for one in requires(name) or ()]
        except PackageNotFoundError:
            continue
        seen += 1
        for one in needed:
            if name in APART and one.name.startswith(("nvidia", "cuda", "triton")):  # not of the CPU index
                continue
            if one.marker is None or one.marker.evaluate(environment):
                held = LOCKED.get(canonicalize_name(one.name))
                if one.name not in APART and (held is None or not one.specifier.contains(held, prereleases=True)):
                    missing.append(f"{name} needs {one}, {held} is locked")
    assert seen > 0.9 * len(LOCKED)
    assert missing == []
