"""Node and the SDK's development tools, for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
BROWSER = ROOT / "serving" / "browser"


def node(script: Path | str, *arguments: str, stdin: str = "") -> str:
    """What a script prints; its complaints are the test's."""
    done = subprocess.run(
        ["node", str(script), *arguments], input=stdin, capture_output=True, text=True, check=False, cwd=BROWSER
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def tool(name: str) -> Path:
    """A program that `npm ci` has put there."""
    path = BROWSER / "node_modules" / ".bin" / name
    assert path.exists(), f"{path}: is missing; `make setup` runs npm ci"
    return path.resolve()
