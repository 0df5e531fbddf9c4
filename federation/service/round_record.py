"""What is public about a round: counts, how well devices were served, and the ε spent. Nothing about one device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from federation.learning.item_step import RoundSums
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.messages import Task

CLEAR = 3.0
"""A mean is given only when its count stands this many standard deviations of the noise above zero."""


def round_record(
    task: Task,
    sums: RoundSums,
    plan: PrivacyPlan,
    *,
    blocks: int,
    discarded: int,
    missing: int,
    taken: int,
    counted: int,
    broken: int,
    step: float,
    spent: int,
) -> dict[str, Any]:
    """Record a round after its item step, as JSON takes it.

    blocks: whose sums moved items. discarded: whose sums cannot be of honest reports. missing: without a sum. taken:
    acknowledged reports. counted, broken: reports in all sums, and seals that did not open. spent: rounds with a sum.
    train_ndcg, holdout_ndcg: mean NDCG@20 of the devices' last baskets, None where noise hides how many measured.
    """
    scale = next(part.scale for part in task.plan.parts if part.name == "metrics")
    noise = CLEAR * math.sqrt(2.0 * blocks) * task.plan.sigma / scale
    train_n, train_sum, held_n, held_sum = sums.metrics.tolist()
    return {
        "round": task.round,
        "task_id": task.task_id,
        "from_bundle": task.bundle_version,
        "blocks": blocks,
        "discarded_blocks": discarded,
        "missing_blocks": missing,
        "reports_taken": taken,
        "reports": counted,
        "broken_seals": broken,
        "step": step,
        "train_ndcg": train_sum / train_n if train_n > max(noise, 0.5) else None,
        "holdout_ndcg": held_sum / held_n if held_n > max(noise, 0.5) else None,
        "privacy": plan.statement(min(spent, plan.max_participations)),
    }


def words_of(privacy: Mapping[str, Any]) -> str:
    """State a plan in one sentence, for a bundle's manifest."""
    if not privacy["private"]:
        return "off: private sums without noise, on one machine; no guarantee"
    n = privacy["participations"]
    rounds = "1 round" if n == 1 else f"{n} rounds"
    return (
        f"private sums over HTTPS, ε={privacy['epsilon']:.3g} at δ={privacy['delta']:.0e} so far for the installation "
        f"that was asked most ({rounds}); one party's noise counted, no amplification claimed"
    )
