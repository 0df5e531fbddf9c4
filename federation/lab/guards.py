"""Guards of a search: a setting that buys its figure by destroying another part of the lists is refused, with words.

A search that looks at one figure finds settings that are good for it alone: on a log of repeated views, four times the
NDCG over all items at a twentieth of that over new ones. So every setting is judged in each guarded part too, by the
same devices and the same sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

GUARDED = ("new", "cold", "repeat", "head", "tail")
"""Parts of recsys/evaluation/evaluation.py in which nothing may be lost."""
ERRORS = 1.96
"""Standard errors of the start's mean that a part may fall."""
FEWEST = 30
"""Devices of a part, for it to say anything."""


@dataclass(frozen=True)
class PartSum:
    """One part's figure over devices: how many have it, its sum and its sum of squares; nothing else leaves them."""

    devices: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: PartSum) -> PartSum:
        return PartSum(self.devices + other.devices, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean over devices; nan over none."""
        return self.total / self.devices if self.devices else float("nan")

    @property
    def error(self) -> float:
        """Standard error of the mean; nan over none."""
        if not self.devices:
            return float("nan")
        return float((max(self.squares / self.devices - self.mean**2, 0.0) / self.devices) ** 0.5)


Parts = Mapping[str, PartSum]


def refusal(figures: Parts, start: Parts, trend: Parts) -> str:
    """Say why a setting is refused, or "" for one that is not.

    figures, start, trend: of the setting, of what the search began with, and of the trend alone, over the same devices.
    In each of GUARDED the setting must stay above the lower end of the start's interval, and above the trend where the
    start is. A part of fewer than FEWEST devices refuses nothing.
    """
    reasons = []
    for part in GUARDED:
        mine, usual, plain = (of.get(part, PartSum()) for of in (figures, start, trend))
        if min(mine.devices, usual.devices) < FEWEST:
            continue
        low = usual.mean - ERRORS * usual.error
        if mine.mean < low:
            reasons.append(f"{part} {mine.mean:.3f} is below {low:.3f}, the lower end of what it began with")
        elif plain.devices and mine.mean < plain.mean <= usual.mean:
            reasons.append(f"{part} {mine.mean:.3f} is below the trend's {plain.mean:.3f}")
    return "; ".join(reasons)
