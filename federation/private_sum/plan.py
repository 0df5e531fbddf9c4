"""The plan of one sum: its named parts, their bounds in integers, how many reports, how much noise.

Everything here is public. A plan that exists cannot wrap around and has a finite sensitivity.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from federation.private_sum.refusals import PlanRefused

WORD_LIMIT = 2**31
"""Coordinates of a sum must stay below this in absolute value, so that 32-bit wrap-around can be undone."""

MAX_LENGTH = 2**22
"""Words of one vector: 16 MB a report."""

TAIL_SIGMAS = 10
"""Room for noise, in one party's σ: 7 of both parties' together, passed once in 10¹¹ coordinates."""

ROUNDING_SLACK = 5.2656
"""√(2·ln 2²⁰): stochastic rounding exceeds the integer bound, and is drawn again, less than once in 2²⁰."""

NAME = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


@dataclass(frozen=True)
class Part:
    """A named stretch of the vector with a public bound of its own.

    length: coordinates. clip_norm: bound on the part's L2 norm, in the vector's own unit. scale: integer steps a unit.
    clamped: each coordinate is clamped to ±clip_norm/√length instead of scaling the part as a whole: for counters
    and metrics, which would be distorted by the size of their neighbours.
    """

    name: str
    length: int
    clip_norm: float
    scale: float
    clamped: bool = False

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PlanRefused(f"part name={self.name!r}: must match {NAME.pattern}")
        if not 1 <= self.length <= MAX_LENGTH:
            raise PlanRefused(f"part {self.name}: length={self.length}: must be 1..{MAX_LENGTH}")
        for field in ("clip_norm", "scale"):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise PlanRefused(f"part {self.name}: {field}={value}: must be finite and above 0")
        if not self.clip_norm * self.scale < WORD_LIMIT:
            raise PlanRefused(
                f"part {self.name}: clip_norm·scale={self.clip_norm * self.scale}: must be below {WORD_LIMIT}"
            )

    @property
    def limit(self) -> float:
        """Bound on one coordinate of a clamped part, in the vector's own unit."""
        return self.clip_norm / math.sqrt(self.length)

    @property
    def bound_squared(self) -> int:
        """Bound on the squared L2 norm of the rounded part, in integer steps.

        Rounding adds less than 1 a coordinate in the worst case, and d/4 to the squared norm in expectation; the
        smaller of the worst case and a high-probability bound (Kairouz, Liu, Steinke 2021, Prop. 22) is taken.
        Only multiplication, addition and square roots of IEEE doubles: every implementation finds the same integer.
        """
        if self.clamped:
            return self.length * math.ceil(self.limit * self.scale) ** 2
        c, root = self.clip_norm * self.scale, math.sqrt(self.length)
        worst = (c + root) * (c + root)
        likely = c * c + self.length / 4.0 + ROUNDING_SLACK * (c + root / 2.0)
        return math.floor(min(worst, likely))

    @property
    def coordinate_bound(self) -> int:
        """Bound on the absolute value of one rounded coordinate, in integer steps."""
        return math.ceil(self.limit * self.scale) if self.clamped else math.isqrt(self.bound_squared)


@dataclass(frozen=True)
class SumPlan:
    """The parts and bounds of one sum.

    sigma: scale of the discrete Gaussian that each of the two parties adds to every coordinate, in integer steps;
    0 is privacy off, for simulation and loopback. Refused if max_reports × bound + 10·sigma could reach 2**31.
    """

    parts: tuple[Part, ...]
    min_reports: int
    max_reports: int
    sigma: int

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise PlanRefused(f"parts={names}: must be at least one, with distinct names")
        if self.length > MAX_LENGTH:
            raise PlanRefused(f"length={self.length}: must be at most {MAX_LENGTH}")
        if not 1 <= self.min_reports <= self.max_reports:
            raise PlanRefused(f"min_reports={self.min_reports}: must be 1..max_reports={self.max_reports}")
        if self.sigma < 0:
            raise PlanRefused(f"sigma={self.sigma}: must be 0 or more")
        for part in self.parts:
            reach = self.max_reports * part.coordinate_bound + TAIL_SIGMAS * self.sigma
            if reach >= WORD_LIMIT:
                raise PlanRefused(
                    f"part {part.name}: max_reports={self.max_reports} × {part.coordinate_bound}"
                    f" + {TAIL_SIGMAS}·{self.sigma} = {reach}: must be below {WORD_LIMIT}"
                )

    @property
    def length(self) -> int:
        """Words of the whole vector: the parts one after the other."""
        return sum(part.length for part in self.parts)

    @property
    def sensitivity_squared(self) -> int:
        """Squared L2 norm that one report can add to the sum, in integer steps (zero-out adjacency)."""
        return sum(part.bound_squared for part in self.parts)

    @property
    def noise_multiplier(self) -> float:
        """One party's sigma over the sensitivity. The sum as published carries √2 of it."""
        return self.sigma / math.sqrt(self.sensitivity_squared)

    @property
    def private(self) -> bool:
        """False if no noise is added: such a sum is for simulation and loopback only."""
        return self.sigma > 0

    def slices(self) -> dict[str, slice]:
        """Locate each part in the vector."""
        stops, at = {}, 0
        for part in self.parts:
            stops[part.name] = slice(at, at + part.length)
            at += part.length
        return stops
