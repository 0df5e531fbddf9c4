"""A device in experiments: which arm it is in, when its shopper comes in, what happened since. Sends nothing.

Only a device whose shopper agreed to `contribute` is in any: an arm that nobody may count would bias the others.
Reports are federation/device/experiments/window_report.py's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.interactions import MICROS_PER_DAY
from federation.device.asking.held_device import HeldDevice
from federation.device.outcome_log import Enrolment, ExperimentLog
from federation.device.state import DeviceState, Event, known_columns
from recsys.catalogue.catalogue import Catalogue
from recsys.experiments.analysis.layout import Integers, layout_of
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import Experiment, OutcomeEvent, Trigger
from recsys.experiments.device.assignment import SECRET_BYTES, assign
from recsys.experiments.device.interleaving import CREDIT_S, Tally
from recsys.experiments.device.outcomes import (
    MICROS,
    OutcomeRecord,
    cell_of,
    columns_at,
    facts_of_history,
    head_of,
    is_eligible,
    takes_exposures,
)


def keep_definitions(
    device: HeldDevice, running: Iterable[Experiment], failed: Mapping[str, Collection[int]] | None = None
) -> None:
    """Know these experiments from now on, and no others. Raises DataError for one that is not an older one's amendment.

    A device that was in an experiment accepts only versions with the same fixed hash under its id. failed: by
    experiment, the windows that no sum came of. What a device said in one is lost, and not said again: it could have
    been seen. So it says nothing but zeros from then on.
    """
    definitions, failed = tuple(running), failed or {}

    def keep(state: DeviceState) -> DeviceState:
        log = state.experiments.without_windows(failed)
        for entry in definitions:
            if log.enrolment(entry).fixed_hash != fixed_hash(entry):
                raise DataError(f"experiment {entry.id}: is another one than this device is in under that id")
        secret = log.secret or (os.urandom(SECRET_BYTES) if definitions else b"")
        if (secret, definitions, log) == (log.secret, log.definitions, state.experiments):
            return state
        known = {entry.id for entry in definitions}
        enrolments = (
            entry if entry.experiment_id in known else replace(entry, open_list=None) for entry in log.enrolments
        )
        experiments = replace(
            log,
            secret=secret,
            definitions=definitions,
            enrolments=tuple(enrolments),
            shown=log.shown if definitions else (),
        )
        return replace(state, experiments=experiments)

    device.change(keep)


def arm_for(device: HeldDevice, experiment_id: str, now: int) -> Arm | None:
    """Find the arm whose settings this device's lists have at `now` (µs since 1970 UTC).

    None when it is not in.

    None too where both arms make every list: that is federation/device/experiments/interleaving.py's.
    """
    state = device.state
    experiment = state.experiments.definition(experiment_id)
    if experiment is None or experiment.interleaved or not is_in(state, experiment, device.catalogue, now):
        return None
    return assigned_arm(state, experiment)


def is_in(state: DeviceState, experiment: Experiment, catalogue: Catalogue | None, now: int) -> bool:
    """Check that the device is in at `now` (µs since 1970 UTC).

    A shopper who came in stays in; others are in while exposures are taken and every rule holds.
    """
    if assigned_arm(state, experiment) is None:
        return False
    if state.experiments.enrolment(experiment).exposed_at is not None:
        return True
    return takes_exposures(experiment, now) and is_eligible(experiment, facts_of(state.events, catalogue, now))


def settle_open_list(enrolment: Enrolment, experiment: Experiment) -> Enrolment:
    """Count the open list and forget it: a session won, lost or neither, of a shopper who is in."""
    if enrolment.open_list is None:
        return enrolment
    tally = enrolment.tally or Tally(cap=int(experiment.primary.cap))
    counted = tally.after(enrolment.open_list.preference) if enrolment.exposed_at is not None else enrolment.tally
    return replace(enrolment, tally=counted, open_list=None)


def expose(
    device: HeldDevice, trigger: Trigger, surface: str | None, now: int, *, only: Collection[str] | None = None
) -> tuple[str, ...]:
    """Expose the shopper by this trigger on this surface, at `now` (µs).

    only: ids of experiments that it may be; None for any. Returns ids of those that the shopper comes into.
    """
    catalogue = device.catalogue
    entered: tuple[str, ...] = ()

    def enter(state: DeviceState) -> DeviceState:
        nonlocal entered
        after, entered = exposed(state, catalogue, trigger, surface, now, only)
        return after

    device.change(enter)
    return entered


def exposed(
    state: DeviceState,
    catalogue: Catalogue | None,
    trigger: Trigger,
    surface: str | None,
    now: int,
    only: Collection[str] | None = None,
) -> tuple[DeviceState, tuple[str, ...]]:
    """Compute what `expose` changes, and which experiments the shopper comes into; the state itself for none."""
    entered: list[str] = []
    log = state.experiments
    for experiment in log.definitions:
        enrolment, exposure = log.enrolment(experiment), experiment.exposure
        fits = exposure.trigger == trigger and exposure.surface in (None, surface)
        if not fits or (only is not None and experiment.id not in only):
            continue
        if enrolment.exposed_at is not None or enrolment.left or not takes_exposures(experiment, now):
            continue
        facts = facts_of(state.events, catalogue, now)
        if assigned_arm(state, experiment) is not None and is_eligible(experiment, facts):
            log = log.with_enrolment(replace(enrolment, exposed_at=now, cell=cell_of(experiment, facts)))
            entered.append(experiment.id)
    return (replace(state, experiments=log) if entered else state), tuple(entered)


def note(
    device: HeldDevice, event: OutcomeEvent | str, now: int, value: float = 1.0, *, item_id: str | None = None
) -> bool:
    """Note what happened at `now` (µs since 1970 UTC), for outcomes and covariates; whether consent let it.

    value: money of a purchase, seconds of a session, diversity of a list. Returns and refunds are not subtracted:
    what a device says only grows. item_id: of a click, cart or purchase; without it the note goes as soon as any item
    is forgotten.
    """
    noted, recorded = OutcomeRecord(now, OutcomeEvent(event), float(value), item_id), False

    def record(state: DeviceState) -> DeviceState:
        nonlocal recorded
        recorded = state.consent == "contribute"
        return replace(state, experiments=state.experiments.with_note(noted)) if recorded else state

    device.change(record)
    return recorded


def assigned_arm(state: DeviceState, experiment: Experiment) -> Arm | None:
    """Find the arm that the device's secret falls into, eligible or not."""
    if state.consent != "contribute" or not state.experiments.secret:
        return None
    name = assign(experiment, state.experiments.secret).arm
    return None if name is None else experiment.arm(name)


def facts_of(events: tuple[Event, ...], catalogue: Catalogue | None, at: int) -> dict[str, float]:
    """Compute the facts of definition.FACTS about the history before `at` (µs since 1970 UTC).

    days_known: since the first event. head_share: of the events whose item the catalogue knows, those with an item of
    the head; 0 without any.
    """
    before = tuple(event for event in events if event.time < at)
    kinds = np.array([event.kind for event in before], dtype=np.uint8)
    days = (at - before[0].time) / MICROS_PER_DAY if before else 0.0
    return facts_of_history(kinds, _in_head(before, catalogue), days)


def increments_at(
    log: ExperimentLog, experiment: Experiment, enrolment: Enrolment, now: int
) -> tuple[Enrolment, Integers]:
    """Compute what the device would say at `now` (µs), (2, slots) int64 of 0 or more.

    Beside it, its part once that is said.
    """
    layout = layout_of(experiment)
    before = enrolment.sent_so_far(layout)
    if enrolment.open_list is not None and now > enrolment.open_list.made_at + CREDIT_S * MICROS:
        enrolment = settle_open_list(enrolment, experiment)
    if enrolment.exposed_at is None or enrolment.left:
        return enrolment, np.zeros_like(before)
    if experiment.interleaved:
        columns = (enrolment.tally or Tally(cap=int(experiment.primary.cap))).values()
    else:
        columns = columns_at(experiment, log.notes, enrolment.exposed_at, now)
    after = np.maximum(layout.risen(columns, log.thresholds(experiment, layout)), before)
    rise, fall = after.tolist()
    return replace(enrolment, sent=(tuple(rise), tuple(fall))), after - before


def _in_head(events: tuple[Event, ...], catalogue: Catalogue | None) -> npt.NDArray[np.bool_]:
    if catalogue is None or not events:
        return np.zeros(0, dtype=bool)
    items = known_columns(events, catalogue.items)[0]
    return head_of(catalogue.table.trend)[items]
