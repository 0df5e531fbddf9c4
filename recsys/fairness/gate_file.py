"""The gate's written result, a JSON file beside the bundle's folder: what `activate` asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.atomic import write_atomically

MAX_BYTES = 1 << 20


def gate_path(bundle: Path) -> Path:
    """Name the file of a bundle's folder. It is beside the folder, whose files its manifest counts."""
    folder = bundle.absolute()
    return folder.with_name(f"{folder.name}.gate.json")


def write_gate(bundle: Path, result: Mapping[str, Any]) -> Path:
    """Write GateResult.to_dict beside the bundle, replacing that of an earlier judgement."""
    path = gate_path(bundle)
    write_atomically(path, (json.dumps(result, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    return path


def why_not_passed(bundle: Path, version: str, current: str | None) -> str | None:
    """Explain why a bundle has not passed against the current one; None where it has.

    A result counts for the very version it was made of, and against the version that it would replace.
    """
    path = gate_path(bundle)
    if not path.is_file():
        return "no gate result is beside it; `ownshelf gate NEW --against OLD --on DATASET` writes one"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("too large")
        result = json.loads(path.read_bytes())
        new, old, passed = str(result["new"]), str(result["old"]), result["passed"] is True
        failed = [str(check["name"]) for check in result["checks"] if check["passed"] is not True]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{path.name}: not a readable gate result"
    if new != version:
        return f"{path.name}: is of version {new}, not of {version}"
    if old != current:
        return f"{path.name}: was judged against {old}, and current is {current}"
    if not passed or failed:
        return f"the gate did not pass: {', '.join(failed) or 'no check is named'}"
    return None
