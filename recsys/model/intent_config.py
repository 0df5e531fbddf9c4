"""How the output table of the current intent is learned: public settings that come with a bundle, for devices too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data.errors import ModelError


@dataclass(frozen=True)
class IntentConfig:
    """Settings of learning the output table of the current intent.

    rounds, cohort_size, max_participations: as in TrainConfig, of the rounds after those of the taste and on top of
    them. The taste stands still by then, so large cohorts in few rounds are as good as many small ones.
    alpha: weight of an item that did not come next, > 0; reg: λ > 0.
    decay: of a target's weight with every event it came later, in (0, 1]; horizon: events that are looked ahead.
    moments: of one device at most, its last ones: what bounds the work and the weight of a long history.
    """

    rounds: int = 30
    cohort_size: int = 2_000
    max_participations: int = 6
    alpha: float = 0.125
    reg: float = 4e-4
    decay: float = 0.85
    horizon: int = 10
    moments: int = 32

    def __post_init__(self) -> None:
        bounds = {
            "rounds": (0, 1_000_000),
            "cohort_size": (1, 10_000_000),
            "max_participations": (1, 1_000_000),
            "alpha": (1e-9, 1e9),
            "reg": (1e-12, 1e9),
            "decay": (1e-6, 1.0),
            "horizon": (1, 1_000),
            "moments": (1, 10_000),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ModelError(f"intent.{name}={getattr(self, name)}: must be {low}..{high}")


def read_intent_config(values: object) -> IntentConfig:
    """Read settings from JSON. Raises ModelError for unknown or impossible ones."""
    if not isinstance(values, Mapping):
        raise ModelError(f"intent: is a {type(values).__name__}, must be an object")
    try:
        return IntentConfig(**values)
    except (TypeError, ModelError) as error:
        raise ModelError(f"intent: {error}") from None
