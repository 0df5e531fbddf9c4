"""A log as the devices of its shoppers would have noted it: visits, money, facts. Of no arm."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import MICROS_PER_DAY, EventKind, Interactions
from recsys.experiments.definition.definition import DAY_S, Experiment, OutcomeEvent
from recsys.experiments.device.outcomes import MICROS, facts_of_history

VISIT_US = 30 * 60 * MICROS
"""Silence that ends a visit: half an hour, as web analytics has it."""

NOTED = {
    EventKind.VIEW: OutcomeEvent.CLICK,
    EventKind.LIKE: OutcomeEvent.CLICK,
    EventKind.CART: OutcomeEvent.CART,
    EventKind.PURCHASE: OutcomeEvent.PURCHASE,
}
"""What a device notes of each kind of event; of a dislike, nothing."""


@dataclass(frozen=True)
class EnrolledShopper:
    """A shopper who came in. visits: of the log, from the exposure's on. at: place of the first of their lists."""

    user: int
    arm: str
    cell: int
    exposed_at: int
    visits: range
    at: int


@dataclass(frozen=True, eq=False)
class LoggedVisits:
    """log: the events. money (n_events,): what each would cost, whatever its kind. visit (n_events,): of each event.

    first, last (n_visits,): rows of each visit, the last included; user (n_visits,).
    """

    name: str
    hash: str
    log: Interactions
    money: npt.NDArray[np.float64]
    visit: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]

    @staticmethod
    def of(dataset: Dataset) -> LoggedVisits:
        """Read a dataset's log. Prices that an event lacks are its item's; unknown ones are 0."""
        log = dataset.interactions()
        if log.n_events == 0:
            raise DataError(f"dataset={dataset.name}: has no events to rehearse on")
        price = dataset.log["price"].cast(pl.Float64)
        if "price" in dataset.catalogue.columns:
            price = price.fill_null(dataset.catalogue["price"].gather(dataset.log["item_idx"]))
        money = price.fill_null(0.0).to_numpy() * log.quantity
        users = log.user_idx
        begins = np.ones(log.n_events, dtype=bool)
        begins[1:] = (users[1:] != users[:-1]) | (np.diff(log.time) > VISIT_US)
        first = np.flatnonzero(begins)
        return LoggedVisits(
            name=dataset.name,
            hash=dataset.hash,
            log=log,
            money=np.maximum(money, 0.0),
            visit=np.cumsum(begins) - 1,
            first=first,
            last=np.append(first[1:], log.n_events) - 1,
            user=users[first].astype(np.int64),
        )

    def facts(self, user: int, at: int, head: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Compute the facts of one shopper's history before `at` (µs). head (n_items,): which items are of the head."""
        rows = self.log.of(user)
        stop = rows.start + int(np.searchsorted(self.log.time[rows], at))
        kinds = self.log.kind[rows.start : stop]
        days = (at - int(self.log.time[rows.start])) / MICROS_PER_DAY if len(kinds) else 0.0
        return facts_of_history(kinds, head[self.log.item_idx[rows.start : stop]], days)


def move_to_log(experiment: Experiment, log: Interactions) -> Experiment:
    """Move the experiment to a time that the log covers.

    It stays as it is if it does, else it moves by whole days to end with the log.

    Raises DataError where the log has no event before the start, or is shorter than the experiment.
    """
    begin, end = int(log.time.min()), int(log.time.max())
    until = experiment.ends_at + experiment.outcome_days * DAY_S
    moved = 0
    if experiment.starts_at * MICROS <= begin or until * MICROS > end + MICROS_PER_DAY:
        moved = ((end // MICROS - until) // DAY_S + 1) * DAY_S
    start = experiment.starts_at + moved
    if start * MICROS <= begin:
        raise DataError(
            f"experiment {experiment.id}: {(until - experiment.starts_at) // DAY_S} days with outcome_days: must be "
            f"shorter than the log's {(end - begin) // MICROS_PER_DAY} days, whose beginning lists are made of"
        )
    return replace(experiment, starts_at=start, ends_at=experiment.ends_at + moved)
