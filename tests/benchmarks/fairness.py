"""Fairness: an audit by private sums, a floor under the tail's exposure, and what the gate stops and lets pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.fairness_audit import run_audit
from tests.benchmarks.fairness_floor import plot_floor, run_floor
from tests.benchmarks.fairness_gate import run_gate


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Measure the audit on MovieLens-100K, floor and gate on Online Retail; about five minutes of CPU time."""
    audit, floor = run_audit(seed=seed, say=say), run_floor(seed=seed, say=say)
    named = (
        "audit_error_se",
        "audit_error_se_worst",
        "attribute_attack_auc",
        "attribute_attack_auc_se",
        "group_prior_auc",
        "attack_in_the_clear_auc",
    )
    return {
        **{name: audit.pop(name) for name in named},
        **{name: floor.pop(name) for name in ("tail_exposure", "tail_floor", "ndcg_loss")},
        "gate": run_gate(seed=seed, say=say),
        "audit": audit,
        "floor": floor,
    }


def plot(figures: Mapping[str, Any], path: Path) -> None:
    """Plot what the floor costs and how it is held."""
    plot_floor(figures["floor"] | {"tail_floor": figures["tail_floor"]}, path)
