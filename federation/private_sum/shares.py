"""Splitting a vector of words in two: a seed for one party, the vector minus the seed's stream for the other.

Either half alone is uniformly random; their sum mod 2**32 is the vector, and sums of halves are halves of sums.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from federation.private_sum.fixed_point import Words

SEED_BYTES = 32
WIRE_WORD = np.dtype("<u4")
CHUNK = 16_384
ZEROS = bytes(4 * CHUNK)


def expand(seed: bytes, length: int) -> Words:
    """Expand a seed (32 bytes) into its AES-256-CTR key stream from counter 0: (length,) uint32.

    Read little-endian.

    A seed is used for one vector only.
    """
    return sum_of_streams([seed], length)


def sum_of_streams(seeds: Iterable[bytes], length: int) -> Words:
    """Sum the seeds' streams mod 2**32, (length,) uint32."""
    total = np.zeros(length, dtype=np.uint32)
    for seed in seeds:
        for where, words in _stream(seed, length):
            total[where] += words
    return total


def service_share(words: Words, seed: bytes) -> bytes:
    """Subtract: words − stream(seed) mod 2**32, as little-endian bytes: what the service gets to see."""
    share = np.empty(len(words), dtype=WIRE_WORD)
    for where, stream in _stream(seed, len(words)):
        share[where] = words[where] - stream
    return share.tobytes()


def _stream(seed: bytes, length: int) -> Iterator[tuple[slice, Words]]:
    """Stream in chunks that stay in the processor's cache, each with its place."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"seed of {len(seed)} bytes: must be {SEED_BYTES}")
    encryptor = Cipher(AES256(seed), CTR(bytes(16))).encryptor()
    for start in range(0, length, CHUNK):
        stop = min(start + CHUNK, length)
        yield slice(start, stop), np.frombuffer(encryptor.update(ZEROS[: 4 * (stop - start)]), dtype=WIRE_WORD)


def combine(service_half: Words, custodian_half: Words) -> Words:
    """Combine both parties' sums, wrapped mod 2**32: (length,) uint32; `signed` makes integers of it."""
    return service_half + custodian_half
