"""A device's last interleaved list, as far as credit needs it: whose picks are not clicked yet, how many were clicked.

In the vault alone; prints no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from recsys.experiments.device.interleaving import CHALLENGER, INCUMBENT


@dataclass(frozen=True)
class OpenList:
    """made_at: µs since 1970 UTC. picks: item_ids of the incumbent and of the challenger that were not clicked yet.

    clicks: how many of each were. Items that are nobody's pick are not kept.
    """

    made_at: int
    picks: tuple[tuple[str, ...], tuple[str, ...]] = field(repr=False)
    clicks: tuple[int, int] = field(default=(0, 0), repr=False)

    @staticmethod
    def of(made_at: int, item_ids: Sequence[str], picked_by: Sequence[int]) -> OpenList:
        """Remember a list that was just drafted.

        picked_by: of recsys/experiments/device/interleaving.py, one an item.
        """
        mine, theirs = (
            tuple(item_id for item_id, team in zip(item_ids, picked_by, strict=True) if team == side)
            for side in (INCUMBENT, CHALLENGER)
        )
        return OpenList(made_at, (mine, theirs))

    @property
    def preference(self) -> int:
        """−1, 0 or 1: whose picks were clicked more often, 1 the challenger's (as interleaving.preference)."""
        incumbent, challenger = self.clicks
        return (challenger > incumbent) - (challenger < incumbent)

    def clicked(self, item_id: str) -> OpenList:
        """Note a click; the list stays the same for an item that is nobody's pick or was clicked before."""
        for side, items in enumerate(self.picks):
            if item_id in items:
                picks, clicks = list(self.picks), list(self.clicks)
                picks[side] = tuple(item for item in items if item != item_id)
                clicks[side] += 1
                return replace(self, picks=(picks[0], picks[1]), clicks=(clicks[0], clicks[1]))
        return self

    def encode(self) -> list[Any]:
        """Encode for the vault's JSON."""
        return [self.made_at, self.picks, self.clicks]

    @staticmethod
    def decode(stored: list[Any]) -> OpenList:
        """Decode the list of encode."""
        made_at, (mine, theirs), (incumbent, challenger) = stored
        return OpenList(made_at, (tuple(mine), tuple(theirs)), (incumbent, challenger))
