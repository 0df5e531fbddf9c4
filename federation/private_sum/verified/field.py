"""Arithmetic of verified sums: the prime field F, and its cubic extension K from which challenges are drawn.

A challenge of F could be ground out offline: 2⁴⁰ tries find one that suits a false proof. K = F[X]/(X³ − 2) has 2¹²⁰
elements, so one proof is enough and no part of it can be ground alone, as parallel proofs over F could be.
Elements of F are uint64 below MODULUS; elements of K have a last axis of 3, constant term first.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

Elements: TypeAlias = npt.NDArray[np.uint64]

MODULUS = 2**40 - 2**25 - 2**23 + 1
"""The largest prime below 2⁴⁰ that is 1 modulo 3·2²²: roots of unity of order 2²³, and an irreducible X³ − 2."""

DEGREE = 3
CUBE = 2
"""X³ = CUBE in K; 2 has no cube root in F."""

EXTENSION_SIZE = MODULUS**DEGREE
ELEMENT_BYTES = 5
_TWO_ADICITY = 23
_NON_RESIDUE = 5
_P = np.uint64(MODULUS)
_LIMB = np.uint64(20)
_LIMB_MASK = np.uint64(2**20 - 1)
_EXACT_TERMS = 2**13
"""Products of two 20-bit limbs that float64 adds without rounding."""


def of_integers(values: npt.ArrayLike) -> Elements:
    """Signed integers as elements of F: −1 is MODULUS − 1."""
    elements: Elements = (np.asarray(values, dtype=np.int64) % MODULUS).astype(np.uint64)
    return elements


def centred(elements: Elements) -> npt.NDArray[np.int64]:
    """Elements of F as the integers of least absolute value."""
    values = elements.astype(np.int64)
    return np.where(values > MODULUS // 2, values - MODULUS, values)


def add(a: Elements, b: Elements) -> Elements:
    """Add a + b, of F or K."""
    return (a + b) % _P


def subtract(a: Elements, b: Elements) -> Elements:
    """Subtract a − b, of F or K."""
    return (a + (_P - b)) % _P


def multiply(a: Elements, b: Elements) -> Elements:
    """a·b in F, element by element.

    The quotient is estimated in float64, which is off by one at most; the remainder is exact modulo 2⁶⁴.
    """
    quotient = (a.astype(np.float64) * b.astype(np.float64) * (1.0 / MODULUS)).astype(np.uint64)
    with np.errstate(over="ignore"):  # numpy warns of scalars, which wrap around like arrays
        remainder = (a * b - quotient * _P).view(np.int64)
    remainder += (remainder < 0) * np.int64(MODULUS)
    remainder -= (remainder >= MODULUS) * np.int64(MODULUS)
    return remainder.view(np.uint64)


def matmul(a: Elements, b: Elements) -> Elements:
    """(m, n) of F: a (m, k) times b (k, n), in four float64 products of 20-bit limbs, each exact."""
    total = np.zeros((a.shape[0], b.shape[1]), dtype=np.uint64)
    for start in range(0, a.shape[1], _EXACT_TERMS):
        some = slice(start, start + _EXACT_TERMS)
        a_low, a_high = _limbs(a[:, some])
        b_low, b_high = _limbs(b[some])
        low, high = _whole(a_low @ b_low), _whole(a_high @ b_high)
        middle = _whole(a_low @ b_high) + _whole(a_high @ b_low)
        total += ((((high % _P) << _LIMB) + middle) % _P << _LIMB) + low
        total %= _P
    return total


def multiply_extended(a: Elements, b: Elements) -> Elements:
    """a·b in K, with broadcasting."""
    a0, a1, a2 = a[..., 0], a[..., 1], a[..., 2]
    b0, b1, b2 = b[..., 0], b[..., 1], b[..., 2]
    cube = np.uint64(CUBE)
    terms = (
        multiply(a0, b0) + cube * (multiply(a1, b2) + multiply(a2, b1)),
        multiply(a0, b1) + multiply(a1, b0) + cube * multiply(a2, b2),
        multiply(a0, b2) + multiply(a1, b1) + multiply(a2, b0),
    )
    return np.stack(terms, axis=-1) % _P


def invert_extended(a: Elements) -> Elements:
    """(n, 3): 1/a in K for each of n elements that are not 0, by the norm of K over F."""
    a0, a1, a2 = a[:, 0], a[:, 1], a[:, 2]
    cube = np.uint64(CUBE)
    adjoint = np.stack(
        (
            subtract(multiply(a0, a0), cube * multiply(a1, a2) % _P),
            subtract(cube * multiply(a2, a2) % _P, multiply(a0, a1)),
            subtract(multiply(a1, a1), multiply(a0, a2)),
        ),
        axis=-1,
    )
    # a · adjoint is the norm, an element of F.
    norm = multiply_extended(a, adjoint)[:, 0]
    return multiply(adjoint, _inverses(norm)[:, None])


def extended(a: Elements) -> Elements:
    """Elements of F as elements of K."""
    return np.stack((a, np.zeros_like(a), np.zeros_like(a)), axis=-1)


def root_of_unity(order: int) -> int:
    """Find the generator of the roots of unity of this order, a power of two up to 2²³."""
    if order < 1 or order & (order - 1) or order > 2**_TWO_ADICITY:
        raise ValueError(f"order={order}: must be a power of two up to 2**{_TWO_ADICITY}")
    return pow(_NON_RESIDUE, (MODULUS - 1) // order, MODULUS)


def powers(base: int, n: int) -> Elements:
    """(n,) of F: base⁰ … baseⁿ⁻¹."""
    listed, value = [], 1
    for _ in range(n):
        listed.append(value)
        value = value * base % MODULUS
    return np.array(listed, dtype=np.uint64)


def to_bytes(elements: Elements) -> bytes:
    """Five bytes an element, little-endian, in order."""
    wide = np.ascontiguousarray(elements, dtype="<u8").view(np.uint8)
    return wide.reshape(-1, 8)[:, :ELEMENT_BYTES].tobytes()


def from_bytes(data: bytes | memoryview) -> Elements:
    """(n,) of F. Raises ValueError for bytes that are no whole number of elements, each below MODULUS."""
    if len(data) % ELEMENT_BYTES:
        raise ValueError(f"{len(data)} bytes: must be whole elements of {ELEMENT_BYTES}")
    elements = _unpack(data)
    if elements.size and int(elements.max()) >= MODULUS:
        raise ValueError(f"element={int(elements.max())}: must be below {MODULUS}")
    return elements


def stream(key: bytes, n: int) -> Elements:
    """(n,) of F, uniform: the AES-256-CTR key stream of key (32 bytes) from counter 0, five bytes an element.

    Five bytes that are MODULUS or more are skipped, one in 26,000.
    """
    encryptor = Cipher(AES256(key), CTR(bytes(16))).encryptor()
    pieces, missing = [], n
    while missing > 0:
        drawn = _unpack(encryptor.update(bytes(ELEMENT_BYTES * missing)))
        drawn = drawn[drawn < _P]
        pieces.append(drawn)
        missing -= len(drawn)
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.uint64)


def _unpack(data: bytes | memoryview) -> Elements:
    wide = np.zeros((len(data) // ELEMENT_BYTES, 8), dtype=np.uint8)
    wide[:, :ELEMENT_BYTES] = np.frombuffer(data, dtype=np.uint8).reshape(-1, ELEMENT_BYTES)
    return wide.view("<u8").ravel().astype(np.uint64, copy=False)


def _limbs(a: Elements) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return (a & _LIMB_MASK).astype(np.float64), (a >> _LIMB).astype(np.float64)


def _whole(exact: npt.NDArray[np.float64]) -> Elements:
    return exact.astype(np.uint64)


def _inverses(a: Elements) -> Elements:
    return np.array([pow(int(value), -1, MODULUS) for value in a], dtype=np.uint64)
