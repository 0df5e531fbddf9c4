"""How rounds follow each other: what is asked of how many devices, for how long, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import FederationError
from federation.learning.item_step import GUARDED, StepConfig
from federation.private_sum.sealing import Suite


@dataclass(frozen=True)
class RoundSettings:
    """The coordinator's own choices; what is promised to devices is in the privacy plan.

    rounds: after so many item steps training ends. mix: whether the weights of the bundle's mix are learned then, in
    six rounds more; a bundle says whether they are. block_items: rows of a block; 2,048 of 64 dimensions are half a
    megabyte. goal_reports: with so many reports, and min_reports in every block, a round closes before its deadline.
    window_s: from opening to deadline. pause_s: from one round's end, also a failed one's, to the next one's opening.
    issuer_reports: the most reports that one issuer's tokens may bring to a round (Sybil bound). keep_bundles: releases
    kept for rollback and for devices that hold an older one; keep_sums: rounds whose sums are kept. step: guarded
    against devices that lie, for nobody vouches for a live one (docs/poisoning.md).
    """

    rounds: int = 100
    block_items: int = 2_048
    goal_reports: int = 200
    window_s: int = 3_600
    pause_s: int = 60
    issuer_reports: int = 100_000
    keep_bundles: int = 5
    keep_sums: int = 5
    suite: Suite = Suite.X25519
    step: StepConfig = GUARDED
    mix: bool = True

    def __post_init__(self) -> None:
        bounds = {
            "rounds": (0, 1_000_000),
            "block_items": (1, 65_536),
            "goal_reports": (1, 100_000_000),
            "window_s": (1, 7 * 86_400),
            "pause_s": (0, 7 * 86_400),
            "issuer_reports": (1, 100_000_000),
            "keep_bundles": (2, 1_000),
            "keep_sums": (1, 1_000),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise FederationError(f"{name}={getattr(self, name)}: must be {low}..{high}")
