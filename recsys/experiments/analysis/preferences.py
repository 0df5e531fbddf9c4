"""One test of what interleaving summed: does one ranker win more? Repeated looks are those of any experiment.

A shopper is one unit: x = W − L, sessions that the challenger won minus sessions it lost, each counted up to a cap. Of
all shoppers only Σ 1, Σ x and Σ x² are known, with the noise of privacy in them
(recsys/experiments/analysis/layout.py).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from scipy import special, stats

from data.errors import DataError
from recsys.experiments.analysis.intervals import ALPHA, POWER, check_alpha
from recsys.experiments.analysis.sums import ArmSums, SumsNoise

COLUMN = "preference"
SQUARE = (COLUMN, COLUMN)


def preference_sums(n: float, total: float, squares: float, noise: SumsNoise | None = None) -> ArmSums:
    """Collect Σ 1, Σ x, Σ x² of a log or a simulation, or with noise."""
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
        """Convert to JSON."""
        return asdict(self)


def preference_test(sums: ArmSums, *, single_sessions: bool = False, alpha: float = ALPHA) -> PreferenceTest:
    """Test at one look that was fixed before.

    By t with the noise's variance in it (two-sided), and by the sign test where it can be.

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
    """Compute the units with which a mean preference is shown with probability power: (z + z')²·variance/mean².

    Round up.
    """
    check_alpha(alpha)
    if not (mean and math.isfinite(mean) and variance > 0 and 0 < power < 1):
        raise DataError(f"mean={mean}, variance={variance}, power={power}: must be not 0, above 0, and within 0..1")
    z = -float(special.ndtri(alpha / 2)) + float(special.ndtri(power))
    return z**2 * variance / mean**2
