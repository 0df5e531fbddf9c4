"""A report's share by the suite of its task: how long it is, and what two parties do with their halves of it."""

from __future__ import annotations

from functools import lru_cache

from federation.private_sum.plan import SumPlan
from federation.private_sum.sealing import Suite
from federation.private_sum.shares import WIRE_WORD
from federation.private_sum.verified import proof
from federation.private_sum.verified.field import ELEMENT_BYTES
from federation.private_sum.verified.proof_plan import ProofPlan
from federation.private_sum.verified.transcript import COMMITMENTS_BYTES


@lru_cache(maxsize=64)
def proof_plan(plan: SumPlan) -> ProofPlan:
    """Plan the proofs of a sum's reports.

    Raises PlanRefused for a plan whose steps are too fine to prove anything of.
    """
    return ProofPlan(plan)


def share_bytes(plan: SumPlan, suite: Suite) -> int:
    """Length of a report's share."""
    return proof.share_bytes(proof_plan(plan)) if suite.verified else WIRE_WORD.itemsize * plan.length


def proof_error(plan: SumPlan, suite: Suite) -> float:
    """Compute what a report's proof adds to δ.

    The zero-knowledge error of each attempt that a device may make; 0 without.
    """
    return proof.MAX_ATTEMPTS * proof_plan(plan).attempt_error if suite.verified else 0.0


def seed_bytes(plan: SumPlan, suite: Suite) -> int:
    """Length of what a batch holds of one report beside its id and one length: sealed seed, and its opened proof."""
    proofs = 4 + COMMITMENTS_BYTES + 4 + ELEMENT_BYTES * proof_plan(plan).n_opened if suite.verified else 0
    return suite.sealed_bytes + proofs
