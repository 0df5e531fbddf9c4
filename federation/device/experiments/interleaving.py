"""A device makes lists that two arms draft together, and credits clicks to whose picks they were. Sends nothing.

Whose pick an item is stays in the vault, of the last such list and only until it is settled; what remains is how many
sessions were won and lost, up to a cap. Reports are federation/device/experiments/window_report.py's, as of any
experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data.errors import DataError, ServingError
from federation.device.device import Device
from federation.device.experiments.enrolment import is_in, settle_open_list
from federation.device.interleaved_list import OpenList
from federation.device.lists import MAX_TOP_K, Recommendations, Selection, rank
from federation.device.outcome_log import Enrolment
from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue
from recsys.experiments.definition.arm import Arm, ArmSettings
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.device.interleaving import CREDIT_S, coins, team_draft
from recsys.experiments.device.outcomes import MICROS
from recsys.experiments.device.settings_arm import settings_arm
from recsys.search.filters import parse_filter


def interleave(
    device: Device,
    experiment_id: str,
    top_k: int,
    now: int,
    *,
    exclude: Sequence[str] = (),
    filter: object | None = None,  # noqa: A002  # the word of the HTTP API
    rng: np.random.Generator | None = None,
) -> Recommendations | None:
    """Make the list that both arms draft for this shopper at `now` (µs since 1970 UTC).

    None when the device is not in.

    Its order is the list: scores are of two rankers, and do not compare. top_k: 1..1000. exclude, filter: as of
    Device.recommend. rng: of the coins; None is the operating system's randomness.
    The list shown before it is settled now. Call federation/device/experiments/enrolment.py's `expose` when it is
    shown, and
    `credit` for its clicks. Raises DataError for an experiment whose lists are not interleaved.
    """
    if not 1 <= top_k <= MAX_TOP_K:
        raise ServingError(f"top_k={top_k}: must be 1..{MAX_TOP_K}")
    only = None if filter is None else parse_filter(filter)
    state, catalogue = device.state, device.catalogue
    experiment = state.experiments.definition(experiment_id)
    if experiment is not None and not experiment.interleaved:
        raise DataError(f"experiment {experiment_id}: design={experiment.design}: must be interleaved")
    if experiment is None or catalogue is None or not is_in(state, experiment, catalogue, now):
        return None
    incumbent_list, challenger_list = (
        arm_list(state, catalogue, now, top_k, arm.settings, exclude, Selection(only)) for arm in _captains(experiment)
    )
    ids = {
        item_id: number
        for number, item_id in enumerate(dict.fromkeys((*incumbent_list.item_ids, *challenger_list.item_ids)))
    }
    incumbent, challenger = (
        np.array([ids[x] for x in drafted.item_ids], dtype=np.int32) for drafted in (incumbent_list, challenger_list)
    )
    draft = team_draft(incumbent, challenger, top_k, coins(top_k, rng or np.random.default_rng()))
    named = {ids[item.item_id]: item for item in (*challenger_list.items, *incumbent_list.items)}
    drafted = tuple(named[item] for item in draft.items.tolist())
    opened = OpenList.of(now, [item.item_id for item in drafted], draft.picked_by.tolist())

    def remember(current: DeviceState) -> DeviceState:
        if current.consent != "contribute" or current.experiments.definition(experiment_id) != experiment:
            return current
        enrolment = settle_open_list(current.experiments.enrolment(experiment), experiment)
        return replace(current, experiments=current.experiments.with_enrolment(replace(enrolment, open_list=opened)))

    device.change(remember)
    return replace(incumbent_list, items=drafted, fallback=incumbent_list.fallback and challenger_list.fallback)


def credit(device: Device, item_id: str, now: int) -> bool:
    """Credit a click at `now` (µs since 1970 UTC) to whoever picked the item; whether it was anybody's.

    It counts for half an hour from when the list was made, once an item, of a shopper who is in and within the
    experiment's outcome_days.
    """
    credited = False

    def count(state: DeviceState) -> DeviceState:
        nonlocal credited
        credited, log = False, state.experiments
        for experiment in log.definitions:
            enrolment = log.enrolment(experiment)
            if (
                state.consent == "contribute"
                and enrolment.open_list is not None
                and _counts(experiment, enrolment, now)
            ):
                after = enrolment.open_list.clicked(item_id)
                if after != enrolment.open_list:
                    credited, log = True, log.with_enrolment(replace(enrolment, open_list=after))
        return replace(state, experiments=log) if credited else state

    device.change(count)
    return credited


def arm_list(
    state: DeviceState,
    catalogue: Catalogue,
    now: int,
    top_k: int,
    settings: ArmSettings,
    exclude: Sequence[str] = (),
    asked: Selection | None = None,
) -> Recommendations:
    """Make the list of an arm's settings on the device: one of DEVICE_ARMS."""
    by = settings_arm(settings, catalogue.table, catalogue.config, catalogue.mix)
    asked = replace(asked or Selection(), diversity=settings.diversity or 0.0)
    return rank(state, catalogue, now, top_k, exclude, by, asked)


def _captains(experiment: Experiment) -> tuple[Arm, Arm]:
    """Return incumbent and challenger."""
    control = experiment.arm(experiment.control)
    return control, next(arm for arm in experiment.arms if arm != control)


def _counts(experiment: Experiment, enrolment: Enrolment, now: int) -> bool:
    if enrolment.exposed_at is None or enrolment.left or enrolment.open_list is None:
        return False
    within = enrolment.open_list.made_at <= now <= enrolment.open_list.made_at + CREDIT_S * MICROS
    return within and enrolment.exposed_at <= now <= enrolment.exposed_at + experiment.outcome_days * DAY_S * MICROS
