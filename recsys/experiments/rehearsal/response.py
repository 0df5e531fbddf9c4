"""How shoppers of a log would have answered another list: assumed, not measured. It says nothing of a real shop.

The log is what happened under control's lists. Of any other arm it is assumed that only what the shopper wanted (the
events of a visit) and the arm's list at the visit's beginning matter:

- Clicks lead (views and likes; in a log without them carts, in one without these purchases). With the dial `lift`, a
  leading event whose item the arm lists and control does not happens 1 + lift times in expectation; one whose item
  control lists and the arm does not stays with chance 1 / (1 + lift); any other happens as logged. lift = 0 is an A/A.
- Carts and purchases of an item follow its clicks in the visit: they go when all of those go, and an added click
  brings each with the rate of the log before the experiment. Without clicks in the visit they are as logged.
- Nobody comes more or less often, learns, tires, or wants something else for having seen a list; a list says nothing
  of the next. Lists before an exposure changed nothing.

Draws are one set for all arms, so that what an arm does to each shopper is known exactly: the truth of a rehearsal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import Interactions
from recsys.experiments.definition.definition import OutcomeEvent
from recsys.experiments.rehearsal.arm_lists import Lists
from recsys.experiments.rehearsal.logged import NOTED

Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

ASSUMPTIONS = (
    "the log is what happened under control's lists",
    "an event that leads (a click; without clicks a cart; without these a purchase) happens 1 + lift times in "
    "expectation if the arm lists its item and control does not, stays with chance 1 / (1 + lift) if control lists it "
    "and the arm does not, and is as logged otherwise",
    "carts and purchases follow the clicks of their item in the visit, added ones at the log's rates",
    "nobody comes more or less often, learns or tires, and lists are those of the model as it was at the start",
    "modes and bundle versions change no list; there is one surface; all agreed to contribute",
)
"""What every rehearsal says of itself."""

MAX_LIFT = 10.0


@dataclass(frozen=True, eq=False)
class Scope:
    """The events whose number may change. row (n,): of the log; list_of (n,): place of the visit's list in lists.

    added: OutcomeEvent → rate at which it follows an added leading event.
    """

    row: Counts
    list_of: Counts
    leads: Flags
    added: Mapping[OutcomeEvent, float]


@dataclass(frozen=True, eq=False)
class ShopperResponse:
    """The events of a scope as they happen under one arm: copies (n,), 0 for none; brought: of what follows, (n,)."""

    copies: Counts
    brought: Mapping[OutcomeEvent, Counts]


def scope_of(log: Interactions, row: Counts, list_of: Counts, before: Flags) -> Scope:
    """Delimit the scope of some rows of a log. before (n_events,): rows from which rates are learned."""
    steps = [OutcomeEvent.CLICK, OutcomeEvent.CART, OutcomeEvent.PURCHASE]
    kinds = {step: [int(kind) for kind, event in NOTED.items() if event is step] for step in steps}
    numbers = {step: int(np.isin(log.kind[before], kinds[step]).sum()) for step in steps}
    there = [step for step in steps if numbers[step]]
    if not there:
        raise DataError("log: has no click, cart or purchase before the experiment's start")
    leads = np.isin(log.kind[row], kinds[there[0]])
    return Scope(row, list_of, leads, {step: min(numbers[step] / numbers[there[0]], 1.0) for step in there[1:]})


def in_lists(lists: Lists, list_of: Counts, items: npt.NDArray[np.int32]) -> Flags:
    """Mark the items that are in their list, (n,)."""
    in_list = np.zeros(len(items), dtype=bool)
    for place in range(lists.shape[1]):
        in_list |= lists[list_of, place] == items
    return in_list


def answers(
    log: Interactions, scope: Scope, lists: Mapping[str, Lists], control: str, lift: float, rng: np.random.Generator
) -> dict[str, ShopperResponse]:
    """Simulate what shoppers do under each arm.

    lists: arm → (n_visits, k); control's and equal lists leave all as logged.
    """
    if not 0 <= lift <= MAX_LIFT:
        raise DataError(f"lift={lift}: must be 0..{MAX_LIFT:g}")
    items = log.item_idx[scope.row]
    draw = rng.random(len(items))
    draws = {event: rng.random(len(items)) for event in scope.added}
    wanted = scope.leads
    usual = in_lists(lists[control], scope.list_of, items)
    key = scope.list_of * np.int64(log.n_items) + items
    responses = {}
    for arm, arm_list in lists.items():
        now = in_lists(arm_list, scope.list_of, items)
        copies = np.ones(len(items), dtype=np.int64)
        more, less = wanted & now & ~usual, wanted & usual & ~now
        copies[more] += np.floor(lift + draw[more]).astype(np.int64)
        copies[less] = draw[less] < 1.0 / (1.0 + lift)
        gone = np.setdiff1d(key[wanted], key[wanted & (copies > 0)])
        copies[~wanted & np.isin(key, gone)] = 0
        extra = np.maximum(copies - 1, 0)
        brought = {
            event: np.floor(extra * rate + draws[event]).astype(np.int64) * (extra > 0)
            for event, rate in scope.added.items()
        }
        responses[arm] = ShopperResponse(copies, brought)
    return responses
