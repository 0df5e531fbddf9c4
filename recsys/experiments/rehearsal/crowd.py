"""Everybody of a log who came into an experiment, and what their devices would have noted under each arm. Simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from recsys.experiments.analysis.sums import ArmSums
from recsys.experiments.definition.definition import BOTH, DAY_S, Experiment, OutcomeEvent
from recsys.experiments.definition.metric_definitions import LOST, WON, columns
from recsys.experiments.device.outcomes import MICROS, OutcomeRecord, columns_at
from recsys.experiments.rehearsal.arm_lists import ArmLists, Lists
from recsys.experiments.rehearsal.drafted import Sessions, drafts, sessions_of
from recsys.experiments.rehearsal.logged import NOTED, EnrolledShopper, LoggedVisits
from recsys.experiments.rehearsal.response import ShopperResponse, answers, in_lists, scope_of
from recsys.lists.diversity import intra_list_similarity

END = 2**62
"""Later than any moment in microseconds."""


@dataclass(frozen=True, eq=False)
class Population:
    """All enrolled shoppers, with what they do under each arm. places (parts + 1,): of their events in the scope.

    sessions: of lists that both arms draft, else None.
    """

    experiment: Experiment
    logged: LoggedVisits
    parts: Sequence[EnrolledShopper]
    rows: npt.NDArray[np.int64]
    list_of: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    answers: Mapping[str, ShopperResponse]
    diversity: Mapping[str, npt.NDArray[np.float64]]
    sessions: Sessions | None = None

    @staticmethod
    def of(
        experiment: Experiment,
        logged: LoggedVisits,
        parts: Sequence[EnrolledShopper],
        made: Mapping[str, Lists],
        lists: Mapping[str, ArmLists],
        lift: float,
        rng: np.random.Generator,
    ) -> Population:
        """Simulate everybody's answers to the lists made, (n,) a visit and arm, at the dial lift."""
        rows, list_of, places = _events(logged, parts)
        scope = scope_of(logged.log, rows, list_of, logged.log.time < experiment.starts_at * MICROS)
        if experiment.interleaved:
            made, picked_by = drafts(experiment, made, rng)
            done = answers(logged.log, scope, made, experiment.control, lift, rng)
            sessions = sessions_of(experiment, logged, parts, (made[BOTH], picked_by), scope, done[BOTH])
            return Population(experiment, logged, parts, rows, list_of, places, done, {}, sessions)
        wanted = any(o.event is OutcomeEvent.LIST and o.measure == "value" for o in experiment.outcomes)
        return Population(
            experiment=experiment,
            logged=logged,
            parts=parts,
            rows=rows,
            list_of=list_of,
            places=places,
            answers=answers(logged.log, scope, made, experiment.control, lift, rng),
            diversity={arm: _diversity(arm_list, lists[arm].rows, wanted) for arm, arm_list in made.items()},
        )

    @staticmethod
    def as_logged(experiment: Experiment, logged: LoggedVisits, parts: Sequence[EnrolledShopper]) -> Population:
        """Take everybody as logged, under control; no list is made for them, so their diversity is 0."""
        rows, list_of, places = _events(logged, parts)
        usual = ShopperResponse(np.ones(len(rows), dtype=np.int64), {})
        nothing = np.zeros(int(list_of.max(initial=0)) + 1)
        arm = experiment.control
        return Population(experiment, logged, parts, rows, list_of, places, {arm: usual}, {arm: nothing})

    def outcomes(self, place: int, arm: str) -> Callable[[int], Mapping[str, float]]:
        """Make a function of a moment (µs): what one shopper's device would then know of its columns under an arm."""
        part = self.parts[place]
        if self.sessions is not None:
            return partial(self.sessions.values, part.at, len(part.visits), int(self.experiment.primary.cap))
        return partial(columns_at, self.experiment, self.notes(place, arm), part.exposed_at)

    def preference(self) -> float:
        """Average the sessions won less lost at the end, each up to the cap; of drafted lists."""
        assert self.sessions is not None
        outcomes = [self.outcomes(place, BOTH)(END) for place in range(len(self.parts))]
        return float(np.mean([columns[WON] - columns[LOST] for columns in outcomes]))

    def sums(self, arm: str, on_progress: Callable[[], None] | None = None) -> ArmSums:
        """Sum everybody's capped columns at the end of their outcomes exactly, had all been in one arm."""
        experiment, described = self.experiment, columns(self.experiment.metrics)
        values: dict[str, list[float]] = {column.name: [] for column in described}
        for place, part in enumerate(self.parts):
            last = part.exposed_at + experiment.outcome_days * DAY_S * MICROS
            at_end = columns_at(experiment, self.notes(place, arm), part.exposed_at, last)
            for column in described:
                values[column.name].append(min(max(at_end[column.name], 0.0), column.cap))
            if on_progress is not None:
                on_progress()
        return ArmSums.from_rows(values, experiment.metrics)

    def notes(self, place: int, arm: str) -> list[OutcomeRecord]:
        """List what one shopper's device would have noted under an arm, as far as outcomes and covariates reach."""
        part, logged = self.parts[place], self.logged
        reach = max((o.before_days or 0 for o in self.experiment.outcomes), default=0) * DAY_S * MICROS
        log, shopper_rows = logged.log, logged.log.of(part.user)
        start = shopper_rows.start + int(np.searchsorted(log.time[shopper_rows], part.exposed_at - reach))
        exposing = int(logged.first[part.visits.start])
        notes = [note for row in range(start, exposing) for note in self._logged_records(row, 1)]
        answer = self.answers[arm]
        for at in range(int(self.places[place]), int(self.places[place + 1])):
            row = int(self.rows[at])
            notes.extend(self._logged_records(row, int(answer.copies[at])))
            for event, brought in answer.brought.items():
                notes.extend(self._record(row, event) for _ in range(int(brought[at])))
        early = range(int(logged.visit[start]), part.visits.start)
        for visit in (*early, *part.visits):
            began, ended = (int(log.time[rows[visit]]) for rows in (logged.first, logged.last))
            value = 0.0 if visit in early else self.diversity[arm][part.at + visit - part.visits.start]
            notes.append(OutcomeRecord(began, OutcomeEvent.LIST, float(value)))
            notes.append(OutcomeRecord(ended, OutcomeEvent.SESSION, (ended - began) / MICROS))
        return notes

    def listed_share(self, lists: Lists) -> float:
        """Share of the events after the exposure whose item the list of their visit held."""
        return float(in_lists(lists, self.list_of, self.logged.log.item_idx[self.rows]).mean())

    def _logged_records(self, row: int, copies: int) -> list[OutcomeRecord]:
        event = NOTED.get(self.logged.log.kind[row])
        return [] if event is None else [self._record(row, event)] * copies

    def _record(self, row: int, event: OutcomeEvent) -> OutcomeRecord:
        value = float(self.logged.money[row]) if event is OutcomeEvent.PURCHASE else 1.0
        return OutcomeRecord(int(self.logged.log.time[row]), event, value)


def _events(
    logged: LoggedVisits, parts: Sequence[EnrolledShopper]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Collect everybody's events from the exposure on.

    Returns their rows, the place of each one's list, and where each shopper's begin.
    """
    spans = [(logged.first[part.visits[0]], logged.last[part.visits[-1]] + 1) for part in parts]
    rows = np.concatenate([np.arange(*span) for span in spans])
    places = np.concatenate(([0], np.cumsum([stop - start for start, stop in spans])))
    shift = np.repeat([part.at - part.visits.start for part in parts], np.diff(places))
    return rows, logged.visit[rows] + shift, places


def _diversity(lists: Lists, rows: npt.NDArray[np.float32], wanted: bool) -> npt.NDArray[np.float64]:
    """Compute one minus the mean cosine of each list, (n,) 0..2; zeros where no outcome asks for it."""
    if not wanted:
        return np.zeros(len(lists))
    alike = [intra_list_similarity(rows[items[items >= 0]]) for items in lists]
    return np.array([0.0 if math.isnan(value) else max(1.0 - value, 0.0) for value in alike])
