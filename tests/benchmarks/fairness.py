"""Fairness: what the gate stops and lets pass."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.fairness_gate import run_gate


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, object]:
    """Measure; about three minutes of CPU time."""
    return {"gate": run_gate(seed=seed, say=say)}
