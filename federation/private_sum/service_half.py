"""The service's half of a sum: adds up shares it cannot read, then its own noise, then the custodian's half."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from data.errors import BatchTooSmall
from federation.private_sum.fixed_point import Words, to_signed
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.refusals import BatchRefused
from federation.private_sum.shares import WIRE_WORD, combine


def service_half(plan: SumPlan, shares: Iterable[bytes]) -> Words:
    """Sum the shares mod 2**32, plus the service's own discrete Gaussian of full sigma: (plan.length,) uint32.

    shares: those of the reports the custodian counted, in any order. Raises BatchTooSmall below min_reports and
    BatchRefused for a share of another length.
    """
    total, n = np.zeros(plan.length, dtype=np.uint32), 0
    for share in shares:
        if len(share) != plan.length * WIRE_WORD.itemsize:
            raise BatchRefused(f"share of {len(share)} bytes: must be {plan.length * WIRE_WORD.itemsize}")
        total += np.frombuffer(share, dtype=WIRE_WORD)
        n += 1
    if n < plan.min_reports:
        raise BatchTooSmall(f"reports={n}: must be at least min_reports={plan.min_reports}")
    total += discrete_gaussian(plan.sigma, plan.length, secure_bytes()).astype(np.uint32)
    return total


def finished_sum(plan: SumPlan, shares: Iterable[bytes], custodian_half: Words) -> npt.NDArray[np.int32]:
    """Sum all reports with both parties' noise: (plan.length,) int32; `decode` gives its units."""
    return to_signed(combine(service_half(plan, shares), custodian_half))
