"""An experiment rehearsed on a log: its shoppers as devices, from assignment to verdict by the code of the live one.

Assignment, eligibility, exposure, columns, increments, private sums with the plan's noise and the analysis are those
that devices and service use; only what shoppers answer is simulated (recsys/experiments/response.py says how).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from recsys.experiments.analysis import Look
from recsys.experiments.arm_lists import ArmLists, Lists
from recsys.experiments.assignment import SECRET_BYTES, assign
from recsys.experiments.definition import DAY_S, Experiment, OutcomeEvent
from recsys.experiments.estimates import value_and_gradient
from recsys.experiments.layout import Integers, layout_of
from recsys.experiments.logged import NOTED, Logged
from recsys.experiments.metrics import columns
from recsys.experiments.outcomes import (
    MICROS,
    Note,
    cell_of,
    columns_at,
    is_eligible,
    takes_exposures,
)
from recsys.experiments.reading import to_dict
from recsys.experiments.response import ASSUMPTIONS, Answer, answers, listed, scope_of
from recsys.experiments.results import results
from recsys.experiments.sums import ArmSums
from recsys.rerank import intra_list_similarity

Told = Callable[[str, int, int], None]
"""stage, steps done, steps in all."""


class Summer(Protocol):
    """The private sum, and what its results mean."""

    def window(self, experiment: Experiment, vectors: Iterable[Integers]) -> npt.NDArray[np.int32] | None:
        """The sum of one window's contributions, noise included; None below min_reports."""
        ...

    def looks(self, experiment: Experiment, summed: Mapping[int, npt.NDArray[np.int32]]) -> list[Look]:
        """Cumulative looks. summed: number of a window → its sum."""
        ...


@dataclass(frozen=True)
class Part:
    """A shopper who came in. visits: of the log, from the exposure's on. at: place of the first of their lists."""

    user: int
    arm: str
    cell: int
    exposed_at: int
    visits: range
    at: int


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What came of it. truth: metric → arm → its value if everybody who came in had been in that arm, noise-free."""

    experiment: Experiment
    looks: tuple[Look, ...]
    windows: tuple[dict[str, Any], ...]
    truth: dict[str, dict[str, float]]
    protocol: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Definition, results as a service answers them, windows, and what was assumed: plain values."""
        return {
            "definition": to_dict(self.experiment),
            "state": "rehearsed",
            "results": results(self.experiment, self.looks),
            "windows": list(self.windows),
            "rehearsal": self.protocol | {"truth": self._truth(), "assumptions": list(ASSUMPTIONS)},
        }

    def _truth(self) -> list[dict[str, Any]]:
        rows = []
        for metric, values in self.truth.items():
            control = values[self.experiment.control]
            for arm, value in values.items():
                if arm != self.experiment.control:
                    relative = value / control - 1.0 if control else None
                    rows.append({"metric": metric, "arm": arm, "control": control, "treatment": value,
                                 "effect": value - control, "relative": relative})  # fmt: skip
        return rows


def rehearse(
    experiment: Experiment,
    logged: Logged,
    lists: Mapping[str, ArmLists],
    head: npt.NDArray[np.bool_],
    summer: Summer,
    *,
    lift: float,
    seed: int,
    told: Told | None = None,
) -> Rehearsal:
    """Run an experiment, whose time the log covers (recsys.experiments.logged.placed), on the log's shoppers.

    lists: arm → who answers, made of what was known at the start. head (n_items,): which items are of the head.
    Devices report at a random moment of each window. Raises DataError where nobody comes in.
    """
    told = told or (lambda stage, done, total: None)
    if experiment.interleaved:
        raise DataError("design=interleaved: cannot be rehearsed here; `ownshelf bench interleaving` simulates it")
    if any(o.event is OutcomeEvent.LIST and o.measure == "value" and o.before_days for o in experiment.outcomes):
        raise DataError("outcomes: value of list with before_days: cannot be rehearsed, no list before is known")
    rng = np.random.default_rng((seed, 0))
    arms = _assigned(experiment, logged, rng)
    parts = exposed(experiment, logged, arms, head)
    made = _lists(logged, lists, parts, told)
    crowd = Crowd.of(experiment, logged, parts, made, lists, lift, np.random.default_rng((seed, 1)))
    truth = _truth(experiment, crowd, told)
    summed, windows = _windows(experiment, logged, crowd, arms, summer, rng, told)
    protocol = {
        "dataset": logged.name,
        "dataset_hash": logged.hash,
        "lift": lift,
        "seed": seed,
        "list_length": max(one.shape[1] for one in made.values()),
        "shoppers": int((logged.log.counts > 0).sum()),
        "assigned": {arm.name: sum(arm.name == other for other in arms.values()) for arm in experiment.arms},
        "exposed": {arm.name: sum(part.arm == arm.name for part in parts) for arm in experiment.arms},
        "visits": int(sum(len(part.visits) for part in parts)),
        "listed": {arm: crowd.listed_share(made[arm]) for arm in made},
    }
    return Rehearsal(experiment, tuple(summer.looks(experiment, summed)), tuple(windows), truth, protocol)


def _assigned(experiment: Experiment, logged: Logged, rng: np.random.Generator) -> dict[int, str]:
    """Shopper → arm, of those who are in the experiment; each by a secret of its own."""
    there = np.flatnonzero(logged.log.counts > 0).tolist()
    drawn = ((user, assign(experiment, rng.bytes(SECRET_BYTES)).arm) for user in there)
    return {user: arm for user, arm in drawn if arm is not None}


def exposed(experiment: Experiment, logged: Logged, arms: Mapping[int, str], head: npt.NDArray[np.bool_]) -> list[Part]:
    """Who comes in, by user: at the first visit between the dates at which every rule holds.

    arms: shopper → arm. head (n_items,): which items are of the head. Raises DataError if nobody does.
    """
    time, parts, at = logged.log.time, [], 0
    starts = np.searchsorted(logged.user, np.arange(logged.log.n_users + 1))
    for user, arm in arms.items():
        visits = range(int(starts[user]), int(starts[user + 1]))
        for visit in visits:
            moment = int(time[logged.first[visit]])
            if not takes_exposures(experiment, moment):
                continue
            facts = logged.facts(user, moment, head)
            if is_eligible(experiment, facts):
                until = moment + experiment.outcome_days * DAY_S * MICROS
                stop = visit
                while stop < visits.stop and time[logged.first[stop]] <= until:
                    stop += 1
                parts.append(Part(user, arm, cell_of(experiment, facts), moment, range(visit, stop), at))
                at += stop - visit
                break
    if not parts:
        raise DataError(f"experiment {experiment.id}: no shopper of {logged.name} comes in between its dates")
    return parts


def _lists(logged: Logged, lists: Mapping[str, ArmLists], parts: Sequence[Part], told: Told) -> dict[str, Lists]:
    visits = np.concatenate([np.arange(part.visits.start, part.visits.stop) for part in parts])
    ends = logged.first[visits]
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        told("lists", done, len(visits) * len(lists))

    return {
        arm: one.at(logged.log, logged.user[visits], ends, logged.log.time[ends], count) for arm, one in lists.items()
    }


@dataclass(frozen=True, eq=False)
class Crowd:
    """Everybody who came in, with what they do under each arm. places (parts + 1,): of their events in the scope."""

    experiment: Experiment
    logged: Logged
    parts: Sequence[Part]
    rows: npt.NDArray[np.int64]
    list_of: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    answers: Mapping[str, Answer]
    diversity: Mapping[str, npt.NDArray[np.float64]]

    @staticmethod
    def of(
        experiment: Experiment,
        logged: Logged,
        parts: Sequence[Part],
        made: Mapping[str, Lists],
        lists: Mapping[str, ArmLists],
        lift: float,
        rng: np.random.Generator,
    ) -> Crowd:
        """Everybody with their answers to the lists made, (n,) a visit and arm, at the dial lift."""
        rows, list_of, places = _events(logged, parts)
        scope = scope_of(logged.log, rows, list_of, logged.log.time < experiment.starts_at * MICROS)
        wanted = any(o.event is OutcomeEvent.LIST and o.measure == "value" for o in experiment.outcomes)
        return Crowd(
            experiment=experiment,
            logged=logged,
            parts=parts,
            rows=rows,
            list_of=list_of,
            places=places,
            answers=answers(logged.log, scope, made, experiment.control, lift, rng),
            diversity={arm: _diversity(one, lists[arm].rows, wanted) for arm, one in made.items()},
        )

    @staticmethod
    def as_logged(experiment: Experiment, logged: Logged, parts: Sequence[Part]) -> Crowd:
        """Everybody under control, for whom no list is made: their diversity is 0."""
        rows, list_of, places = _events(logged, parts)
        usual = Answer(np.ones(len(rows), dtype=np.int64), {})
        nothing = np.zeros(int(list_of.max(initial=0)) + 1)
        arm = experiment.control
        return Crowd(experiment, logged, parts, rows, list_of, places, {arm: usual}, {arm: nothing})

    def sums(self, arm: str, told: Callable[[], None] | None = None) -> ArmSums:
        """Exact sums of everybody's capped columns at the end of their outcomes, had all been in one arm."""
        experiment, described = self.experiment, columns(self.experiment.metrics)
        found: dict[str, list[float]] = {column.name: [] for column in described}
        for place, part in enumerate(self.parts):
            last = part.exposed_at + experiment.outcome_days * DAY_S * MICROS
            at_end = columns_at(experiment, self.notes(place, arm), part.exposed_at, last)
            for column in described:
                found[column.name].append(min(max(at_end[column.name], 0.0), column.cap))
            if told is not None:
                told()
        return ArmSums.from_rows(found, experiment.metrics)

    def notes(self, place: int, arm: str) -> list[Note]:
        """What the device of one shopper would have noted under an arm, as far as outcomes and covariates reach."""
        part, logged = self.parts[place], self.logged
        reach = max((o.before_days or 0 for o in self.experiment.outcomes), default=0) * DAY_S * MICROS
        log, own = logged.log, logged.log.of(part.user)
        start = own.start + int(np.searchsorted(log.time[own], part.exposed_at - reach))
        exposing = int(logged.first[part.visits.start])
        notes = [note for row in range(start, exposing) for note in self._noted(row, 1)]
        answer = self.answers[arm]
        for at in range(int(self.places[place]), int(self.places[place + 1])):
            row = int(self.rows[at])
            notes.extend(self._noted(row, int(answer.copies[at])))
            for event, brought in answer.brought.items():
                notes.extend(self._note(row, event) for _ in range(int(brought[at])))
        early = range(int(logged.visit[start]), part.visits.start)
        for visit in (*early, *part.visits):
            began, ended = (int(log.time[rows[visit]]) for rows in (logged.first, logged.last))
            value = 0.0 if visit in early else self.diversity[arm][part.at + visit - part.visits.start]
            notes.append(Note(began, OutcomeEvent.LIST, float(value)))
            notes.append(Note(ended, OutcomeEvent.SESSION, (ended - began) / MICROS))
        return notes

    def listed_share(self, lists: Lists) -> float:
        """Share of the events after the exposure whose item the list of their visit held."""
        return float(listed(lists, self.list_of, self.logged.log.item_idx[self.rows]).mean())

    def _noted(self, row: int, copies: int) -> list[Note]:
        event = NOTED.get(self.logged.log.kind[row])
        return [] if event is None else [self._note(row, event)] * copies

    def _note(self, row: int, event: OutcomeEvent) -> Note:
        value = float(self.logged.money[row]) if event is OutcomeEvent.PURCHASE else 1.0
        return Note(int(self.logged.log.time[row]), event, value)


def _events(
    logged: Logged, parts: Sequence[Part]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of everybody's events from the exposure on, the place of each one's list, and where each shopper's begin."""
    spans = [(logged.first[part.visits[0]], logged.last[part.visits[-1]] + 1) for part in parts]
    rows = np.concatenate([np.arange(*span) for span in spans])
    places = np.concatenate(([0], np.cumsum([stop - start for start, stop in spans])))
    shift = np.repeat([part.at - part.visits.start for part in parts], np.diff(places))
    return rows, logged.visit[rows] + shift, places


def _diversity(lists: Lists, rows: npt.NDArray[np.float32], wanted: bool) -> npt.NDArray[np.float64]:
    """(n,) one minus the mean cosine of each list, 0..2; zeros where no outcome asks for it."""
    if not wanted:
        return np.zeros(len(lists))
    alike = [intra_list_similarity(rows[one[one >= 0]]) for one in lists]
    return np.array([0.0 if math.isnan(value) else max(1.0 - value, 0.0) for value in alike])


def _truth(experiment: Experiment, crowd: Crowd, told: Told) -> dict[str, dict[str, float]]:
    """Every metric's value with everybody in one arm, at the end of their outcomes."""
    done, total = 0, len(experiment.arms) * len(crowd.parts)

    def count() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            told("outcomes", done, total)

    values = {arm.name: crowd.sums(arm.name, count) for arm in experiment.arms}
    return {
        metric.name: {arm: value_and_gradient(metric, sums)[0] for arm, sums in values.items()}
        for metric in experiment.metrics
    }


def _windows(
    experiment: Experiment,
    logged: Logged,
    crowd: Crowd,
    arms: Mapping[int, str],
    summer: Summer,
    rng: np.random.Generator,
    told: Told,
) -> tuple[dict[int, npt.NDArray[np.int32]], list[dict[str, Any]]]:
    """Every window's sum, and what is known of it. Every assigned device that there is reports, zeros too."""
    layout = layout_of(experiment)
    shape = (len(crowd.parts), 2, len(layout.slots))
    sent, thresholds = np.zeros(shape, dtype=np.int64), rng.random(shape)
    notes = [crowd.notes(place, part.arm) for place, part in enumerate(crowd.parts)]
    place_of = {part.user: place for place, part in enumerate(crowd.parts)}
    users = np.array(list(arms), dtype=np.int64)
    born = logged.log.time[logged.log.offsets[users]]
    nothing = np.zeros(layout.length, dtype=np.int64)

    def contributions(moments: npt.NDArray[np.int64], number: int) -> Iterator[Integers]:
        for done, (user, now, since) in enumerate(zip(users.tolist(), moments.tolist(), born.tolist(), strict=True)):
            if done % 100 == 0:
                told("reports", number * len(users) + done, experiment.looks.count * len(users))
            place = place_of.get(user)
            if since > now:
                continue
            if place is None or crowd.parts[place].exposed_at > now:
                yield nothing
                continue
            part = crowd.parts[place]
            risen = layout.risen(columns_at(experiment, notes[place], part.exposed_at, now), thresholds[place])
            risen = np.maximum(risen, sent[place])
            yield layout.contribution(part.arm, part.cell, risen - sent[place])
            sent[place] = risen

    summed, windows = {}, []
    for number in range(experiment.looks.count):
        start, end = experiment.window(number)
        moments = rng.integers(start * MICROS, end * MICROS, len(users))
        found = summer.window(experiment, contributions(moments, number))
        reports = int((born <= moments).sum())
        if found is not None:  # else what devices said is lost, as it is in a live window that fails
            summed[number] = found
        windows.append(
            {
                "window": number,
                "version": experiment.version,
                "state": "failed" if found is None else "summed",
                "deadline": end,
                "reports": 0 if found is None else reports,
                "finished_at": end,
                "failure": f"has no min_reports={experiment.privacy.min_reports}" if found is None else None,
            }
        )
    return summed, windows
