"""What one shopper did, as the columns, the cell and the eligibility of an experiment: of one device, or of a log.

Nothing here is ever sent: recsys/experiments/analysis/layout.py says what becomes of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import EventKind
from recsys.experiments.definition.definition import DAY_S, FACTS, Experiment, OutcomeColumn, OutcomeEvent

MICROS = 1_000_000
_DAY = DAY_S * MICROS

HEAD = 0.8
"""Items above this quantile of the trend are the head: what everybody looks at."""


@dataclass(frozen=True)
class OutcomeRecord:
    """One thing that happened. time: µs since 1970 UTC. value: 0 or more: money, seconds, or a list's diversity.

    item_id: what it happened to, so that forgetting the item finds it; None for a session, a list, an order of many.
    """

    time: int
    event: OutcomeEvent
    value: float = 1.0
    item_id: str | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise DataError(f"value of {self.event}={self.value}: must be finite and 0 or more")

    def __repr__(self) -> str:
        return "OutcomeRecord(…)"


def columns_at(experiment: Experiment, notes: Iterable[OutcomeRecord], exposed_at: int, now: int) -> dict[str, float]:
    """Compute each outcome column at `now`, not yet capped.

    Of a shopper who was exposed at exposed_at (µs since 1970 UTC).

    Outcomes count from the exposure (included) for outcome_days; covariates for before_days until it (excluded).
    A covariate is what it is at the exposure, and an outcome only grows as long as notes are only added. Of a quantile
    each edge is a column of its own: 1 once the numerator has reached it.
    """
    until = min(now, exposed_at + experiment.outcome_days * DAY_S * MICROS)
    records = sorted(notes, key=lambda note: note.time)
    values = {
        outcome.name: _measure(outcome, records, exposed_at, until, experiment.outcome_days)
        for outcome in experiment.outcomes
    }
    for metric in experiment.metrics:
        values |= {name: float(values[metric.numerator] >= edge) for name, edge in metric.thresholds.items()}
    return values


def cell_of(experiment: Experiment, facts: Mapping[str, float]) -> int:
    """Index of the cell in Experiment.cells of a shopper with these facts."""
    cell = 0
    for segment in experiment.segments:
        cell = cell * len(segment.levels) + segment.level(_fact(facts, segment.fact))
    return cell


def is_eligible(experiment: Experiment, facts: Mapping[str, float]) -> bool:
    """Check that every rule holds."""
    return all(rule.holds(_fact(facts, rule.fact)) for rule in experiment.eligibility)


def head_of(trend: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Mark the items of the head, (n_items,). trend: (n_items,)."""
    return np.asarray(trend > np.quantile(trend, HEAD))


def facts_of_history(
    kinds: npt.NDArray[np.uint8], in_head: npt.NDArray[np.bool_], days_known: float
) -> dict[str, float]:
    """Compute the facts of definition.FACTS about a history.

    kinds: of all its events; in_head: of those whose item is known.

    days_known: since the first event, 0 without any. head_share: 0 where no item is known.
    """
    numbers = np.bincount(kinds, minlength=len(EventKind)).tolist()
    facts = {f"{kind.name.lower()}s": float(numbers[kind]) for kind in EventKind if kind is not EventKind.DISLIKE}
    share = float(in_head.mean()) if len(in_head) else 0.0
    return facts | {"events": float(len(kinds)), "days_known": days_known, "head_share": share}


def takes_exposures(experiment: Experiment, now: int) -> bool:
    """Check that a shopper may come in at `now` (µs since 1970 UTC)."""
    return experiment.starts_at * MICROS <= now < experiment.ends_at * MICROS


def _measure(
    outcome: OutcomeColumn, records: Sequence[OutcomeRecord], exposed_at: int, until: int, outcome_days: int
) -> float:
    """Measure one column. records: by time; until: included, now or the end of the outcome window (µs)."""
    if outcome.before_days is not None:
        since = exposed_at - outcome.before_days * _DAY
        counted = [n for n in records if n.event is outcome.event and since <= n.time < exposed_at]
    else:
        counted = [n for n in _follow(records, outcome.after, exposed_at, until) if n.event is outcome.event]
        counted = [n for n in counted if _in_days(outcome, (n.time - exposed_at) // _DAY)]
    if outcome.measure == "any":
        return float(bool(counted))
    if outcome.measure == "count":
        return float(len(counted))
    if outcome.measure == "days":
        return float(len({(n.time - exposed_at) // _DAY for n in counted}))
    if outcome.measure == "days_left":
        return outcome_days - (counted[0].time - exposed_at) / _DAY if counted else 0.0
    return math.fsum(n.value for n in counted)


def _follow(
    records: Sequence[OutcomeRecord], steps: Sequence[OutcomeEvent], exposed_at: int, until: int
) -> list[OutcomeRecord]:
    """List what happened from the exposure on, once each step of a funnel had happened, in their order."""
    left, later = list(steps), []
    for record in records:
        if not exposed_at <= record.time <= until:
            continue
        if not left:
            later.append(record)
        elif record.event is left[0]:
            left.pop(0)
    return later


def _in_days(outcome: OutcomeColumn, day: int) -> bool:
    return outcome.from_day <= day and (outcome.to_day is None or day <= outcome.to_day)


def _fact(facts: Mapping[str, float], name: str) -> float:
    value = facts.get(name, math.nan)
    if not value >= 0:
        raise DataError(f"fact {name}={value}: must be 0 or more; facts are {', '.join(FACTS)}")
    return value
