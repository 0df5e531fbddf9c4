"""Team-draft interleaving: one list made of two rankers', and which of them its clicks speak for. On the device.

Two captains pick in turns, a coin says who is first in each pair of picks (Radlinski, Kurup and Joachims 2008). Every
shopper sees both rankers, so what differs between shoppers falls out. Not a test:
recsys/experiments/analysis/preferences.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from recsys.experiments.definition.metric_definitions import LOST, SESSIONS_CAP, WON

INCUMBENT, CHALLENGER, NOBODY = 0, 1, -1

CREDIT_S = 1_800
"""How long an interleaved list's clicks count: the pause after which analytics speak of another session."""

Items = npt.NDArray[np.int32]
PickedBy = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Draft:
    """An interleaved list: items (k,) int32, and teams (k,) int8: whose pick each was, or NOBODY's.

    NOBODY's are: an item that both would have picked at the start of a pair, and the pair's other if that is the same
    for both too, since a coin alone would say whose they are (the mean difference stays, a sixth to six sevenths of the
    sessions are saved: `ownshelf bench interleaving`);
    what fills a list up once one ranker could not answer the other's pick for lack of items, whoever began: so that a
    longer list wins nothing by it.
    """

    items: Items
    picked_by: PickedBy


def coins(k: int, rng: np.random.Generator, batch: int | None = None) -> Flags:
    """Toss who picks first in each pair of a list of k, (⌈k/2⌉,), or (batch, ⌈k/2⌉). True: the challenger."""
    shape = ((k + 1) // 2,) if batch is None else (batch, (k + 1) // 2)
    return rng.random(shape) < 0.5


def team_draft(incumbent: Items, challenger: Items, k: int, heads: Flags) -> Draft:
    """Draft the first k of two lists.

    heads: of `coins`. Shorter lists make a shorter draft.

    Raises DataError for k < 1, a list with an item twice, or too few coins.
    """
    lists = (incumbent.tolist(), challenger.tolist())
    if k < 1 or any(len(set(items_of)) < len(items_of) for items_of in lists) or len(heads) < (k + 1) // 2:
        raise DataError(f"k={k}, {len(heads)} coins: k must be 1 or more, a coin for each pair, and no item twice")
    items: list[int] = []
    picked_by: list[int] = []

    def left(team: int) -> list[int]:
        return [item for item in lists[team] if item not in items]

    while len(items) < k and _can_go_on(left(INCUMBENT), left(CHALLENGER), alone=len(items) == k - 1):
        first, shared = int(heads[len(items) // 2]), True
        for captain in (first, 1 - first)[: k - len(items)]:
            shared = shared and left(INCUMBENT)[:1] == left(CHALLENGER)[:1]
            items.append(left(captain)[0])
            picked_by.append(NOBODY if shared else captain)
    rest = [*left(INCUMBENT), *(item for item in left(CHALLENGER) if item not in lists[INCUMBENT])][: k - len(items)]
    return Draft(
        np.array([*items, *rest], dtype=np.int32), np.array([*picked_by, *[NOBODY] * len(rest)], dtype=np.int8)
    )


def _can_go_on(incumbent: list[int], challenger: list[int], *, alone: bool) -> bool:
    """Check that both can pick, whoever begins. alone: there is room for one pick only."""
    if not incumbent or not challenger:
        return False
    return alone or (challenger != incumbent[:1] and incumbent != challenger[:1])


def team_drafts(incumbent: Items, challenger: Items, heads: Flags) -> tuple[Items, PickedBy]:
    """Draft many lists at once, each as `team_draft` makes it.

    Lists (batch, k) without padding → items, picked_by (batch, k).

    Full lists only: with k items in each, no ranker runs out before the draft has k.
    """
    batch, k = incumbent.shape
    lists = np.stack([incumbent, challenger])
    used = np.zeros(lists.shape, dtype=np.bool_)
    items = np.empty((batch, k), dtype=np.int32)
    picked_by = np.empty((batch, k), dtype=np.int8)
    rows = np.arange(batch)
    shared = np.zeros(batch, dtype=np.bool_)
    for place in range(k):
        captain = heads[:, place // 2].astype(np.int8) ^ np.int8(place % 2)
        first = used.argmin(axis=2)
        nexts = np.take_along_axis(lists, first[:, :, None], axis=2)[:, :, 0]
        shared = (nexts[0] == nexts[1]) & (shared | (place % 2 == 0))
        picked = nexts[captain, rows]
        used |= lists == picked[:, None]
        items[:, place], picked_by[:, place] = picked, np.where(shared, NOBODY, captain)
    return items, picked_by


def preference(picked_by: PickedBy, clicked: Flags) -> npt.NDArray[np.int8]:
    """Judge whose picks were clicked more often: −1, 0 or 1, which is the challenger's.

    picked_by and clicked (…, k) → (…,).
    """
    ours = (clicked & (picked_by == CHALLENGER)).sum(axis=-1)
    theirs = (clicked & (picked_by == INCUMBENT)).sum(axis=-1)
    return np.asarray(np.sign(ours - theirs), dtype=np.int8)


@dataclass(frozen=True)
class Tally:
    """A device's own account: sessions that the challenger won and lost, 0..cap each. Only grows; prints no value."""

    wins: int = 0
    losses: int = 0
    cap: int = SESSIONS_CAP

    def __post_init__(self) -> None:
        if self.cap < 1 or not (0 <= self.wins <= self.cap and 0 <= self.losses <= self.cap):
            raise DataError(f"cap={self.cap}: must be 1 or more, and wins and losses 0..cap")

    def __repr__(self) -> str:
        return "Tally(…)"

    def after(self, preference: int) -> Tally:
        """Add one session: −1, 0 or 1. Raises DataError for another value."""
        if preference not in (-1, 0, 1):
            raise DataError("preference: must be -1, 0 or 1")
        won, lost = min(self.wins + (preference > 0), self.cap), min(self.losses + (preference < 0), self.cap)
        return replace(self, wins=won, losses=lost)

    def values(self) -> dict[str, float]:
        """Return what a preference lies between, as the layout of a contribution asks for it."""
        return {WON: float(self.wins), LOST: float(self.losses)}
