"""Sealing a seed to a round's public key with HPKE (RFC 9180, base mode, single shot), bound to one report of one task.

A ciphertext is enc ‖ ct. The binding goes into HPKE's `info`, so that a seed moved to another task, report, block or
length does not open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from federation.private_sum.refusals import PlanRefused, SealBroken
from federation.private_sum.shares import SEED_BYTES

DOMAIN = b"ownshelf/private-sum/seed/v1"
TASK_HASH_BYTES = 32
REPORT_ID_BYTES = 16
MLKEM_PUBLIC_BYTES = 1184
MLKEM_SEED_BYTES = 64
TAG_BYTES = 16

PublicKey: TypeAlias = X25519PublicKey | hpke.MLKEM768X25519PublicKey
PrivateKey: TypeAlias = X25519PrivateKey | hpke.MLKEM768X25519PrivateKey


class Suite(StrEnum):
    """KEM, KDF and AEAD of a round. X25519 is what browsers have; the hybrid also withstands a quantum computer.

    VERIFIED: as X25519, and every report carries a proof that it keeps its bounds (private_sum/verified).
    """

    X25519 = "x25519-hkdf-sha256-aes-256-gcm"
    HYBRID = "mlkem768-x25519-hkdf-sha256-aes-256-gcm"
    VERIFIED = "verified-x25519-hkdf-sha256-aes-256-gcm"

    @property
    def verified(self) -> bool:
        """Whether reports prove their bounds."""
        return self is Suite.VERIFIED

    @property
    def without_proofs(self) -> Suite:
        """The suite that seals alike, for sums whose vectors are bounded by few coordinates: experiments."""
        return Suite.X25519 if self is Suite.VERIFIED else self

    @property
    def public_bytes(self) -> int:
        """Length of a public key."""
        return MLKEM_PUBLIC_BYTES + 32 if self is Suite.HYBRID else 32

    @property
    def sealed_bytes(self) -> int:
        """Length of a sealed seed."""
        return _KEMS[self].enc_length() + SEED_BYTES + TAG_BYTES


_KEMS: dict[Suite, hpke.KEM] = {
    Suite.X25519: hpke.KEM.X25519,
    Suite.HYBRID: hpke.KEM.MLKEM768_X25519,
    Suite.VERIFIED: hpke.KEM.X25519,
}
_HPKE = {suite: hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM) for suite, kem in _KEMS.items()}


@dataclass(frozen=True)
class RoundKey:
    """Key pair of one round, destroyed after its sum.

    public: X25519 key (32 bytes), or ML-KEM-768 key ‖ X25519 key (1,216). private: X25519 key (32 bytes), or ML-KEM-768
    seed d ‖ z ‖ X25519 key (96).
    """

    suite: Suite
    public: bytes
    private: bytes = field(repr=False)


@dataclass(frozen=True)
class Binding:
    """The context of a sealed seed: one report to one block of one task, and the length of its vector in words.

    commitments: of a verified report, to the service's share; else empty.
    """

    task_hash: bytes
    report_id: bytes
    block: int
    length: int
    commitments: bytes = b""

    def __post_init__(self) -> None:
        for name, size in (("task_hash", TASK_HASH_BYTES), ("report_id", REPORT_ID_BYTES)):
            if len(getattr(self, name)) != size:
                raise ValueError(f"{name} of {len(getattr(self, name))} bytes: must be {size}")

    @property
    def info(self) -> bytes:
        """HPKE's info: each field behind its own length (uint32, little-endian), so no two bindings read alike."""
        numbers = (n.to_bytes(4, "little") for n in (self.block, self.length))
        fields = (self.task_hash, self.report_id, *numbers)
        return frame_fields(DOMAIN, *fields, self.commitments) if self.commitments else frame_fields(DOMAIN, *fields)


def frame_fields(*fields: bytes) -> bytes:
    """Put each field behind its length as uint32 little-endian: different fields never give the same bytes."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in fields)


def new_round_key(suite: Suite) -> RoundKey:
    """Generate a fresh key pair for one round."""
    x25519 = X25519PrivateKey.generate()
    public, private = x25519.public_key().public_bytes_raw(), x25519.private_bytes_raw()
    if suite is Suite.HYBRID:
        mlkem = MLKEM768PrivateKey.generate()
        public = mlkem.public_key().public_bytes_raw() + public
        private = mlkem.private_bytes_raw() + private
    return RoundKey(suite, public, private)


def seal(seed: bytes, suite: Suite, public_key: bytes, binding: Binding) -> bytes:
    """Seed encrypted to a round's public key: suite.sealed_bytes bytes. Raises PlanRefused for a key that is none."""
    try:
        return _HPKE[suite].encrypt(seed, _public(suite, public_key), binding.info)
    except ValueError as error:
        raise PlanRefused(f"round public key of {len(public_key)} bytes: is no {suite} key") from error


@dataclass(frozen=True)
class Opener:
    """Opens the seeds sealed to one round key, which is parsed once."""

    suite: Suite
    private_key: PrivateKey = field(repr=False)

    @staticmethod
    def of(key: RoundKey) -> Opener:
        """Open one round's key."""
        return Opener(key.suite, _private(key.suite, key.private))

    def open(self, sealed_seed: bytes, binding: Binding) -> bytes:
        """Open the sealed seed, 32 bytes.

        Raises SealBroken if it was tampered with or belongs to another report or task.
        """
        if len(sealed_seed) != self.suite.sealed_bytes:
            raise SealBroken(f"sealed_seed of {len(sealed_seed)} bytes: must be {self.suite.sealed_bytes}")
        try:
            return _HPKE[self.suite].decrypt(sealed_seed, self.private_key, binding.info)
        except (InvalidTag, ValueError) as error:
            raise SealBroken(f"sealed_seed of report {binding.report_id.hex()}: does not open") from error


def _public(suite: Suite, raw: bytes) -> PublicKey:
    if len(raw) != suite.public_bytes:
        raise ValueError(f"{len(raw)} bytes: must be {suite.public_bytes}")
    x25519 = X25519PublicKey.from_public_bytes(raw[-32:])
    if suite is not Suite.HYBRID:
        return x25519
    return hpke.MLKEM768X25519PublicKey(MLKEM768PublicKey.from_public_bytes(raw[:-32]), x25519)


def _private(suite: Suite, raw: bytes) -> PrivateKey:
    x25519 = X25519PrivateKey.from_private_bytes(raw[-32:])
    if suite is not Suite.HYBRID:
        return x25519
    mlkem = MLKEM768PrivateKey.from_seed_bytes(raw[:MLKEM_SEED_BYTES])
    return hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
