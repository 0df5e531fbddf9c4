"""The arms of an experiment: what each changes about a list, which two can be interleaved. Public, of no shopper."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from data.errors import DataError

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
"""Experiments, layers and surfaces; with a version, an id still fits a task's subject."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""Arms, segments and levels."""

VERSION = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

MAX_WEIGHT = 10_000

Model = Literal["personalized", "personalized_no_repeat", "global", "global_profile", "local"]
Mode = Literal["device", "cluster", "noised", "profile"]
MODELS, MODES = get_args(Model), get_args(Mode)

DRAFTED_MODELS = (None, "personalized", "personalized_no_repeat", "global")
"""Models whose whole list a device makes from the one catalogue it holds, so that two can be drafted there."""


def within(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raise DataError unless low ≤ value ≤ high; open_low: low itself is refused."""
    if not (low < value <= high if open_low else low <= value <= high):
        raise DataError(f"{name}={value}: must be {'above ' if open_low else ''}{low:g}..{high:g}")


def check_name(name: str, value: str, pattern: re.Pattern[str] = NAME) -> None:
    """Raise DataError unless the whole value matches."""
    if not pattern.fullmatch(value):
        raise DataError(f"{name}={value!r}: must match {pattern.pattern}")


def one_of(name: str, value: object, known: Sequence[object]) -> None:
    """Raise DataError unless value is one of the known ones."""
    if value not in known:
        raise DataError(f"{name}={value!r}: must be one of {', '.join(map(str, known))}")


def every_check(*checks: Callable[[], object]) -> None:
    """Run every check, and raise DataError with all that they found, not with the first alone."""
    mistakes = []
    for check in checks:
        try:
            check()
        except DataError as error:
            mistakes.append(str(error))
    if mistakes:
        raise DataError("; ".join(mistakes))


@dataclass(frozen=True)
class ArmSettings:
    """What an arm changes about a list; None leaves it as it is without the experiment.

    model, mode: which list and how it is asked for (DESIGN's words). diversity: 0..1. trend_weight, repeat_weight: 0
    or more. bundle_version: of the shared model.
    """

    model: Model | None = None
    mode: Mode | None = None
    bundle_version: str | None = None
    diversity: float | None = None
    trend_weight: float | None = None
    repeat_weight: float | None = None

    def __post_init__(self) -> None:
        checks: dict[str, Callable[[Any], None]] = {
            "model": lambda value: one_of("settings.model", value, MODELS),
            "mode": lambda value: one_of("settings.mode", value, MODES),
            "bundle_version": lambda value: check_name("settings.bundle_version", value, VERSION),
            "diversity": lambda value: within("settings.diversity", value, 0, 1),
            "trend_weight": lambda value: within("settings.trend_weight", value, 0, 1_000),
            "repeat_weight": lambda value: within("settings.repeat_weight", value, 0, 1_000),
        }
        given = {name: getattr(self, name) for name in checks}
        every_check(*(partial(checks[name], value) for name, value in given.items() if value is not None))


@dataclass(frozen=True)
class Arm:
    """weight: an integer; an arm gets weight / (sum of weights) of the shoppers."""

    name: str
    weight: int = 1
    settings: ArmSettings = ArmSettings()

    def __post_init__(self) -> None:
        check_name("arm.name", self.name)
        within(f"arm {self.name}: weight", self.weight, 1, MAX_WEIGHT)


def check_drafted(arms: Sequence[Arm]) -> None:
    """Raise DataError unless one device can make both arms' lists, and a click can tell them apart."""
    if len(arms) != 2 or arms[0].weight != arms[1].weight:
        raise DataError(f"arms={len(arms)}: must be 2 of equal weight, for both make every interleaved list")
    for arm in arms:
        one_of(f"arm {arm.name}: settings.model of an interleaved arm", arm.settings.model, DRAFTED_MODELS)
        one_of(f"arm {arm.name}: settings.mode of an interleaved arm", arm.settings.mode, (None, "device"))
        if arm.settings.bundle_version is not None:
            raise DataError(f"arm {arm.name}: settings.bundle_version: must be left out, a device has one catalogue")
    if arms[0].settings == arms[1].settings:
        raise DataError("arms: settings of interleaved arms must differ, or no click tells them apart")
