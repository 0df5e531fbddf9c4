from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from tests import audit

GOOD = {"name": "good", "version": "1.0", "vulns": []}
HOLE = {"name": "bad", "version": "2.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "aliases": []}]}
UNKNOWN = {"name": "far", "skip_reason": "Dependency not found on PyPI and could not be audited: far (3.0)"}
OURS = {"name": "ownshelf", "skip_reason": "distribution marked as editable"}


def test_what_could_not_be_looked_up_is_said_in_one_line() -> None:
    holes, missing = audit.findings({"dependencies": [GOOD, UNKNOWN, UNKNOWN, OURS]})
    assert holes == []
    assert missing is not None
    assert missing.startswith("pip-audit: 2 of 3 packages could not be looked up")
    assert "\n" not in missing


def test_a_package_that_is_ours_is_not_one_that_is_missing() -> None:
    assert audit.findings({"dependencies": [GOOD, OURS]}) == ([], None)


def test_a_hole_is_told_with_the_version_that_has_it_no_more() -> None:
    assert audit.findings({"dependencies": [GOOD, HOLE]}) == (["bad 2.0: PYSEC-1, fixed in 2.1"], None)


@pytest.mark.parametrize(
    ("packages", "code", "out", "err"),
    [
        ([GOOD], 0, "pip-audit: no known hole in any package\n", ""),
        ([GOOD, UNKNOWN], 0, "", "pip-audit: 1 of 2 packages could not"),
        ([HOLE, UNKNOWN], 1, "bad 2.0: PYSEC-1", "pip-audit: 1 of 2 packages could not"),
        (None, 1, "", "Traceback"),
    ],
)
def test_it_fails_for_holes_and_for_nothing_that_a_mirror_cannot_say(
    packages: Any, code: int, out: str, err: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    done = SimpleNamespace(stdout=told, stderr="Traceback" if packages is None else "", returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main() == code
    said = capsys.readouterr()
    assert said.out.startswith(out)
    assert said.err.startswith(err)
    assert bool(said.err) == bool(err)
