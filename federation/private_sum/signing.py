"""Ed25519 signatures under a domain: what the custodian vouches for, and how a device checks it.

A signature covers the domain and the message, each behind its length, so it never serves for another kind of message.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.private_sum.sealing import frame_fields

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True)
class SigningKey:
    """The custodian's long-lived key: private (32 bytes) stays with it, public (32 bytes) is pinned by devices."""

    private: bytes = field(repr=False)
    public: bytes

    @staticmethod
    def generate() -> SigningKey:
        """Generate a fresh key pair."""
        return SigningKey.from_private(Ed25519PrivateKey.generate().private_bytes_raw())

    @staticmethod
    def from_private(private: bytes) -> SigningKey:
        """Derive the key pair of a private key (RFC 8032 seed, 32 bytes)."""
        public = Ed25519PrivateKey.from_private_bytes(private).public_key()
        return SigningKey(private, public.public_bytes_raw())

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """Sign a message under a domain: 64 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.private).sign(frame_fields(domain, message))


def is_signed(public_key: bytes, domain: bytes, message: bytes, signature: bytes) -> bool:
    """Verify that signature is the key's own over this domain and message; False also for bytes that are no key."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, frame_fields(domain, message))
    except (InvalidSignature, ValueError):
        return False
    return True
