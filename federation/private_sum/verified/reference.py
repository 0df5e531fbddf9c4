"""The proof again in plain Python, slow and obvious: integers, tuples and loops. Tests hold the fast one to it.

The field is a parameter, so that errors which the real field makes invisible can be counted in a small one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from federation.private_sum.verified.field import CUBE, MODULUS, Elements, stream
from federation.private_sum.verified.proof_plan import ProofPlan, range_bits, range_weights
from federation.private_sum.verified.transcript import Challenges, Commitments, Transcript, challenges

Number: TypeAlias = tuple[int, int, int]
"""An element of K."""


@dataclass(frozen=True)
class CubicField:
    """K = F[X]/(X³ − cube) over the integers modulo a prime; generator: of the non-zero integers."""

    modulus: int = MODULUS
    cube: int = CUBE
    generator: int = 5

    def number(self, value: int) -> Number:
        """Read an integer as an element of K."""
        return value % self.modulus, 0, 0

    def plus(self, a: Number, b: Number) -> Number:
        """Add a + b."""
        return (a[0] + b[0]) % self.modulus, (a[1] + b[1]) % self.modulus, (a[2] + b[2]) % self.modulus

    def minus(self, a: Number, b: Number) -> Number:
        """Subtract a − b."""
        return self.plus(a, self.times(self.number(-1), b))

    def times(self, a: Number, b: Number) -> Number:
        """a·b."""
        product = [0] * 5
        for i in range(3):
            for j in range(3):
                product[i + j] += a[i] * b[j]
        return (
            (product[0] + self.cube * product[3]) % self.modulus,
            (product[1] + self.cube * product[4]) % self.modulus,
            product[2] % self.modulus,
        )

    def inverse(self, a: Number) -> Number:
        """1/a, as a raised to the size of K − 2."""
        result, base, exponent = self.number(1), a, self.modulus**3 - 2
        while exponent:
            if exponent & 1:
                result = self.times(result, base)
            base, exponent = self.times(base, base), exponent >> 1
        return result

    def total(self, numbers: Sequence[Number]) -> Number:
        """Sum of numbers."""
        result = self.number(0)
        for number in numbers:
            result = self.plus(result, number)
        return result

    def roots(self, order: int) -> list[Number]:
        """All roots of unity of an order, by powers of one."""
        root = pow(self.generator, (self.modulus - 1) // order, self.modulus)
        return [self.number(pow(root, i, self.modulus)) for i in range(order)]

    def interpolate(self, points: Sequence[Number], values: Sequence[Number], at: Number) -> Number:
        """Evaluate the polynomial through all points, at another one (Lagrange)."""
        result = self.number(0)
        for point, value in zip(points, values, strict=True):
            above, below = value, self.number(1)
            for other in points:
                if other != point:
                    above = self.times(above, self.minus(at, other))
                    below = self.times(below, self.minus(point, other))
            result = self.plus(result, self.times(above, self.inverse(below)))
        return result

    def row_at(self, mask: Number, row: Sequence[int], at: Number) -> Number:
        """Make a row's polynomial: its mask at 1, its values at the other roots of unity."""
        points, values = self.roots(len(row) + 1), [mask, *map(self.number, row)]
        return values[points.index(at)] if at in points else self.interpolate(points, values, at)

    def squares_at(self, rows: Sequence[Number], weights: Sequence[Number], *, less_themselves: bool = False) -> Number:
        """Σ wₘ·fₘ², or Σ wₘ·(fₘ² − fₘ), of rows' values at one point."""
        terms = [self.minus(self.times(f, f), f if less_themselves else self.number(0)) for f in rows]
        return self.total([self.times(weight, term) for weight, term in zip(weights, terms, strict=True)])

    def prove(
        self,
        rows: Sequence[Sequence[int]],
        masks: Sequence[Number],
        weights: Sequence[Number],
        *,
        less_themselves: bool = False,
    ) -> list[Number]:
        """Compute the weighted squares at all roots of unity of twice the rows' order."""
        proof = []
        for point in self.roots(2 * (len(rows[0]) + 1)):
            values = [self.row_at(mask, row, point) for mask, row in zip(masks, rows, strict=True)]
            proof.append(self.squares_at(values, weights, less_themselves=less_themselves))
        return proof


@dataclass(frozen=True)
class PlainShare:
    """One party's share of everything, as plain numbers."""

    vector: list[int] = field(repr=False)
    bits: list[int] = field(repr=False)
    squares: list[Number] = field(repr=False)
    of_bits: list[Number] = field(repr=False)
    masks: list[Number] = field(repr=False)


def prove_plainly(
    proof: ProofPlan, vector: Sequence[int], context: bytes, seed: bytes, blind: bytes
) -> tuple[bytes, Commitments]:
    """Make the service's share, and what it commits to: as `proof.prove_with`, for an attempt that succeeds."""
    k, transcript = CubicField(), Transcript(context)
    drawn = [int(value) for value in stream(seed, proof.n_elements + proof.n_masks)]
    theirs = iter(drawn)

    def share(values: Sequence[int]) -> bytes:
        return b"".join(((value - next(theirs)) % MODULUS).to_bytes(5, "little") for value in values)

    bits: list[int] = []
    for part, where in zip(proof.plan.parts, proof.plan.slices().values(), strict=True):
        bits += range_bits(sum(value * value for value in vector[where]), part.bound_squared)
    head = share([*vector, *bits])
    seed_commitment = transcript.seed_commitment(seed)
    of_vector = transcript.commit(b"vector", b"", blind, head)

    projection_key = transcript.projection_key(seed_commitment, of_vector)
    projected: list[int] = []
    for value in project_plainly(projection_key, proof.checks, list(vector)):
        projected += range_bits(value + proof.half_width, 2 * proof.half_width)
    middle = share(projected)
    of_projections = transcript.commit(b"projections", projection_key, blind, middle)

    weights_key = transcript.weights_key(projection_key, of_projections)
    weights, bit_weights = _weights(proof, weights_key)
    mine = stream(transcript.mask_key(blind), proof.n_masks)
    sums = [int(a) + b for a, b in zip(mine, drawn[proof.n_elements :], strict=True)]
    masks, rows = _numbers(sums), _rows_of_parts(proof, vector)
    bit_rows = _rows([*bits, *projected], proof.bit_domain)
    squares = k.prove(rows, masks[: len(rows)], weights)
    of_bits = k.prove(bit_rows, masks[len(rows) :], bit_weights, less_themselves=True)
    tail = share([value for number in (*squares, *of_bits) for value in number])
    of_proofs = transcript.commit(b"proofs", weights_key, blind, tail)
    return head + middle + tail + blind + seed_commitment, Commitments(of_vector, of_projections, of_proofs)


def open_plainly(proof: ProofPlan, share: PlainShare, drawn: Challenges, constant: int) -> list[Number]:
    """One party's share of what is opened, in the order of `proof._open`. constant: added to each projection."""
    k = CubicField()
    weights, _ = _weights(proof, drawn.weights_key)
    point, of_squares, *others = _numbers(stream(drawn.opening_key, 3 * (1 + proof.checks + proof.bit_domain)))
    rows, bit_rows = _rows_of_parts(proof, share.vector), _rows(share.bits, proof.bit_domain)
    opened = [k.row_at(mask, row, point) for mask, row in zip(share.masks, rows + bit_rows, strict=True)]
    opened.append(k.interpolate(k.roots(2 * proof.domain), share.squares, point))
    opened.append(k.interpolate(k.roots(2 * proof.bit_domain), share.of_bits, point))

    bits, first_row = iter(share.bits), 0
    norms = k.total(share.squares[2::2])
    for part, n_rows in zip(proof.plan.parts, proof.rows, strict=True):
        norm = sum(weight * next(bits) for weight in range_weights(part.bound_squared))
        norms, first_row = k.minus(norms, k.times(weights[first_row], k.number(norm))), first_row + n_rows
    missed = k.times(of_squares, norms)
    projected = project_plainly(drawn.projection_key, proof.checks, share.vector)
    for weight, value in zip(others[: proof.checks], projected, strict=True):
        told = sum(weight * next(bits) for weight in range_weights(2 * proof.half_width))
        missed = k.plus(missed, k.times(weight, k.number(value + constant - told)))
    for weight, column in zip(others[proof.checks :], share.of_bits[2::2], strict=True):
        missed = k.plus(missed, k.times(weight, column))
    return [*opened, missed]


def accepts_plainly(proof: ProofPlan, opened: Sequence[Number], drawn: Challenges) -> bool:
    """Tell whether both shares opened, added up, are those of a true proof."""
    k = CubicField()
    weights, bit_weights = _weights(proof, drawn.weights_key)
    *rows, squares, of_bits, missed = opened
    n = len(weights)
    return (
        k.squares_at(rows[:n], weights) == squares
        and k.squares_at(rows[n:], bit_weights, less_themselves=True) == of_bits
        and missed == k.number(0)
    )


def check_plainly(proof: ProofPlan, share: bytes, seed: bytes, context: bytes) -> bool:
    """Tell whether a service's share (bytes, well-formed) and a seed are a report that keeps its bounds."""
    k, transcript = CubicField(), Transcript(context)
    n = 5 * proof.n_elements
    blind, seed_commitment = share[n : n + 32], share[n + 32 :]
    first, second = 5 * (proof.plan.length + sum(proof.norm_bits)), 5 * (proof.plan.length + proof.n_bits)
    of_vector = transcript.commit(b"vector", b"", blind, share[:first])
    projection_key = transcript.projection_key(seed_commitment, of_vector)
    of_projections = transcript.commit(b"projections", projection_key, blind, share[first:second])
    weights_key = transcript.weights_key(projection_key, of_projections)
    of_proofs = transcript.commit(b"proofs", weights_key, blind, share[second:n])
    commitments = Commitments(of_vector, of_projections, of_proofs)
    service, custodian = (
        challenges(transcript, commitment, commitments)
        for commitment in (seed_commitment, transcript.seed_commitment(seed))
    )
    listed = [int.from_bytes(share[at : at + 5], "little") for at in range(0, n, 5)]
    ours = _plain_share(proof, listed + [int(v) for v in stream(transcript.mask_key(blind), proof.n_masks)])
    theirs = _plain_share(proof, [int(v) for v in stream(seed, proof.n_elements + proof.n_masks)])
    halves = (open_plainly(proof, ours, service, 0), open_plainly(proof, theirs, custodian, proof.half_width))
    return accepts_plainly(proof, [k.plus(a, b) for a, b in zip(*halves, strict=True)], custodian)


def project_plainly(key: bytes, checks: int, vector: Sequence[int]) -> list[int]:
    """⟨z, vector⟩ of each projection, not reduced."""
    raw = Cipher(AES256(key), CTR(bytes(16))).encryptor().update(bytes(len(vector) * checks // 4))
    totals = [0] * checks
    for i, value in enumerate(vector):
        for check in range(checks):
            byte = raw[i * checks // 4 + check // 4] >> 2 * (check % 4)
            totals[check] += value * ((byte & 1) - (byte >> 1 & 1))
    return totals


def _plain_share(proof: ProofPlan, listed: Sequence[int]) -> PlainShare:
    values: Iterator[int] = iter(listed)

    def take(n: int) -> list[int]:
        return [next(values) for _ in range(n)]

    return PlainShare(
        vector=take(proof.plan.length),
        bits=take(proof.n_bits),
        squares=_numbers(take(6 * proof.domain)),
        of_bits=_numbers(take(6 * proof.bit_domain)),
        masks=_numbers(take(proof.n_masks)),
    )


def _rows(values: Sequence[int], domain: int) -> list[list[int]]:
    rows = [list(values[at : at + domain - 1]) for at in range(0, len(values), domain - 1)]
    rows[-1] += [0] * (domain - 1 - len(rows[-1]))
    return rows


def _rows_of_parts(proof: ProofPlan, vector: Sequence[int]) -> list[list[int]]:
    return [row for where in proof.plan.slices().values() for row in _rows(vector[where], proof.domain)]


def _weights(proof: ProofPlan, weights_key: bytes) -> tuple[list[Number], list[Number]]:
    drawn = _numbers(stream(weights_key, 3 * (len(proof.rows) + proof.bit_rows)))
    parts = [weight for weight, n in zip(drawn, proof.rows, strict=False) for _ in range(n)]
    return parts, drawn[len(proof.rows) :]


def _numbers(values: Sequence[int] | Elements) -> list[Number]:
    return [(int(values[i]), int(values[i + 1]), int(values[i + 2])) for i in range(0, len(values), 3)]
