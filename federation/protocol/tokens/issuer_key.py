"""The public key of one issuer: of an app, one of its minting keys, and a period. It is in the custodian's public log.

A key of a victim's own would mark his token. So a device takes none that is not logged; the custodian logs one for each
minting key and moment, and few minting keys, and answers no batch in which a key has only few reports.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import rsa

from data.errors import FederationError
from federation.private_sum.encoding import Reader, encode_sized, u64
from federation.protocol.tokens.blind_rsa import EXPONENT

MAGIC = b"OSK1"
MODULUS_BITS = 2_048
MODULUS_BYTES = MODULUS_BITS // 8
KEY_ID_BYTES = 32
MAX_APP_CHARS = 48
MAX_MINT_CHARS = 15
MAX_ISSUER_KEY_BYTES = 512
_U64 = 2**64 - 1

_SPKI_HEAD = bytes.fromhex(
    "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202"
    "a11a301806092a864886f70d010108300b0609608648016503040202a2030201300382010f003082010a0282010100"
)
_SPKI_TAIL = bytes.fromhex("0203010001")
"""SubjectPublicKeyInfo of id-RSASSA-PSS with SHA-384 and a salt of 48, 2,048 bits and e = 65,537 (RFC 9578, 6.5)."""


class IssuerKeyRefused(FederationError):
    """An issuer's key is none, or is not the one to use."""


@dataclass(frozen=True)
class IssuerKey:
    """One issuer's public key.

    app: whose devices get its tokens. minting_key: id of the app's API key that mints with it. not_before, not_after:
    it is for tasks whose deadline is in between, both included; seconds since 1970-01-01 UTC.
    """

    app: str
    minting_key: str
    not_before: int
    not_after: int
    modulus: int

    def __post_init__(self) -> None:
        for name, high in (("app", MAX_APP_CHARS), ("minting_key", MAX_MINT_CHARS)):
            text = getattr(self, name)
            if not 1 <= len(text) <= high or not all(32 < ord(character) < 127 for character in text) or "#" in text:
                raise IssuerKeyRefused(f"{name}={text[:99]!r}: must be 1..{high} printable ASCII characters without #")
        if not 0 <= self.not_before <= self.not_after <= _U64:
            raise IssuerKeyRefused(f"not_before={self.not_before}: must be 0..not_after={self.not_after}")
        if self.modulus.bit_length() != MODULUS_BITS or self.modulus % 2 == 0:
            raise IssuerKeyRefused(f"modulus of {self.modulus.bit_length()} bits: must be odd and have {MODULUS_BITS}")

    @cached_property
    def public(self) -> rsa.RSAPublicKey:
        """The key as it verifies."""
        return rsa.RSAPublicNumbers(EXPONENT, self.modulus).public_key()

    @cached_property
    def token_key_id(self) -> bytes:
        """SHA-256 (32 bytes) of the public key's SubjectPublicKeyInfo, by which tokens name it."""
        return hashlib.sha256(self.spki).digest()

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo in DER."""
        return _SPKI_HEAD + self.modulus.to_bytes(MODULUS_BYTES) + _SPKI_TAIL

    def is_for(self, deadline: int) -> bool:
        """Tell whether it is for tasks of this deadline (seconds since 1970-01-01 UTC)."""
        return self.not_before <= deadline <= self.not_after

    def to_bytes(self) -> bytes:
        """Encode the key for the wire, and for the log."""
        texts = (encode_sized(text.encode("ascii")) for text in (self.app, self.minting_key))
        return b"".join((MAGIC, *texts, u64(self.not_before), u64(self.not_after), encode_sized(self.spki)))

    @staticmethod
    def from_bytes(data: bytes) -> IssuerKey:
        """Decode the key of its wire bytes. Raises IssuerKeyRefused for anything else, other kinds of RSA included."""
        read = Reader(memoryview(data), IssuerKeyRefused)
        if read.take("magic", len(MAGIC)) != MAGIC:
            raise IssuerKeyRefused(f"magic: must be {MAGIC!r}")
        app, minting_key = read.text("app", MAX_APP_CHARS), read.text("minting_key", MAX_MINT_CHARS)
        not_before, not_after = read.number("not_before", 8, 0, _U64), read.number("not_after", 8, 0, _U64)
        size = len(_SPKI_HEAD) + MODULUS_BYTES + len(_SPKI_TAIL)
        spki = read.field("key", size, size)
        read.end()
        if not spki.startswith(_SPKI_HEAD) or not spki.endswith(_SPKI_TAIL):
            raise IssuerKeyRefused("key: must be RSASSA-PSS with SHA-384, a salt of 48, 2,048 bits and e=65537")
        modulus = int.from_bytes(spki[len(_SPKI_HEAD) : -len(_SPKI_TAIL)])
        return IssuerKey(app, minting_key, not_before, not_after, modulus)
