"""HPKE (RFC 9180) in base mode with the exporter: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM.

Beside the single shots that `cryptography` has, which seal the seeds: an oblivious answer is sealed with a secret that
is exported from the question's context.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from data.errors import FederationError

KEM, KDF, AEAD = 0x0020, 0x0001, 0x0001
PUBLIC_BYTES = 32
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
_KEM_SUITE = b"KEM" + KEM.to_bytes(2)
_SUITE = b"HPKE" + KEM.to_bytes(2) + KDF.to_bytes(2) + AEAD.to_bytes(2)


class HpkeRefused(FederationError):
    """A key is none, or a ciphertext does not open."""


@dataclass(frozen=True)
class HpkeContext:
    """What both ends share. enc: the sender's ephemeral public key. For one message in each direction."""

    enc: bytes
    key: bytes = field(repr=False)
    base_nonce: bytes = field(repr=False)
    exporter_secret: bytes = field(repr=False)

    def seal(self, message: bytes, aad: bytes = b"") -> bytes:
        """Seal the first message of this context; a second one would use its nonce again."""
        return AESGCM(self.key).encrypt(self.base_nonce, message, aad)

    def open(self, sealed: bytes, aad: bytes = b"") -> bytes:
        """Open the first message. Raises HpkeRefused."""
        try:
            return AESGCM(self.key).decrypt(self.base_nonce, sealed, aad)
        except (InvalidTag, ValueError):
            raise HpkeRefused("ciphertext: does not open") from None

    def export(self, label: bytes, size: int) -> bytes:
        """Derive a further secret of this context."""
        return _labeled_expand(self.exporter_secret, _SUITE, b"sec", label, size)


def setup_sender(public: bytes, info: bytes, ephemeral: bytes | None = None) -> HpkeContext:
    """Set up the sender's end. ephemeral: private key (32 bytes) of test vectors; else drawn. Raises HpkeRefused."""
    mine = X25519PrivateKey.generate() if ephemeral is None else X25519PrivateKey.from_private_bytes(ephemeral)
    enc = mine.public_key().public_bytes_raw()
    return _schedule(_decapsulated(mine, public, enc + public), enc, info)


def setup_receiver(enc: bytes, private: bytes, info: bytes) -> HpkeContext:
    """Set up the receiver's end. enc: as it came; private: X25519 key (32 bytes). Raises HpkeRefused."""
    mine = X25519PrivateKey.from_private_bytes(private)
    return _schedule(_decapsulated(mine, enc, enc + mine.public_key().public_bytes_raw()), enc, info)


def extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869)."""
    return hmac.digest(salt or bytes(32), secret, "sha256")


def expand(key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869); size: at most 255 · 32."""
    blocks, block = b"", b""
    for counter in range(1, -(-size // hashlib.sha256().digest_size) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        blocks += block
    return blocks[:size]


def _decapsulated(mine: X25519PrivateKey, theirs: bytes, context: bytes) -> bytes:
    try:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(theirs))
    except ValueError:  # not 32 bytes, or a point of small order, whose shared secret is zero
        raise HpkeRefused(f"public key of {len(theirs)} bytes: is no X25519 key") from None
    return _labeled_expand(
        _labeled_extract(b"", _KEM_SUITE, b"eae_prk", shared), _KEM_SUITE, b"shared_secret", context, 32
    )


def _schedule(shared: bytes, enc: bytes, info: bytes) -> HpkeContext:
    hashes = (
        _labeled_extract(b"", _SUITE, label, value) for label, value in ((b"psk_id_hash", b""), (b"info_hash", info))
    )
    context = b"\0" + b"".join(hashes)
    secret = _labeled_extract(shared, _SUITE, b"secret", b"")
    parts = ((b"key", KEY_BYTES), (b"base_nonce", NONCE_BYTES), (b"exp", 32))
    return HpkeContext(enc, *(_labeled_expand(secret, _SUITE, label, context, size) for label, size in parts))


def _labeled_extract(salt: bytes, suite: bytes, label: bytes, secret: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + secret)


def _labeled_expand(key: bytes, suite: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return expand(key, size.to_bytes(2) + b"HPKE-v1" + suite + label + info, size)
