"""What interleaving learns of a shopper, as a bounded vector, and the test of the sums: does one ranker win more?

A shopper is one unit: x = W − L, sessions that the challenger won minus sessions it lost, each counted up to a cap. Of
all shoppers only Σ 1, Σ x and Σ x² are known, with the noise of privacy in them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from data.errors import DataError
from recsys.experiments.intervals import ALPHA, check_alpha
from recsys.experiments.layout import N_SHARE, PRIMARY_SHARE, SQUARES
from recsys.experiments.planning import POWER
from recsys.experiments.sums import ArmSums, SumsNoise

Integers = npt.NDArray[np.int64]
COLUMN = "preference"
SQUARE = (COLUMN, COLUMN)

CAP = 3
"""Sessions won, and sessions lost, that count of one shopper: a few say whom one prefers, and bound what one adds."""


@dataclass(frozen=True)
class Tally:
    """A device's own account: sessions that the challenger won and lost, 0..cap each. Only grows; prints no value."""

    wins: int = 0
    losses: int = 0
    cap: int = CAP

    def __post_init__(self) -> None:
        if self.cap < 1 or not (0 <= self.wins <= self.cap and 0 <= self.losses <= self.cap):
            raise DataError(f"cap={self.cap}: must be 1 or more, and wins and losses 0..cap")

    def __repr__(self) -> str:
        return "Tally(…)"

    def after(self, preference: int) -> Tally:
        """With one session more: −1, 0 or 1. Raises DataError for another value."""
        if preference not in (-1, 0, 1):
            raise DataError("preference: must be -1, 0 or 1")
        won, lost = min(self.wins + (preference > 0), self.cap), min(self.losses + (preference < 0), self.cap)
        return replace(self, wins=won, losses=lost)


@dataclass(frozen=True)
class PreferenceLayout:
    """The three coordinates of a contribution, Σ 1, Σ x, Σ x², in integer steps, and how long one can get.

    With W and L in 0..cap, x = W − L and x² = (W² + L²) − 2·W·L are differences of two parts that start at 0 and never
    fall: increments Δ of a part that rises to at most B have ΣΔ² ≤ B², so all windows together are one vector within
    `bound_squared` (as in recsys/experiments/layout.py). steps: integers a unit of each coordinate; the shares of the
    sensitivity are those of an experiment's primary metric.
    """

    cap: int
    steps: tuple[int, int, int]

    @staticmethod
    def of(cap: int = CAP, resolution: int = 2**12) -> PreferenceLayout:
        """resolution: length of the longest contribution in steps, about; steps are whole, so sums are exact."""
        shares = np.array([N_SHARE, PRIMARY_SHARE, SQUARES])
        wanted = shares / np.linalg.norm(shares) * resolution
        bounds = [math.hypot(*pair) for pair in zip(*_most(cap), strict=True)]
        steps = [max(1, int(length / bound)) for length, bound in zip(wanted, bounds, strict=True)]
        return PreferenceLayout(cap, (steps[0], steps[1], steps[2]))

    @property
    def bound_squared(self) -> int:
        """Bound on the squared L2 norm, in steps, of one device's contributions: of each, and of all together."""
        return sum(
            (part * step) ** 2 for parts in _most(self.cap) for part, step in zip(parts, self.steps, strict=True)
        )

    def contribution(self, before: Tally | None, now: Tally) -> Integers:
        """(3,) int64: what a device adds in a window. before: what it last reported; None: it never did.

        Windows add up to (1, x, x²) of the shopper. A device without a new session sends zeros. Raises DataError for a
        tally of another cap, or one that fell.
        """
        old = before or Tally(cap=self.cap)
        if {old.cap, now.cap} != {self.cap} or now.wins < old.wins or now.losses < old.losses:
            raise DataError(f"tally: must have cap={self.cap} and never fall")
        rise = np.array(_values(now)) - np.array([1 if before else 0, *_values(old)[1:]])
        return np.asarray(rise * np.array(self.steps), dtype=np.int64)

    def sums(self, total: npt.NDArray[np.integer], *, sigma: float = 0.0, windows: int = 1) -> ArmSums:
        """The windows' sums, (3,) in steps, as sums of one column `preference`.

        sigma: of one party's noise in steps; each window carries the noise of both, 2σ² a coordinate.
        """
        if total.shape != (3,):
            raise DataError(f"sums of shape {total.shape}: must be (3,)")
        n, x, square = (float(value) / step for value, step in zip(total, self.steps, strict=True))
        noise = [2.0 * sigma**2 * windows / step**2 for step in self.steps]
        return preference_sums(n, x, square, SumsNoise(noise[0], {COLUMN: noise[1]}, {SQUARE: noise[2]}))


def preference_sums(n: float, total: float, squares: float, noise: SumsNoise | None = None) -> ArmSums:
    """Σ 1, Σ x, Σ x² of a log or a simulation, or with noise."""
    return ArmSums(n, {COLUMN: total}, {SQUARE: squares}, noise or SumsNoise())


@dataclass(frozen=True)
class PreferenceTest:
    """Is the challenger preferred? mean of x over shoppers, its interval, the t test's p and, of exact sums of single
    sessions (x in −1, 0, 1), wins, losses and the sign test's p; None otherwise.
    """

    shoppers: float
    mean: float
    low: float
    high: float
    p_value: float
    wins: int | None
    losses: int | None
    sign_p_value: float | None

    def to_dict(self) -> dict[str, object]:
        """As JSON."""
        return asdict(self)


def preference_test(sums: ArmSums, *, single_sessions: bool = False, alpha: float = ALPHA) -> PreferenceTest:
    """One look that was fixed before: t with the noise's variance in it (two-sided), and the sign test where it can be.

    single_sessions: each unit is one session, so that wins and losses follow from the sums. Raises SumsTooSmall where
    the sums say nothing yet, and DataError for sums that no single sessions have.
    """
    check_alpha(alpha)
    mean, error, df = sums.mean(COLUMN), math.sqrt(sums.mean_cov(COLUMN, COLUMN)), sums.n - 1.0
    half = -float(special.stdtrit(df, alpha / 2)) * error
    wins = losses = sign = None
    if single_sessions and sums.exact:
        both = (sums.products[SQUARE] + sums.totals[COLUMN]) / 2, (sums.products[SQUARE] - sums.totals[COLUMN]) / 2
        if any(count < 0 or count != round(count) for count in both) or sum(both) > sums.n:
            raise DataError("sums: are not of single sessions, each -1, 0 or 1")
        wins, losses = round(both[0]), round(both[1])
        sign = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    p_value = 2.0 * float(special.stdtr(df, -abs(mean) / error))
    return PreferenceTest(sums.n, mean, mean - half, mean + half, p_value, wins, losses, sign)


def sessions_needed(mean: float, variance: float, *, power: float = POWER, alpha: float = ALPHA) -> float:
    """Units with which a mean preference is shown with probability power: (z + z')²·variance/mean². Round up."""
    check_alpha(alpha)
    if not (mean and math.isfinite(mean) and variance > 0 and 0 < power < 1):
        raise DataError(f"mean={mean}, variance={variance}, power={power}: must be not 0, above 0, and within 0..1")
    z = -float(special.ndtri(alpha / 2)) + float(special.ndtri(power))
    return z**2 * variance / mean**2


def _values(tally: Tally) -> tuple[int, int, int]:
    x = tally.wins - tally.losses
    return 1, x, x * x


def _most(cap: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """How far the rising and the falling part of each coordinate can come."""
    return (1, cap, 2 * cap**2), (0, cap, 2 * cap**2)
