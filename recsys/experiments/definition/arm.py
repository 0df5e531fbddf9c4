"""The arms of an experiment: what each changes about a list, which two can be interleaved. Public, of no shopper."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Literal, get_args

from data.errors import DataError, ModelError
from recsys.evaluation.arm_names import DEVICE_ARMS, LISTED_ARMS, ListedArm
from recsys.mix.features import SIGNALS

ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}", re.ASCII)
"""Experiments, layers and surfaces; with a version, an id still fits a task's subject."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
"""Arms, segments and levels."""

VERSION = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

MAX_WEIGHT = 10_000

Mode = Literal["device", "cluster", "noised", "profile"]
MODES = get_args(Mode)


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


def _check_rules(rules: Mapping[str, Any]) -> None:
    from recsys.lists.rules import parse_rules  # here: its filters load polars, and few definitions have rules

    try:
        parse_rules(rules, "settings.rules")
    except ModelError as error:
        raise DataError(str(error)) from None


@dataclass(frozen=True)
class ArmSettings:
    """What an arm changes about a list; None leaves it as it is without the experiment.

    model, mode: which list and how it is asked for (DESIGN's words). diversity: 0..1. bundle_version: of the shared
    model. mix: by signal of recsys/mix/features.py, a factor 0..100 on its weights. trend_weight, repeat_weight: 0 or
    more, what the trend and the own history weigh: in the plain score, and in a mix the sum of that signal's weights.
    rules: pin, boost, bury, cap (recsys/lists/rules.py), beside those of a placement.
    """

    model: ListedArm | None = None
    mode: Mode | None = None
    bundle_version: str | None = None
    diversity: float | None = None
    trend_weight: float | None = None
    repeat_weight: float | None = None
    mix: dict[str, float] | None = field(default=None, hash=False)
    rules: dict[str, Any] | None = field(default=None, hash=False)

    def __post_init__(self) -> None:
        checks: dict[str, Callable[[Any], None]] = {
            "model": lambda value: one_of("settings.model", value, LISTED_ARMS),
            "mode": lambda value: one_of("settings.mode", value, MODES),
            "bundle_version": lambda value: check_name("settings.bundle_version", value, VERSION),
            "diversity": lambda value: within("settings.diversity", value, 0, 1),
            "trend_weight": lambda value: within("settings.trend_weight", value, 0, 1_000),
            "repeat_weight": lambda value: within("settings.repeat_weight", value, 0, 1_000),
            "mix": self._check_mix,
            "rules": _check_rules,
        }
        given = {name: getattr(self, name) for name in checks}
        every_check(*(partial(checks[name], value) for name, value in given.items() if value is not None))

    def _check_mix(self, factors: Mapping[str, float]) -> None:
        for signal, factor in factors.items():
            one_of("settings.mix", signal, tuple(SIGNALS))
            within(f"settings.mix.{signal}", factor, 0, 100)
        for weight, signal in (("trend_weight", "trend"), ("repeat_weight", "own")):
            if getattr(self, weight) is not None and signal in factors:
                raise DataError(f"settings.mix.{signal}: must be left out where {weight} is given")

    @property
    def changed(self) -> frozenset[str]:
        """Names of the settings that are given: what an arm changes."""
        return frozenset(part.name for part in fields(self) if getattr(self, part.name) is not None)


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
        one_of(f"arm {arm.name}: settings.model of an interleaved arm", arm.settings.model, (None, *DEVICE_ARMS))
        one_of(f"arm {arm.name}: settings.mode of an interleaved arm", arm.settings.mode, (None, "device"))
        if arm.settings.bundle_version is not None:
            raise DataError(f"arm {arm.name}: settings.bundle_version: must be left out, a device has one catalogue")
    if arms[0].settings == arms[1].settings:
        raise DataError("arms: settings of interleaved arms must differ, or no click tells them apart")
