"""From an experiment arm's settings to what lists: the same on a shopper's device and in a rehearsal."""

from __future__ import annotations

from dataclasses import replace

from recsys.evaluation.arms import TableArm, arm
from recsys.experiments.definition.arm import ArmSettings
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig


def settings_arm(
    settings: ArmSettings, table: ItemTable, config: ProfileConfig, mix: MixModel | None = None
) -> TableArm:
    """Make the arm of some settings; what they leave open is as a bundle serves: personalized, by config and mix.

    table: the one that was never federated for `local`. Weights of an arm's own are those of the plain score, which
    then ranks instead of the mix. mode and bundle_version change no list here; diversity is up to whoever arranges it.
    """
    if settings.trend_weight is not None:
        config, mix = replace(config, trend_weight=settings.trend_weight), None
    if settings.repeat_weight is not None:
        config, mix = replace(config, repeat_weight=settings.repeat_weight), None
    return arm(settings.model or "personalized", table, config, mix=mix)
