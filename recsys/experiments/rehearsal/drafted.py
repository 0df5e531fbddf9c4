"""Interleaving on a log: each visit's list as two arms would have drafted it, and which sessions its clicks decide.

Assumed as in recsys/experiments/rehearsal/response.py, and that a leading event of an item on the drafted list is a
click there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.experiments.definition.definition import BOTH, DAY_S, Experiment
from recsys.experiments.device.interleaving import CREDIT_S, NOBODY, PickedBy, Tally, coins, preference, team_draft
from recsys.experiments.device.outcomes import MICROS
from recsys.experiments.rehearsal.arm_lists import Lists
from recsys.experiments.rehearsal.logged import EnrolledShopper, LoggedVisits
from recsys.experiments.rehearsal.response import Scope, ShopperResponse

DRAFTED = (
    "an event that leads, of an item on a drafted list and within half an hour, is a click on that list wherever the "
    "item stands; so without any lift the arm is preferred whose picks hold more of what shoppers wanted anyway"
)
"""What the rehearsal of an interleaved design says of itself besides."""


@dataclass(frozen=True, eq=False)
class Sessions:
    """Sessions in the order of the lists. settled_at (n,): µs, when its device counts it. preference (n,): −1, 0, 1."""

    settled_at: npt.NDArray[np.int64]
    preference: npt.NDArray[np.int8]

    def values(self, first: int, count: int, cap: int, now: int) -> Mapping[str, float]:
        """Count sessions won and lost up to `now` (µs) of the shopper whose lists are first..first+count-1."""
        part = slice(first, first + count)
        decided = self.preference[part][self.settled_at[part] <= now]
        wins, losses = (min(int((decided == side).sum()), cap) for side in (1, -1))
        return Tally(wins, losses, cap).values()


def drafts(
    experiment: Experiment, made: Mapping[str, Lists], rng: np.random.Generator
) -> tuple[dict[str, Lists], PickedBy]:
    """Draft both arms' lists.

    Returns control's lists and the drafts (n, k), −1 behind their end; and whose pick each place is (n, k).
    """
    control = made[experiment.control]
    (other,) = (lists for arm, lists in made.items() if arm != experiment.control)
    drafted, picked_by = np.full_like(control, -1), np.full(control.shape, NOBODY, dtype=np.int8)
    k = control.shape[1]
    for row, (ours, theirs) in enumerate(zip(control, other, strict=True)):
        draft = team_draft(ours[ours >= 0], theirs[theirs >= 0], k, coins(k, rng))
        drafted[row, : len(draft.items)], picked_by[row, : len(draft.items)] = draft.items, draft.picked_by
    return {experiment.control: control, BOTH: drafted}, picked_by


def sessions_of(
    experiment: Experiment,
    logged: LoggedVisits,
    parts: Sequence[EnrolledShopper],
    drafted: tuple[Lists, PickedBy],
    scope: Scope,
    answer: ShopperResponse,
) -> Sessions:
    """Judge who wins each visit of everybody who came in, by the clicks within half an hour of its beginning.

    A session counts when the next list is made, or half an hour later: the first report after that says it.
    """
    lists, picked_by = drafted
    log = logged.log
    began = np.concatenate([log.time[logged.first[part.visits.start : part.visits.stop]] for part in parts])
    until = np.concatenate(
        [np.full(len(part.visits), part.exposed_at + experiment.outcome_days * DAY_S * MICROS) for part in parts]
    )
    time, item = log.time[scope.row], log.item_idx[scope.row]
    counts = scope.leads & (answer.copies > 0)
    counts &= time <= np.minimum(began + CREDIT_S * MICROS, until)[scope.list_of]
    clicked = np.zeros(lists.shape, dtype=np.bool_)
    at, place = np.nonzero(lists[scope.list_of[counts]] == item[counts][:, None])
    clicked[scope.list_of[counts][at], place] = True
    settled = began + CREDIT_S * MICROS + 1
    for part in parts:
        visits = slice(part.at, part.at + len(part.visits))
        settled[visits][:-1] = np.minimum(settled[visits][:-1], began[visits][1:])
    return Sessions(settled, preference(picked_by, clicked))
