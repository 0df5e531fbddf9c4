"""How a history becomes a profile and a score: public settings that come with a bundle; no profile is in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from data.errors import ModelError
from data.interactions import EventKind

MAX_POOLS = 8
"""Of the last events: each widens an item's row by the width of its taste."""

HalfLifeUnit = Literal["days", "events"]


@dataclass(frozen=True)
class ProfileConfig:
    """Settings by which a history becomes a profile and a score; public, the same on every device of a bundle.

    alpha: weight of unseen items, > 0. Keep alpha·n_items near the length of a history.
    reg: λ > 0.
    half_life: age at which an event's weight has fallen half-way to the floor, in days or in later events;
        inf weighs all events alike.
    floor: weight that never decays, in [0, 1].
    kind_weights: weight of view, cart, purchase, like, dislike, each ≥ 0.
    trend_weight: what the trend adds to a score, ≥ 0.
    repeat_weight, repeat_half_life: what the device adds for its own purchases, and its decay in days.
    intent_pools: ρ of each pool of the last events (recsys/model/intent.py), in [0, 1); none for a table of taste
    alone.
    intent_scale: of a pooled vector, > 0: rows of both parts then have coordinates of one size, which one byte for
        each needs.
    intent_share: g in [0, 1], the share of the intent in a score beside the taste's 1 − g; both foretell a target of
        1, so they share a unit. Ignored where the table has no such part.
    """

    alpha: float = 0.2
    reg: float = 0.01
    half_life: float = 30.0
    half_life_unit: HalfLifeUnit = "days"
    floor: float = 0.1
    kind_weights: tuple[float, float, float, float, float] = (0.25, 0.5, 1.0, 1.0, 1.0)
    trend_weight: float = 0.1
    repeat_weight: float = 0.2
    repeat_half_life: float = 90.0
    intent_pools: tuple[float, ...] = ()
    intent_scale: float = 0.2
    intent_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("alpha", "reg", "intent_scale"):
            if not 0 < getattr(self, name) < np.inf:
                raise ModelError(f"{name}={getattr(self, name)}: must be > 0 and finite")
        for name in ("half_life", "repeat_half_life"):
            if not getattr(self, name) > 0:
                raise ModelError(f"{name}={getattr(self, name)}: must be > 0")
        for name in ("trend_weight", "repeat_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ModelError(f"{name}={getattr(self, name)}: must be 0 or more")
        for name in ("floor", "intent_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(f"{name}={getattr(self, name)}: must be 0..1")
        if len(self.intent_pools) > MAX_POOLS or not all(0 <= pool < 1 for pool in self.intent_pools):
            raise ModelError(f"intent_pools={self.intent_pools}: must be at most {MAX_POOLS} numbers in 0 ≤ ρ < 1")
        if self.half_life_unit not in ("days", "events"):
            raise ModelError(f"half_life_unit={self.half_life_unit!r}: must be 'days' or 'events'")
        if len(self.kind_weights) != len(EventKind) or not all(0 <= weight < np.inf for weight in self.kind_weights):
            raise ModelError(f"kind_weights={self.kind_weights}: must be {len(EventKind)} numbers, 0 or more")

    def without_repeat(self) -> ProfileConfig:
        """Return the same without the repeat counter."""
        return replace(self, repeat_weight=0.0)


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings, nested ones too, for JSON, which has no infinity.

    A half-life that weighs all events alike is "inf".
    """
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            settings[name] = finite(value)
        else:
            settings[name] = "inf" if isinstance(value, float) and value == math.inf else value
    return settings


def read_config(values: object) -> ProfileConfig:
    """Read settings from JSON. Raises ModelError for unknown, missing or impossible ones."""
    if not isinstance(values, Mapping):
        raise ModelError(f"config: is a {type(values).__name__}, must be an object")
    plain: dict[str, Any] = {name: math.inf if value == "inf" else value for name, value in values.items()}
    try:
        pools = tuple(plain.get("intent_pools", ()))
        return ProfileConfig(**plain | {"kind_weights": tuple(plain["kind_weights"]), "intent_pools": pools})
    except (ModelError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"config: {error}") from None
