"""Making a proof on the device, opening it at the two parties, and deciding: one message from service to custodian.

A share is, in elements of F: vector, bits of the norms, bits of the projections, proof of squares, proof of bits.
The custodian's is the stream of its seed; its share of the masks follows in the same stream.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from federation.private_sum.refusals import PlanRefused, ProofFailed
from federation.private_sum.verified import gadget
from federation.private_sum.verified.field import (
    DEGREE,
    ELEMENT_BYTES,
    Elements,
    add,
    from_bytes,
    matmul,
    multiply,
    multiply_extended,
    of_integers,
    stream,
    subtract,
    to_bytes,
)
from federation.private_sum.verified.projections import project_integers, project_shares
from federation.private_sum.verified.proof_plan import ProofPlan, range_bits, range_weights
from federation.private_sum.verified.transcript import (
    BLIND_BYTES,
    HASH_BYTES,
    Challenges,
    Commitments,
    Transcript,
    challenges,
)

SEED_BYTES = 32
MAX_ATTEMPTS = 3
"""An honest attempt fails less than once in 2⁴⁰; each one made counts its error."""


@dataclass(frozen=True)
class Halves:
    """One report's two shares. share: for the service. seed: for the custodian, sealed together with commitments."""

    share: bytes = field(repr=False)
    seed: bytes = field(repr=False)
    commitments: Commitments
    attempts: int


def share_bytes(proof: ProofPlan) -> int:
    """Length of a service's share: its elements, its blind and the commitment to the custodian's seed."""
    return ELEMENT_BYTES * proof.n_elements + BLIND_BYTES + HASH_BYTES


def prove(proof: ProofPlan, vector: npt.NDArray[np.int32], context: bytes) -> Halves:
    """Both shares of an integer vector (plan.length,) that keeps its plan's bounds, and the proof that it does.

    context: the report's Binding.info without commitments. Raises PlanRefused for a vector beyond its bounds.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        halves = prove_with(proof, vector, context, os.urandom(SEED_BYTES), os.urandom(BLIND_BYTES), attempt)
        if halves is not None:
            return halves
    raise PlanRefused(f"proof: {MAX_ATTEMPTS} attempts failed, which honest devices see once in 2**100")


def prove_with(
    proof: ProofPlan,
    vector: npt.NDArray[np.int32],
    context: bytes,
    seed: bytes,
    blind: bytes,
    attempt: int = 1,
) -> Halves | None:
    """Prove under a seed and a blind (32 bytes each, of this report alone); None if a projection is too wide."""
    whole = vector.astype(np.int64)
    transcript = Transcript(context)
    drawn = stream(seed, proof.n_elements + proof.n_masks)
    cut = _cuts(proof)

    elements = np.empty(proof.n_elements, dtype=np.uint64)
    elements[cut.vector] = of_integers(whole)
    elements[cut.norms] = _norm_bits(proof, whole)
    share = np.empty_like(elements)

    def commit(stage: bytes, where: slice, before: bytes) -> bytes:
        share[where] = subtract(elements[where], drawn[where])
        return transcript.commit(stage, before, blind, to_bytes(share[where]))

    seed_commitment = transcript.seed_commitment(seed)
    of_vector = commit(b"vector", slice(0, cut.norms.stop), b"")
    projection_key = transcript.projection_key(seed_commitment, of_vector)
    projected = project_integers(projection_key, proof.checks, whole)
    if int(np.abs(projected).max()) > proof.half_width:
        return None
    top = 2 * proof.half_width
    bits = [range_bits(int(value) + proof.half_width, top) for value in projected]
    elements[cut.projections] = np.array(bits, dtype=np.uint64).ravel()
    of_projections = commit(b"projections", cut.projections, projection_key)
    weights_key = transcript.weights_key(projection_key, of_projections)

    masks = add(drawn[proof.n_elements :], stream(transcript.mask_key(blind), proof.n_masks)).reshape(-1, DEGREE)
    weights, bit_weights = _weights(proof, weights_key)
    rows, bit_rows = _rows(proof, elements)
    squares = gadget.prove_squares(rows, masks[: len(rows)], weights)
    of_bits = gadget.prove_squares(bit_rows, masks[len(rows) :], bit_weights, less_themselves=True)
    elements[cut.proofs] = np.concatenate((squares.ravel(), of_bits.ravel()))
    of_proofs = commit(b"proofs", cut.proofs, weights_key)
    return Halves(
        share=to_bytes(share) + blind + seed_commitment,
        seed=seed,
        commitments=Commitments(of_vector, of_projections, of_proofs),
        attempts=attempt,
    )


@dataclass(frozen=True)
class ServiceShare:
    """The service's share of one report, as far as it is well-formed."""

    elements: Elements = field(repr=False)
    blind: bytes = field(repr=False)
    seed_commitment: bytes

    @staticmethod
    def from_bytes(proof: ProofPlan, data: bytes | memoryview) -> ServiceShare:
        """Decode the share of its bytes. Raises ProofFailed for another length, or an element that is none."""
        if len(data) != share_bytes(proof):
            raise ProofFailed(f"share of {len(data)} bytes: must be {share_bytes(proof)}")
        n = ELEMENT_BYTES * proof.n_elements
        try:
            elements = from_bytes(memoryview(data)[:n])
        except ValueError as error:
            raise ProofFailed(f"share: {error}") from None
        return ServiceShare(elements, bytes(data[n : n + BLIND_BYTES]), bytes(data[n + BLIND_BYTES :]))


def vector_share(proof: ProofPlan, data: bytes | memoryview) -> Elements:
    """(plan.length,) of F: what of a service's share goes into the sum."""
    return from_bytes(memoryview(data)[: ELEMENT_BYTES * proof.plan.length])


def open_service_share(proof: ProofPlan, share: ServiceShare, context: bytes) -> tuple[Commitments, bytes]:
    """Make the service's message about one report.

    What its share commits to, and its share opened (5·n_opened bytes).
    """
    transcript, cut = Transcript(context), _cuts(proof)

    def commit(stage: bytes, where: slice, before: bytes) -> bytes:
        return transcript.commit(stage, before, share.blind, to_bytes(share.elements[where]))

    of_vector = commit(b"vector", slice(0, cut.norms.stop), b"")
    projection_key = transcript.projection_key(share.seed_commitment, of_vector)
    of_projections = commit(b"projections", cut.projections, projection_key)
    weights_key = transcript.weights_key(projection_key, of_projections)
    of_proofs = commit(b"proofs", cut.proofs, weights_key)
    drawn = Challenges(projection_key, weights_key, transcript.opening_key(weights_key, of_proofs))
    masks = stream(transcript.mask_key(share.blind), proof.n_masks)
    opened = _open(proof, share.elements, masks, drawn, constant=0)
    return Commitments(of_vector, of_projections, of_proofs), to_bytes(opened)


def check_report(
    proof: ProofPlan, seed: bytes, context: bytes, commitments: Commitments, service_opened: bytes
) -> Elements:
    """(plan.length,) of F: the custodian's share of a report that keeps its bounds; ProofFailed for any other."""
    transcript = Transcript(context)
    drawn = challenges(transcript, transcript.seed_commitment(seed), commitments)
    share = stream(seed, proof.n_elements + proof.n_masks)
    elements, masks = share[: proof.n_elements], share[proof.n_elements :]
    if len(service_opened) != ELEMENT_BYTES * proof.n_opened:
        raise ProofFailed(f"opened share of {len(service_opened)} bytes: must be {ELEMENT_BYTES * proof.n_opened}")
    try:
        theirs = from_bytes(service_opened)
    except ValueError as error:
        raise ProofFailed(f"opened share: {error}") from None
    mine = _open(proof, elements, masks, drawn, constant=proof.half_width)
    if not _holds(proof, add(mine, theirs), drawn):
        raise ProofFailed("proof: does not hold")
    return elements[: proof.plan.length]


@dataclass(frozen=True)
class _Cuts:
    """Slices of a share, one for each stretch."""

    vector: slice
    norms: slice
    projections: slice
    proofs: slice


def _cuts(proof: ProofPlan) -> _Cuts:
    length, norms = proof.plan.length, sum(proof.norm_bits)
    bits_end = length + proof.n_bits
    return _Cuts(
        vector=slice(0, length),
        norms=slice(length, length + norms),
        projections=slice(length + norms, bits_end),
        proofs=slice(bits_end, proof.n_elements),
    )


def _norm_bits(proof: ProofPlan, whole: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    bits: list[int] = []
    for part, where in zip(proof.plan.parts, proof.plan.slices().values(), strict=True):
        squared = int(whole[where] @ whole[where])
        if squared > part.bound_squared:
            raise PlanRefused(f"part {part.name}: squared norm is beyond its bound of {part.bound_squared}")
        bits.extend(range_bits(squared, part.bound_squared))
    return np.array(bits, dtype=np.uint64)


def _rows(proof: ProofPlan, elements: Elements) -> tuple[Elements, Elements]:
    """(sum(rows), domain − 1) of the parts and (bit_rows, bit_domain − 1) of all bits."""
    parts = [gadget.rows_of(elements[where], proof.domain) for where in proof.plan.slices().values()]
    cut = _cuts(proof)
    return np.concatenate(parts), gadget.rows_of(elements[cut.norms.start : cut.projections.stop], proof.bit_domain)


def _weights(proof: ProofPlan, weights_key: bytes) -> tuple[Elements, Elements]:
    """One weight of K for each row: of the parts, the same for all rows of a part, and of the bits."""
    n_parts = len(proof.rows)
    drawn = stream(weights_key, DEGREE * (n_parts + proof.bit_rows)).reshape(-1, DEGREE)
    return np.repeat(drawn[:n_parts], proof.rows, axis=0), drawn[n_parts:]


def _openings(proof: ProofPlan, opening_key: bytes) -> Elements:
    """(2 + checks + bit_domain − 1, 3): point, weight of the squares, of each projection, of each column of bits."""
    n = 2 + proof.checks + proof.bit_domain - 1
    drawn = stream(opening_key, DEGREE * n).reshape(-1, DEGREE)
    if not drawn[0, 1:].any():
        raise ProofFailed("proof: would be opened inside F")
    return drawn


def _open(proof: ProofPlan, elements: Elements, masks: Elements, drawn: Challenges, constant: int) -> Elements:
    """(n_opened,) of F: one party's share of everything that is opened. constant: added to each of its projections."""
    cut = _cuts(proof)
    weights, _ = _weights(proof, drawn.weights_key)
    point, of_squares, *others = _openings(proof, drawn.opening_key)
    of_projections, of_columns = np.array(others[: proof.checks]), np.array(others[proof.checks :])
    rows, bit_rows = _rows(proof, elements)
    masks = masks.reshape(-1, DEGREE)
    half = 2 * DEGREE * proof.domain
    squares = elements[cut.proofs][:half].reshape(-1, DEGREE)
    of_bits = elements[cut.proofs][half:].reshape(-1, DEGREE)

    norms, first_row, at = np.zeros(DEGREE, dtype=np.uint64), 0, cut.norms.start
    for part, n_rows, n in zip(proof.plan.parts, proof.rows, proof.norm_bits, strict=True):
        norm = _ranged(elements[at : at + n][None, :], part.bound_squared)
        norms = add(norms, multiply(weights[first_row], norm))
        first_row, at = first_row + n_rows, at + n
    missed_norms = subtract(gadget.total_of(squares[2::2]), norms)

    projected = add(
        project_shares(drawn.projection_key, proof.checks, elements[cut.vector]), np.array(constant, dtype=np.uint64)
    )
    told = _ranged(elements[cut.projections].reshape(proof.checks, -1), 2 * proof.half_width)
    missed = gadget.weighted_sum(of_projections, subtract(projected, told))
    missed = add(missed, multiply_extended(of_squares, missed_norms))
    columns = gadget.total_of(multiply_extended(of_columns, of_bits[2::2]))
    return np.concatenate(
        (
            gadget.open_rows(rows, masks[: len(rows)], point).ravel(),
            gadget.open_rows(bit_rows, masks[len(rows) :], point).ravel(),
            gadget.open_proof(squares, point),
            gadget.open_proof(of_bits, point),
            add(missed, columns),
        )
    )


def _holds(proof: ProofPlan, opened: Elements, drawn: Challenges) -> bool:
    """Tell whether both shares opened, added up, are those of a true proof."""
    weights, bit_weights = _weights(proof, drawn.weights_key)
    values = opened.reshape(-1, DEGREE)
    n = len(weights)
    rows, bit_rows, (squares, of_bits, missed) = values[:n], values[n:-3], values[-3:]
    wanted = gadget.total_of(multiply_extended(weights, multiply_extended(rows, rows)))
    bits = subtract(multiply_extended(bit_rows, bit_rows), bit_rows)
    wanted_bits = gadget.total_of(multiply_extended(bit_weights, bits))
    return not missed.any() and np.array_equal(wanted, squares) and np.array_equal(wanted_bits, of_bits)


def _ranged(bits: Elements, top: int) -> Elements:
    """(n,) of F: the numbers, or shares of them, whose bits (n, bits) are given under range_weights(top)."""
    weights = np.array(range_weights(top), dtype=np.uint64)
    return matmul(bits, weights[:, None])[:, 0]
