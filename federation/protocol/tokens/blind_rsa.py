"""Blind RSA signatures: RSABSSA-SHA384-PSS-Deterministic (RFC 9474). Who signs cannot tell later what was signed.

The device blinds and finalizes, the issuer signs a number that is uniformly random to it, anybody verifies an ordinary
RSA-PSS signature. Big numbers are Python's: a browser has BigInt for the same.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from data.errors import FederationError

EXPONENT = 65_537
SALT_BYTES = 48
_HASH_BYTES = 48
_EXTRA_BITS = 64
_PSS = padding.PSS(padding.MGF1(hashes.SHA384()), SALT_BYTES)


class BlindingRefused(FederationError):
    """A blinded message or a blind signature is none under the key."""


@dataclass(frozen=True)
class Blinding:
    """A message blinded for one key. blinded: what the issuer gets. inverse: stays secret, and takes the blind off."""

    message: bytes = field(repr=False)
    blinded: bytes
    inverse: int = field(repr=False)


def blind(modulus: int, message: bytes, salt: bytes | None = None, factor: int | None = None) -> Blinding:
    """Blind a message for the key of this modulus. salt (48 bytes), factor: of test vectors; else drawn.

    A key under which blinding would not hide everything (e divides φ(n)) has no signature of nearly any message, so
    that `finalize` fails. Raises BlindingRefused for a modulus that shares a factor with the encoded message.
    """
    encoded = int.from_bytes(encode_pss(message, modulus.bit_length() - 1, salt or secrets.token_bytes(SALT_BYTES)))
    if math.gcd(encoded, modulus) != 1:
        raise BlindingRefused("modulus: shares a factor with the encoded message")
    chosen = _random_unit(modulus) if factor is None else factor
    blinded = encoded * pow(chosen, EXPONENT, modulus) % modulus
    return Blinding(message, _to_bytes(blinded, modulus), pow(chosen, -1, modulus))


def finalize(modulus: int, blinding: Blinding, blind_signature: bytes) -> bytes:
    """Take the blind off a signature. Raises BlindingRefused unless what is left is a signature of the message."""
    if len(blind_signature) != _size(modulus):
        raise BlindingRefused(f"blind signature of {len(blind_signature)} bytes: must be {_size(modulus)}")
    signature = _to_bytes(int.from_bytes(blind_signature) * blinding.inverse % modulus, modulus)
    if not verify(rsa.RSAPublicNumbers(EXPONENT, modulus).public_key(), blinding.message, signature):
        raise BlindingRefused("blind signature: is none of the blinded message under this key")
    return signature


def verify(key: rsa.RSAPublicKey, message: bytes, signature: bytes) -> bool:
    """Verify a finalized signature: RSASSA-PSS with SHA-384 and a salt of 48 bytes."""
    try:
        key.verify(signature, message, _PSS, hashes.SHA384())
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class BlindSigner:
    """Signs blinded messages with one private key.

    Python's numbers take a time that depends on them. So what is raised to the secret exponent is blinded anew with a
    factor that nobody knows, and the exponent itself gets a random multiple of the group's order.
    """

    _numbers: rsa.RSAPrivateNumbers = field(repr=False)

    @staticmethod
    def of(key: rsa.RSAPrivateKey) -> BlindSigner:
        """Make a signer of a private key."""
        return BlindSigner(key.private_numbers())

    @property
    def modulus(self) -> int:
        """The public key's modulus."""
        return self._numbers.public_numbers.n

    def sign(self, blinded: bytes) -> bytes:
        """Sign a blinded message.

        Raises BlindingRefused for one that is of another length, not below the modulus, or its own signature
        (0, 1, n − 1), and where the private key gave a wrong result.
        """
        modulus = self.modulus
        number = int.from_bytes(blinded)
        if len(blinded) != _size(modulus) or not 1 < number < modulus - 1:
            raise BlindingRefused(f"blinded message: must be a number of {_size(modulus)} bytes, 2..n − 2")
        factor = _random_unit(modulus)
        raised = self._raise(number * pow(factor, EXPONENT, modulus) % modulus)
        signature = raised * pow(factor, -1, modulus) % modulus
        if pow(signature, EXPONENT, modulus) != number:  # a fault that told a factor of the modulus, if it got out
            raise BlindingRefused("blind signature: was computed wrongly")
        return _to_bytes(signature, modulus)

    def _raise(self, number: int) -> int:
        """Raise to the private exponent, by the Chinese remainder theorem."""
        key = self._numbers
        of_p, of_q = (
            pow(number % prime, exponent + secrets.randbits(_EXTRA_BITS) * (prime - 1), prime)
            for prime, exponent in ((key.p, key.dmp1), (key.q, key.dmq1))
        )
        return of_q + (of_p - of_q) * key.iqmp % key.p * key.q


def encode_pss(message: bytes, bits: int, salt: bytes) -> bytes:
    """Encode a message for signing: EMSA-PSS with SHA-384 and MGF1 (RFC 8017, section 9.1.1). bits: of the result."""
    size = (bits + 7) // 8
    digest = hashlib.sha384(bytes(8) + hashlib.sha384(message).digest() + salt).digest()
    block = bytes(size - len(salt) - _HASH_BYTES - 2) + b"\1" + salt
    mask = _mgf1(digest, len(block))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=True))
    masked[0] &= 0xFF >> 8 * size - bits
    return bytes(masked) + digest + b"\xbc"


def _mgf1(seed: bytes, size: int) -> bytes:
    """Stretch a seed to a mask (RFC 8017, appendix B.2.1)."""
    blocks = (hashlib.sha384(seed + counter.to_bytes(4)).digest() for counter in range(-(-size // _HASH_BYTES)))
    return b"".join(blocks)[:size]


def _random_unit(modulus: int) -> int:
    """Draw a number 1..n − 1 that has an inverse, uniformly."""
    while True:
        drawn = 1 + secrets.randbelow(modulus - 1)
        if math.gcd(drawn, modulus) == 1:
            return drawn


def _size(modulus: int) -> int:
    return (modulus.bit_length() + 7) // 8


def _to_bytes(number: int, modulus: int) -> bytes:
    return number.to_bytes(_size(modulus))
