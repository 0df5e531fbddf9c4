"""A command loads what it needs: a mistake is told at once, and no small command waits for a model's libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "faiss", "scipy", "sklearn", "matplotlib", "sqlalchemy", "polars", "pandas", "fastapi", "uvicorn",
    "dp_accounting",
}  # fmt: skip
PROGRAM = """
import json, sys
from serving.cli.main import main
try:
    main()
except SystemExit as end:
    code = end.code
print(json.dumps({"code": code, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""
WIDE_TABLE = """
from rich.table import Table
from serving.cli.output import console
table = Table(*(f"a column {at}" for at in range(30)))
table.add_row(*[".123-.456"] * 30)
console.print(table)
"""
MODEL = {"torch", "faiss", "sklearn", "matplotlib", "sqlalchemy", "fastapi", "uvicorn", "dp_accounting", "pandas"}


def loaded_by(folder: Path, *arguments: str) -> tuple[int, set[str]]:
    """The exit code of a command in a process of its own, and which of HEAVY it loaded."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True, cwd=folder
    )
    told = json.loads(run.stdout.splitlines()[-1])
    return told["code"], HEAVY & set(told["loaded"])


@pytest.mark.parametrize(
    ("command", "code", "allowed"),
    [
        ("--help", 0, set()),
        ("nonsense", 2, set()),
        ("ingest nofile.csv --out shop", 1, {"polars"}),
        ("ingest --help", 0, {"polars"}),
        ("keys list --state state", 0, {"sqlalchemy"}),
        ("keys create --state state --scopes app", 0, {"sqlalchemy"}),
        ("certs certificates", 0, set()),
        ("plan --help", 0, set()),
        ("experiment --help", 0, set()),
        ("experiment list --service http://127.0.0.1:9", 1, HEAVY - MODEL),
        ("device --help", 0, HEAVY - MODEL),
        ("device show --home nowhere", 1, HEAVY - MODEL),
        ("custodian --help", 0, {"sqlalchemy", "fastapi", "uvicorn"}),
    ],
)
def test_a_command_loads_no_more_than_it_needs(tmp_path: Path, command: str, code: int, allowed: set[str]) -> None:
    (tmp_path / "state").mkdir()
    ended, loaded = loaded_by(tmp_path, *command.split())
    assert ended == code
    assert loaded <= allowed


def test_a_table_in_a_pipe_has_its_cells_whole() -> None:
    run = subprocess.run([sys.executable, "-c", WIDE_TABLE], capture_output=True, text=True, check=True)
    assert max(line.count(".123-.456") for line in run.stdout.splitlines()) == 30
    assert "…" not in run.stdout
