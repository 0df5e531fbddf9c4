"""Where random bytes come from: a cryptographic stream for anything real, a seeded one for simulation and tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

RandomBytes: TypeAlias = Callable[[int], bytes]
"""n -> n fresh random bytes."""


def secure_bytes() -> RandomBytes:
    """Stream of AES-256-CTR under a key from the operating system: devices and both parties use this one.

    (os.urandom itself takes 1 ms for a report's rounding bits; this takes 0.05.)
    """
    encryptor = Cipher(AES256(os.urandom(32)), CTR(bytes(16))).encryptor()
    return lambda n: encryptor.update(bytes(n))


def seeded_bytes(rng: np.random.Generator) -> RandomBytes:
    """Make a reproducible stream for simulation and tests: it protects nothing."""
    return rng.bytes


def words32(random: RandomBytes, n: int) -> npt.NDArray[np.uint32]:
    """Read (n,) uint32, little-endian, from 4·n bytes of the stream."""
    return np.frombuffer(random(4 * n), dtype="<u4")


def words64(random: RandomBytes, n: int) -> npt.NDArray[np.uint64]:
    """Read (n,) uint64, little-endian, from 8·n bytes of the stream."""
    return np.frombuffer(random(8 * n), dtype="<u8")
