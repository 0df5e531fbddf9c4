"""An experiment rehearsed on a log: its shoppers as devices, from assignment to verdict by the code of the live one.

Assignment, eligibility, exposure, columns, increments, private sums with the plan's noise and the analysis are those
that devices and service use; only what shoppers answer is simulated (recsys/experiments/rehearsal/response.py says
how).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from recsys.experiments.analysis.analysis import Look
from recsys.experiments.analysis.estimates import value_and_gradient
from recsys.experiments.analysis.layout import Integers, layout_of
from recsys.experiments.definition.definition import DAY_S, Experiment, OutcomeEvent
from recsys.experiments.definition.definition_file import to_dict
from recsys.experiments.device.assignment import SECRET_BYTES, assign
from recsys.experiments.device.outcomes import (
    MICROS,
    cell_of,
    is_eligible,
    takes_exposures,
)
from recsys.experiments.rehearsal.arm_lists import ArmLists, Lists
from recsys.experiments.rehearsal.crowd import Population
from recsys.experiments.rehearsal.drafted import DRAFTED
from recsys.experiments.rehearsal.logged import EnrolledShopper, LoggedVisits
from recsys.experiments.rehearsal.response import ASSUMPTIONS
from recsys.experiments.results.results import results

OnProgress = Callable[[str, int, int], None]
"""stage, steps done, steps in all."""


class WindowSummation(Protocol):
    """The private sum, and what its results mean."""

    def window(self, experiment: Experiment, vectors: Iterable[Integers]) -> npt.NDArray[np.int32] | None:
        """Sum one window's contributions, noise included; None below min_reports."""
        ...

    def looks(self, experiment: Experiment, summed: Mapping[int, npt.NDArray[np.int32]]) -> list[Look]:
        """Cumulate the windows' sums into looks. summed: number of a window → its sum."""
        ...


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """The result of a rehearsal.

    truth: metric → arm → its value if everybody who came in had been in that arm, noise-free.
    """

    experiment: Experiment
    looks: tuple[Look, ...]
    windows: tuple[dict[str, Any], ...]
    truth: dict[str, dict[str, float]]
    protocol: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values: definition, results as a service answers them, windows, and what was assumed."""
        assumed = [*ASSUMPTIONS, *((DRAFTED,) if self.experiment.interleaved else ())]
        return {
            "definition": to_dict(self.experiment),
            "state": "rehearsed",
            "results": results(self.experiment, self.looks),
            "windows": list(self.windows),
            "rehearsal": self.protocol | {"truth": self._truth(), "assumptions": assumed},
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
    logged: LoggedVisits,
    lists: Mapping[str, ArmLists],
    head: npt.NDArray[np.bool_],
    summer: WindowSummation,
    *,
    lift: float,
    seed: int,
    on_progress: OnProgress | None = None,
) -> Rehearsal:
    """Run an experiment, whose time the log covers (recsys.experiments.rehearsal.logged.placed), on the log's shoppers.

    lists: arm → who answers, made of what was known at the start. head (n_items,): which items are of the head.
    Devices report at a random moment of each window. Raises DataError where nobody comes in.
    """
    on_progress = on_progress or (lambda stage, done, total: None)
    if any(o.event is OutcomeEvent.LIST and o.measure == "value" and o.before_days for o in experiment.outcomes):
        raise DataError("outcomes: value of list with before_days: cannot be rehearsed, no list before is known")
    rng = np.random.default_rng((seed, 0))
    arms = _assign_arms(experiment, logged, rng)
    parts = enrol_shoppers(experiment, logged, arms, head)
    arm_lists = _lists(logged, lists, parts, on_progress)
    crowd = Population.of(experiment, logged, parts, arm_lists, lists, lift, np.random.default_rng((seed, 1)))
    truth = _truth(experiment, crowd, on_progress)
    summed, windows = _windows(experiment, logged, crowd, arms, summer, rng, on_progress)
    protocol = {
        "dataset": logged.name,
        "dataset_hash": logged.hash,
        "lift": lift,
        "seed": seed,
        "list_length": max(list_array.shape[1] for list_array in arm_lists.values()),
        "shoppers": int((logged.log.counts > 0).sum()),
        "assigned": _count_by_group(experiment, arms.values()),
        "exposed": _count_by_group(experiment, (part.arm for part in parts)),
        "visits": int(sum(len(part.visits) for part in parts)),
        "listed": {arm: crowd.listed_share(arm_lists[arm]) for arm in arm_lists},
    }
    return Rehearsal(experiment, tuple(summer.looks(experiment, summed)), tuple(windows), truth, protocol)


def _assign_arms(experiment: Experiment, logged: LoggedVisits, rng: np.random.Generator) -> dict[int, str]:
    """Assign shoppers to arms, those who are in the experiment; each by a secret of its own."""
    there = np.flatnonzero(logged.log.counts > 0).tolist()
    drawn = ((user, assign(experiment, rng.bytes(SECRET_BYTES)).arm) for user in there)
    return {user: arm for user, arm in drawn if arm is not None}


def enrol_shoppers(
    experiment: Experiment, logged: LoggedVisits, arms: Mapping[int, str], head: npt.NDArray[np.bool_]
) -> list[EnrolledShopper]:
    """Enrol shoppers, by user: at the first visit between the dates at which every rule holds.

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
                parts.append(EnrolledShopper(user, arm, cell_of(experiment, facts), moment, range(visit, stop), at))
                at += stop - visit
                break
    if not parts:
        raise DataError(f"experiment {experiment.id}: no shopper of {logged.name} comes in between its dates")
    return parts


def _lists(
    logged: LoggedVisits, lists: Mapping[str, ArmLists], parts: Sequence[EnrolledShopper], on_progress: OnProgress
) -> dict[str, Lists]:
    visits = np.concatenate([np.arange(part.visits.start, part.visits.stop) for part in parts])
    ends = logged.first[visits]
    done = 0

    def count(n: int) -> None:
        nonlocal done
        done += n
        on_progress("lists", done, len(visits) * len(lists))

    return {
        arm: ranker.at(logged.log, logged.user[visits], ends, logged.log.time[ends], count)
        for arm, ranker in lists.items()
    }


def _count_by_group(experiment: Experiment, arms: Iterable[str]) -> dict[str, int]:
    """Count shoppers by group: by arm, unless both make every list."""
    groups = [experiment.group_of(arm) for arm in arms]
    return {group: groups.count(group) for group in experiment.groups}


def _truth(experiment: Experiment, crowd: Population, on_progress: OnProgress) -> dict[str, dict[str, float]]:
    """Compute every metric's value with everybody in one arm, at the end of their outcomes."""
    if experiment.interleaved:
        (other,) = (arm.name for arm in experiment.arms if arm.name != experiment.control)
        return {experiment.primary.name: {experiment.control: 0.0, other: crowd.preference()}}
    done, total = 0, len(experiment.arms) * len(crowd.parts)

    def count() -> None:
        nonlocal done
        done += 1
        if done % 100 == 0:
            on_progress("outcomes", done, total)

    values = {arm.name: crowd.sums(arm.name, count) for arm in experiment.arms}
    return {
        metric.name: {arm: value_and_gradient(metric, sums)[0] for arm, sums in values.items()}
        for metric in experiment.metrics
    }


def _windows(
    experiment: Experiment,
    logged: LoggedVisits,
    crowd: Population,
    arms: Mapping[int, str],
    summer: WindowSummation,
    rng: np.random.Generator,
    on_progress: OnProgress,
) -> tuple[dict[int, npt.NDArray[np.int32]], list[dict[str, Any]]]:
    """Sum every window, and report what is known of it. Every assigned device that there is reports, zeros too."""
    layout = layout_of(experiment)
    shape = (len(crowd.parts), 2, len(layout.slots))
    sent, thresholds = np.zeros(shape, dtype=np.int64), rng.random(shape)
    outcomes = [crowd.outcomes(place, part.arm) for place, part in enumerate(crowd.parts)]
    place_of = {part.user: place for place, part in enumerate(crowd.parts)}
    users = np.array(list(arms), dtype=np.int64)
    born = logged.log.time[logged.log.offsets[users]]
    nothing = np.zeros(layout.length, dtype=np.int64)

    def contributions(moments: npt.NDArray[np.int64], number: int) -> Iterator[Integers]:
        for done, (user, now, since) in enumerate(zip(users.tolist(), moments.tolist(), born.tolist(), strict=True)):
            if done % 100 == 0:
                on_progress("reports", number * len(users) + done, experiment.looks.count * len(users))
            place = place_of.get(user)
            if since > now:
                continue
            if place is None or crowd.parts[place].exposed_at > now:
                yield nothing
                continue
            part = crowd.parts[place]
            risen = layout.risen(outcomes[place](now), thresholds[place])
            risen = np.maximum(risen, sent[place])
            yield layout.contribution(experiment.group_of(part.arm), part.cell, risen - sent[place])
            sent[place] = risen

    summed, windows = {}, []
    for number in range(experiment.looks.count):
        start, end = experiment.window(number)
        moments = rng.integers(start * MICROS, end * MICROS, len(users))
        total = summer.window(experiment, contributions(moments, number))
        reports = int((born <= moments).sum())
        if total is not None:  # else what devices said is lost, as it is in a live window that fails
            summed[number] = total
        windows.append(
            {
                "window": number,
                "version": experiment.version,
                "state": "failed" if total is None else "summed",
                "deadline": end,
                "reports": 0 if total is None else reports,
                "finished_at": end,
                "failure": f"has no min_reports={experiment.privacy.min_reports}" if total is None else None,
            }
        )
    return summed, windows
