"""Which running experiments decide about a list that this device makes, and by what settings. Pure; sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from data.errors import OwnshelfError
from federation.device.experiments.enrolment import assigned_arm, is_in
from federation.device.lists import Recommendations, Selection, own_arm, rank
from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue
from recsys.evaluation.arm_names import DEVICE_ARMS, DeviceArm
from recsys.experiments.definition.arm import ArmSettings
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.device.settings_arm import weighed
from recsys.lists.rules import parse_rules


@dataclass(frozen=True)
class LiveArms:
    """What experiments ask of one list.

    settings: of all its arms together. experiments: ids of those whose shopper comes in with this list. ruled: an arm
    of theirs has rules, so that every arm's list is arranged by rules, if by none. interleaved: the experiment whose
    two arms make the list together.
    """

    settings: ArmSettings = field(default_factory=ArmSettings)
    experiments: tuple[str, ...] = ()
    ruled: bool = False
    interleaved: Experiment | None = None


def live_arms(state: DeviceState, catalogue: Catalogue, surface: str | None, now: int) -> LiveArms:
    """Find what decides about a list on a surface (None: no named one) at `now` (µs since 1970 UTC).

    Experiments of several layers may decide about one list where no arm of one changes what an arm of another does.
    Else the first by id does, and the shopper is not in the other. Nothing of this depends on which arm it is.
    """
    live, taken = LiveArms(), frozenset[str]()
    for experiment in sorted(state.experiments.definitions, key=lambda definition: definition.id):
        changed = frozenset[str]().union(*(arm.settings.changed for arm in experiment.arms))
        if experiment.exposure.surface not in (None, surface) or changed & taken:
            continue
        if why_not_here(experiment, catalogue) is not None or not is_in(state, experiment, catalogue, now):
            continue
        if experiment.interleaved:
            if not live.experiments:
                return LiveArms(experiments=(experiment.id,), interleaved=experiment)
            continue
        arm = assigned_arm(state, experiment)
        assert arm is not None  # is_in
        taken |= changed
        given = {name: getattr(arm.settings, name) for name in arm.settings.changed}
        live = LiveArms(
            replace(live.settings, **given), (*live.experiments, experiment.id), live.ruled or "rules" in changed
        )
    return live


def why_not_here(experiment: Experiment, catalogue: Catalogue) -> str | None:
    """Say why a device cannot make every arm's list from its catalogue, or None.

    Where it cannot make one, its shopper is in none: arms must be of the same shoppers.
    """
    for arm in experiment.arms:
        settings = arm.settings
        if settings.model not in (None, *DEVICE_ARMS):
            return f"arm {arm.name}: model={settings.model}: is not of one device"
        if settings.mode not in (None, "device"):
            return f"arm {arm.name}: mode={settings.mode}: asks the service"
        if settings.bundle_version is not None:
            return f"arm {arm.name}: bundle_version: a device has one catalogue"
        try:
            weighed(settings, catalogue.config, catalogue.mix)
            if settings.rules is not None:
                catalogue.shop_items.prepared(parse_rules(settings.rules))
        except OwnshelfError as error:
            return f"arm {arm.name}: {error}"
    return None


def with_settings(catalogue: Catalogue, settings: ArmSettings) -> Catalogue:
    """Give a catalogue the weights that an arm's settings name; itself where they name none."""
    config, mix = weighed(settings, catalogue.config, catalogue.mix)
    unchanged = config is catalogue.config and mix is catalogue.mix
    return catalogue if unchanged else replace(catalogue, config=config, mix=mix)


def arm_list(
    state: DeviceState,
    catalogue: Catalogue,
    now: int,
    top_k: int,
    settings: ArmSettings,
    exclude: Sequence[str] = (),
    asked: Selection | None = None,
    *,
    named: DeviceArm = "personalized",
    repeat: bool = True,
    new: bool = False,
) -> Recommendations:
    """Make the list of an arm's settings of the whole catalogue, its rules left aside.

    What the settings leave open is as asked. named, repeat: as of own_arm; new: as of rank.
    """
    catalogue, asked = with_settings(catalogue, settings), asked or Selection()
    by = own_arm(catalogue, repeat or settings.model is not None, settings.model or named)
    if settings.diversity is not None:
        asked = replace(asked, diversity=settings.diversity)
    return rank(state, catalogue, now, top_k, exclude, by, asked, new)
