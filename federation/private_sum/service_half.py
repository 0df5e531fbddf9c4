"""The service's half of a sum: adds up shares it cannot read, then its own noise, then the custodian's half."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from data.errors import BatchTooSmall
from federation.private_sum.exchange import Answer, SealedSeed
from federation.private_sum.fixed_point import Words, to_signed
from federation.private_sum.noise import discrete_gaussian
from federation.private_sum.plan import SumPlan
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.refusals import BatchRefused, ProofFailed
from federation.private_sum.report_share import proof_plan, share_bytes
from federation.private_sum.sealing import Binding, Suite
from federation.private_sum.shares import WIRE_WORD, combine
from federation.private_sum.verified import field
from federation.private_sum.verified.proof import ServiceShare, open_service_share, vector_share


def seed_for_custodian(
    plan: SumPlan, suite: Suite, binding: Binding, sealed_seed: bytes, share: bytes | memoryview
) -> SealedSeed:
    """Build what the custodian gets of one report. Of a verified one, also the service's share of the opened proof.

    Raises ProofFailed for a share that is none, which the service leaves out itself.
    """
    if not suite.verified:
        return SealedSeed(binding.report_id, sealed_seed)
    proof = proof_plan(plan)
    commitments, opened = open_service_share(proof, ServiceShare.from_bytes(proof, share), binding.info)
    return SealedSeed(binding.report_id, sealed_seed, commitments.to_bytes(), opened)


def service_half(plan: SumPlan, shares: Iterable[bytes]) -> Words:
    """Sum the shares mod 2**32, plus the service's own discrete Gaussian of full sigma: (plan.length,) uint32.

    shares: those of the reports the custodian counted, in any order. Raises BatchTooSmall below min_reports and
    BatchRefused for a share of another length.
    """
    total, n = np.zeros(plan.length, dtype=np.uint32), 0
    for share in _checked(plan, Suite.X25519, shares):
        total += np.frombuffer(share, dtype=WIRE_WORD)
        n += 1
    _check_enough(plan, n)
    total += discrete_gaussian(plan.sigma, plan.length, secure_bytes()).astype(np.uint32)
    return total


def verified_service_half(plan: SumPlan, shares: Iterable[bytes]) -> field.Elements:
    """Sum verified reports as `service_half` does, (plan.length,) of F. Raises ProofFailed for a share that is none."""
    proof, total, n = proof_plan(plan), np.zeros(plan.length, dtype=np.uint64), 0
    for share in _checked(plan, Suite.VERIFIED, shares):
        n += 1
        try:
            total += vector_share(proof, share)
        except ValueError as error:
            raise ProofFailed(f"share: {error}") from None
    _check_enough(plan, n)
    noise = discrete_gaussian(plan.sigma, plan.length, secure_bytes())
    return field.add(total, field.of_integers(noise))


def finished_sum(plan: SumPlan, suite: Suite, shares: Iterable[bytes], answer: Answer) -> npt.NDArray[np.int32]:
    """Sum all reports with both parties' noise: (plan.length,) int32; `decode` gives its units.

    Raises BatchRefused for an answer that is not of the suite, too.
    """
    if answer.verified is not suite.verified:
        raise BatchRefused(f"verified={answer.verified}: must be {suite.verified}, as the task's suite")
    if not suite.verified:
        return to_signed(combine(service_half(plan, shares), answer.words))
    try:
        theirs = field.from_bytes(answer.half)
    except ValueError as error:
        raise BatchRefused(f"half: {error}") from None
    return field.centred(field.add(verified_service_half(plan, shares), theirs)).astype(np.int32)


def _checked(plan: SumPlan, suite: Suite, shares: Iterable[bytes]) -> Iterable[bytes]:
    wanted = share_bytes(plan, suite)
    for share in shares:
        if len(share) != wanted:
            raise BatchRefused(f"share of {len(share)} bytes: must be {wanted}")
        yield share


def _check_enough(plan: SumPlan, n: int) -> None:
    if n < plan.min_reports:
        raise BatchTooSmall(f"reports={n}: must be at least min_reports={plan.min_reports}")
