from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys.fairness.gate_file import gate_path, why_not_passed, write_gate

PASSED: dict[str, Any] = {"passed": True, "new": "n", "old": "o", "checks": [{"name": "quality", "passed": True}]}


def test_a_passed_result_counts_for_its_own_version_against_the_current_one(tmp_path: Path) -> None:
    path = write_gate(tmp_path / "newer", PASSED)
    assert path == gate_path(tmp_path / "newer") == tmp_path / "newer.gate.json"
    assert why_not_passed(tmp_path / "newer", "n", "o") is None
    assert "is of version n" in str(why_not_passed(tmp_path / "newer", "m", "o"))
    assert "judged against o" in str(why_not_passed(tmp_path / "newer", "n", "p"))
    assert "judged against o" in str(why_not_passed(tmp_path / "newer", "n", None))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (PASSED | {"passed": False}, "did not pass"),
        (PASSED | {"passed": "true"}, "did not pass"),
        (PASSED | {"checks": [{"name": "stale", "passed": False}]}, "did not pass: stale"),
        ({}, "not a readable"),
        ([], "not a readable"),
        (PASSED | {"checks": None}, "not a readable"),
    ],
)
def test_anything_else_is_no_pass(tmp_path: Path, content: Any, match: str) -> None:
    gate_path(tmp_path / "b").write_text(json.dumps(content))
    assert match in str(why_not_passed(tmp_path / "b", "n", "o"))


def test_a_missing_or_broken_file_is_no_pass_and_no_path_is_told(tmp_path: Path) -> None:
    assert "no gate result" in str(why_not_passed(tmp_path / "b", "n", "o"))
    gate_path(tmp_path / "b").write_bytes(b"\xff{")
    said = str(why_not_passed(tmp_path / "b", "n", "o"))
    assert "not a readable" in said
    assert str(tmp_path) not in said
