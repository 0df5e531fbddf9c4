"""`python -m tests.benchmarks.figures bench.json …`: the docs' plots, from what `ownshelf bench NAME --json` prints."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"


def draw(printed: Sequence[Path], folder: Path = FOLDER) -> list[Path]:
    """One PNG, named after its benchmark, for each file of printed JSON."""
    drawn = []
    for path in printed:
        result = json.loads(path.read_text())
        module = importlib.import_module(f"tests.benchmarks.{result['bench'].replace('-', '_')}")
        drawn.append(folder / f"{result['bench']}.png")
        module.plot(result["figures"], drawn[-1])
    return drawn


if __name__ == "__main__":
    for drawing in draw([Path(name) for name in sys.argv[1:]]):
        sys.stdout.write(f"{drawing}\n")
