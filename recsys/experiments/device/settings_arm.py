"""From an experiment arm's settings to what lists: the same on a shopper's device and in a rehearsal."""

from __future__ import annotations

from dataclasses import replace

from data.errors import DataError
from recsys.evaluation.arms import TableArm, arm
from recsys.experiments.definition.arm import ArmSettings
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig


def weighed(
    settings: ArmSettings, config: ProfileConfig, mix: MixModel | None
) -> tuple[ProfileConfig, MixModel | None]:
    """Give the plain score and the mix the weights that an arm's settings name; the others stay.

    Raises DataError for a mix's weights where there is no mix.
    """
    if settings.mix is not None and mix is None:
        raise DataError("settings.mix: the bundle has no mix")
    given = {"trend": settings.trend_weight, "own": settings.repeat_weight}
    sums = {signal: weight for signal, weight in given.items() if weight is not None}
    if settings.trend_weight is not None:
        config = replace(config, trend_weight=settings.trend_weight)
    if settings.repeat_weight is not None:
        config = replace(config, repeat_weight=settings.repeat_weight)
    return config, mix.reweighted(settings.mix, sums) if mix is not None and (settings.mix or sums) else mix


def settings_arm(
    settings: ArmSettings, table: ItemTable, config: ProfileConfig, mix: MixModel | None = None
) -> TableArm:
    """Make the arm of some settings; what they leave open is as a bundle serves: personalized, by config and mix.

    table: the one that was never federated for `local`. mode and bundle_version change no list here; diversity and
    rules are up to whoever arranges it. Raises DataError as `weighed`.
    """
    config, mix = weighed(settings, config, mix)
    return arm(settings.model or "personalized", table, config, mix=mix)
