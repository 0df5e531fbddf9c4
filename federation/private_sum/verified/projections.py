"""Random projections of a vector: dot products with −1, 0 and 1, drawn from a challenge, of integers and of shares.

The stream of the key gives checks/4 bytes a coordinate. A byte holds two bits for each of four projections, lowest
first: the lower bit minus the higher. Chunk by chunk, since all signs of a vector would fill 45 MB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from federation.private_sum.verified.field import MODULUS, Elements

CHUNK = 2_048
_LIMB_BITS = 10
_N_LIMBS = 4
_EXACT = 2**24
"""float32 adds integers below this without rounding: CHUNK limbs of 10 bits, and an honest device's vector."""

_SIGNS = np.array(
    [[(byte >> 2 * i & 1) - (byte >> 2 * i + 1 & 1) for i in range(4)] for byte in range(256)], dtype=np.float32
)
_FOUR_SIGNS = _SIGNS.view(np.complex128).ravel()
"""The four signs of a byte as one item, so that one look-up writes 16 bytes."""


def project_shares(key: bytes, checks: int, share: Elements) -> Elements:
    """Project one share of a vector, (length,) of F: (checks,) of F."""
    limbs = np.empty((_N_LIMBS, len(share)), dtype=np.float32)
    for i in range(_N_LIMBS):
        limbs[i] = (share >> np.uint64(_LIMB_BITS * i)) & np.uint64(2**_LIMB_BITS - 1)
    totals = np.zeros((_N_LIMBS, checks), dtype=np.int64)
    for where, signs in _signs(key, checks, len(share)):
        totals += (limbs[:, where] @ signs).astype(np.int64)
    projected = np.zeros(checks, dtype=np.int64)
    for total in totals[::-1]:
        projected = ((projected << _LIMB_BITS) + total) % MODULUS
    return projected.astype(np.uint64)


def project_integers(key: bytes, checks: int, vector: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Project a vector of small integers, not reduced: (checks,) integers."""
    kind = np.float32 if int(np.abs(vector).sum()) < _EXACT else np.float64
    values: npt.NDArray[np.float32 | np.float64] = vector.astype(kind)
    totals = np.zeros(checks, dtype=np.int64)
    for where, signs in _signs(key, checks, len(values)):
        totals += (values[where] @ signs).astype(np.int64)
    return totals


def signs(key: bytes, checks: int, length: int) -> npt.NDArray[np.int8]:
    """(length, checks) of −1, 0, 1."""
    pieces = [np.empty((0, checks), dtype=np.int8)]
    pieces += [piece.astype(np.int8) for _, piece in _signs(key, checks, length)]
    return np.concatenate(pieces)


def _signs(key: bytes, checks: int, length: int) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    encryptor = Cipher(AES256(key), CTR(bytes(16))).encryptor()
    looked_up = np.empty((CHUNK, checks // 4), dtype=np.complex128)
    for start in range(0, length, CHUNK):
        stop = min(start + CHUNK, length)
        raw = np.frombuffer(encryptor.update(bytes((stop - start) * checks // 4)), dtype=np.uint8)
        piece = looked_up[: stop - start]
        np.take(_FOUR_SIGNS, raw.reshape(stop - start, checks // 4), out=piece, mode="clip")
        yield slice(start, stop), piece.view(np.float32)
