"""How a log is replayed: public settings, complete; what is not here does not change a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from data.errors import ModelError
from data.interactions import MICROS_PER_DAY

Target = Literal["next_item", "next_purchase", "session"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""What counts as right for a list shown at a moment: the event's own item; all items of the device's next purchase, at
that moment or later; all items of what is left of the session, the moment's own included."""

Ties = Literal["auto", "together", "in_order"]
MAX_BUNDLES = 100_000


@dataclass(frozen=True)
class ReplayConfig:
    """k: length of a list. targets: what follows that an answer is held against.

    every_us: simulated time between two bundles (µs); federated rounds run then. cohort_size: devices of a round, at
    most, out of those active since the last. start_us, until_us: events in [start, until) are scored, all by default;
    those before start still train. sample: share of the events that are scored, drawn by seed.
    ties: events of one device at one time are one moment that knows none of them (`together`: a basket), or follow each
    other in the order of the log (`in_order`); auto takes the second where a log has dates without a time of day.
    session_gap_us: a longer pause ends a session, where the log names none.
    lists: also measure what the lists are like, on one list per device and bundle. group: a column of the log; its
    first value is the group of a device. negatives: rank among so many random items instead of all of them, which
    needs allow_sampled: such figures can turn the order of two arms around (Krichene and Rendle 2020).
    bootstrap: resamples of each interval.
    """

    k: int = 20
    targets: tuple[Target, ...] = ("next_item",)
    every_us: int = MICROS_PER_DAY
    cohort_size: int = 200
    start_us: int | None = None
    until_us: int | None = None
    sample: float = 1.0
    ties: Ties = "auto"
    session_gap_us: int = 1_800_000_000
    lists: bool = True
    group: str | None = None
    negatives: int | None = None
    allow_sampled: bool = False
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low in (("k", 1), ("every_us", 1), ("cohort_size", 1), ("session_gap_us", 1), ("bootstrap", 100)):
            if getattr(self, name) < low:
                raise ModelError(f"{name}={getattr(self, name)}: must be {low} or more")
        if not 0 < self.sample <= 1:
            raise ModelError(f"sample={self.sample}: must be above 0 and at most 1")
        if not self.targets or len(set(self.targets)) != len(self.targets):
            raise ModelError(f"targets={self.targets}: must be one or more, each once, of {', '.join(TARGETS)}")
        for name, value, known in (
            *(("targets", target, TARGETS) for target in self.targets),
            ("ties", self.ties, get_args(Ties)),
        ):
            if value not in known:
                raise ModelError(f"{name}={value!r}: must be one of {', '.join(known)}")
        if self.negatives is not None:
            if self.negatives < 1:
                raise ModelError(f"negatives={self.negatives}: must be 1 or more")
            if self.targets != ("next_item",):
                raise ModelError(f"negatives={self.negatives}: goes with the target next_item only")
            if not self.allow_sampled:
                raise ModelError(
                    f"negatives={self.negatives}: figures among sampled items can order two arms the other way round "
                    "than the full ranking does; pass allow_sampled if you want them nevertheless"
                )
