"""What a proof of bounds consists of, by the plan of its sum, and how often it errs. Everything here is public.

A report holds its vector x, the sum of squares of each part in bits, r random projections of x in bits, and a proof.
Wraparound (PINE, lemma 4.3; constants by the argument of `projection_passes`): a projection is ⟨z, x⟩, where each zᵢ is
−1, 0, 1 with probability ¼, ½, ¼. All of them lie within ±half_width, but for one in 2⁴⁰ honest reports. If the squares
add up to MODULUS or more, each does with probability ½ at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from federation.private_sum.plan import SumPlan
from federation.private_sum.refusals import PlanRefused
from federation.private_sum.verified.field import DEGREE, EXTENSION_SIZE, MODULUS

CHECKS = 104
"""Random projections: 2⁻¹⁰⁴ is what they let through, which leaves room for the proof's own 2⁻¹⁰⁹ below 2⁻¹⁰⁰."""

ZERO_KNOWLEDGE_ERROR = 2.0**-40
"""Statistical distance that one attempt adds to δ: a millionth of a δ of 10⁻⁶."""

BERRY_ESSEEN = 0.56
"""Shevtsova 2010, for sums of independent variables that need not be alike."""

_MAX_DOMAIN = 2**12


@dataclass(frozen=True)
class ProofPlan:
    """Layout and errors of the proofs of one sum.

    checks: random projections, a multiple of 4. zero_knowledge_error: the most that one attempt may tell, and how
    often an honest one fails. Raises PlanRefused for a plan whose steps are too fine for the field.
    """

    plan: SumPlan
    checks: int = CHECKS
    zero_knowledge_error: float = ZERO_KNOWLEDGE_ERROR

    def __post_init__(self) -> None:
        if self.checks < 4 or self.checks % 4:
            raise PlanRefused(f"checks={self.checks}: must be a multiple of 4")
        if not 0.0 < self.zero_knowledge_error < 1.0:
            raise PlanRefused(f"zero_knowledge_error={self.zero_knowledge_error}: must be above 0 and below 1")
        if self.projection_passes > 0.5:
            raise PlanRefused(
                f"sensitivity={math.sqrt(self.plan.sensitivity_squared):.0f} steps: a proof's projections would be as"
                f" wide as ±{self.half_width}, and must be within ±{_widest()}; take coarser scales"
            )

    @cached_property
    def half_width(self) -> int:
        """Bound of an honest projection: the least h with checks · 2·exp(−(h + 1)²/S) at most the error.

        S bounds the squared norm. The projection is sub-Gaussian: its moment generating function is
        Π cosh²(t·xᵢ/2) ≤ exp(t²S/4), so it reaches a with probability 2·exp(−a²/S) at most.
        """
        wanted = math.log(2.0 * self.checks / self.zero_knowledge_error) * self.plan.sensitivity_squared
        return max(math.isqrt(math.ceil(wanted)), 1)

    @property
    def attempt_error(self) -> float:
        """Probability that an honest attempt fails, and what its success can tell: statistical distance."""
        exponent = (self.half_width + 1) ** 2 / self.plan.sensitivity_squared
        return min(1.0, self.checks * 2.0 * math.exp(-exponent))

    @property
    def projection_passes(self) -> float:
        """Probability, at most, that one projection of a vector whose squares add up to MODULUS or more passes."""
        return projection_passes(self.half_width, MODULUS)

    @property
    def soundness_error(self) -> float:
        """Probability, at most, that one try at a false report passes: one choice of shares, or one hash of them.

        Projections, then weights (a form of K that is bilinear at most), then the point at which the proofs are
        opened (polynomials of degree below 2·domain) with the weights of what must be zero. No stage can be ground
        apart from the others: Q hashes pass with probability Q times this.
        """
        weights = 2.0 / EXTENSION_SIZE
        opened = (1.0 + 2.0 * max(self.domain, self.bit_domain)) / (EXTENSION_SIZE - MODULUS)
        return float(self.projection_passes**self.checks + weights + opened)

    @cached_property
    def norm_bits(self) -> tuple[int, ...]:
        """Bits of each part's sum of squares."""
        return tuple(part.bound_squared.bit_length() for part in self.plan.parts)

    @property
    def projection_bits(self) -> int:
        """Bits of one projection, shifted by half_width."""
        return (2 * self.half_width).bit_length()

    @property
    def n_bits(self) -> int:
        """All bits of a report."""
        return sum(self.norm_bits) + self.checks * self.projection_bits

    @cached_property
    def domain(self) -> int:
        """Points of each row's polynomial, a power of two: one to hide it, the others its columns.

        The one with which proof and opened values take the fewest elements.
        """
        lengths = [part.length for part in self.plan.parts]
        return min(_domains(), key=lambda size: 2 * size + sum(_rows(length, size) for length in lengths))

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Rows of each part: its coordinates in domain − 1 columns, filled up with zeros."""
        return tuple(_rows(part.length, self.domain) for part in self.plan.parts)

    @cached_property
    def bit_domain(self) -> int:
        """As domain, of the bits."""
        return min(_domains(), key=lambda size: 2 * size + _rows(self.n_bits, size))

    @property
    def bit_rows(self) -> int:
        """Rows of all bits."""
        return _rows(self.n_bits, self.bit_domain)

    @property
    def n_proof(self) -> int:
        """Elements of F of both proofs: each a polynomial's values at 2·domain roots of unity, in K."""
        return 2 * DEGREE * (self.domain + self.bit_domain)

    @property
    def n_elements(self) -> int:
        """Elements of F in a share: vector, bits, proofs."""
        return self.plan.length + self.n_bits + self.n_proof

    @property
    def n_masks(self) -> int:
        """Elements of F that hide the rows: one of K each. Both parties draw their shares of them."""
        return DEGREE * (sum(self.rows) + self.bit_rows)

    @property
    def n_opened(self) -> int:
        """Elements of F that a party opens: each row and both proofs at one point, and one weighted sum; all of K."""
        return DEGREE * (sum(self.rows) + self.bit_rows + 3)


def projection_passes(half_width: int, modulus: int) -> float:
    """Probability, at most, that ⟨z, x⟩ mod modulus lies within ±half_width though ‖x‖² is modulus or more.

    Let W = 2·half_width + 1. If some |xᵢ| ≥ W, then of the three values that zᵢ leaves, the middle one and a neighbour
    are not both inside: at most ½. Else take coordinates whose squares add up to N in [q, q + W²); the others shift
    the interval. Their sum has variance N/2 and third moments of at most W·N/2, so Berry and Esseen give it at
    most W/√(πq) + 2·0.56·W·√(2/q) of any interval of W integers, plus the tails beyond q/2 − W of the next one.
    Above ½ where the argument does not hold.
    """
    width = 2 * half_width + 1
    if 4 * width >= modulus:
        return 1.0
    normal = width / math.sqrt(math.pi * modulus)
    far_from_normal = 2.0 * BERRY_ESSEEN * width * math.sqrt(2.0 / modulus)
    tails = 2.0 * math.exp(-((modulus / 2.0 - width) ** 2) / (modulus + width**2))
    return max(0.5, normal + far_from_normal + tails)


def range_weights(top: int) -> tuple[int, ...]:
    """Weights of bits whose sums are exactly the integers 0..top: powers of two, and what is left to top."""
    n = top.bit_length()
    return (*(2**i for i in range(n - 1)), top - (2 ** (n - 1) - 1))


def range_bits(value: int, top: int) -> tuple[int, ...]:
    """Bits of a value in 0..top under range_weights(top)."""
    if not 0 <= value <= top:
        raise ValueError(f"value={value}: must be 0..{top}")
    *powers, last = range_weights(top)
    is_high = value >= 2 ** len(powers)
    rest = value - last if is_high else value
    return (*(rest >> i & 1 for i in range(len(powers))), int(is_high))


def _domains() -> list[int]:
    return [2**k for k in range(1, _MAX_DOMAIN.bit_length())]


def _rows(length: int, domain: int) -> int:
    return -(-length // (domain - 1))


def _widest() -> int:
    """Find the largest half width that the field allows."""
    low, high = 0, MODULUS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if projection_passes(middle, MODULUS) <= 0.5 else (low, middle - 1)
    return low
