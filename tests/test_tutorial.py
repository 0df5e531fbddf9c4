"""The tutorial notebook runs from top to bottom without a warning of ours; its stored outputs are of such a run."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
STRICT = 'import warnings\nwarnings.filterwarnings("error", module=r"(data|recsys|federation)(\\.|$)")'


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_stored_outputs_are_small_and_of_one_run_from_top_to_bottom(notebook: nbformat.NotebookNode) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code)
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
    assert NOTEBOOK.stat().st_size < 100_000
    assert str(Path.home()) not in NOTEBOOK.read_text()


@pytest.mark.filterwarnings("default")  # Jupyter's own; the notebook's cells run under STRICT
def test_every_cell_runs_without_a_warning_of_ours(notebook: nbformat.NotebookNode) -> None:
    fresh = copy.deepcopy(notebook)
    fresh.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    client = NotebookClient(fresh, timeout=240, record_timing=False)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    printed = [output for cell in fresh.cells[1:] if cell.cell_type == "code" for output in cell.outputs]
    kept = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [(one.output_type, sorted(one.get("data", {}))) for one in printed] == [
        (one.output_type, sorted(one.get("data", {}))) for one in kept
    ]
