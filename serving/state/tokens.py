"""Device tokens: JSON web tokens under Ed25519 that say "one report a round" and nothing about anybody.

Whoever mints them could recognise them when they are spent; blind tokens can replace them
(federation/protocol/report_tokens.py).
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from federation.private_sum.signing import SigningKey
from federation.protocol.messages import MAX_TOKEN_BYTES
from federation.protocol.report_tokens import Right
from federation.service.intake.report_refusals import TokenInvalid

ALGORITHM = "EdDSA"
SCOPE = "one report per round"
SERIAL_BYTES = 16
CLAIMS = frozenset({"jti", "exp", "iss", "scope"})


@dataclass(frozen=True)
class SignedTokens:
    """Tokens of one signing key, good for lifetime_s seconds."""

    key: SigningKey
    lifetime_s: int = 3_600
    _private: Ed25519PrivateKey = field(init=False, repr=False)
    _public: Ed25519PublicKey = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_private", Ed25519PrivateKey.from_private_bytes(self.key.private))
        object.__setattr__(self, "_public", Ed25519PublicKey.from_public_bytes(self.key.public))

    def mint(self, issuer: str, count: int, now: int, key_id: str = "") -> Sequence[bytes]:
        """Fresh tokens of an issuer's key."""
        tag = Right(issuer, b"", key_id).tag
        return [self._mint(tag, now + self.lifetime_s) for _ in range(count)]

    def check(self, token: bytes, now: int) -> Right:
        """Check what a token is good for. Raises TokenInvalid for any that is not ours as minted, or expired."""
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenInvalid(f"token of {len(token)} bytes: must be at most {MAX_TOKEN_BYTES}")
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=[ALGORITHM],
                options={"verify_exp": False, "require": sorted(CLAIMS)},  # exp: by our caller's clock, below
            )
            right = _right(claims)
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise TokenInvalid("token: is none of this service's") from None
        expires = int(claims["exp"])
        if now >= expires:
            raise TokenInvalid(f"token: expired {now - expires} s ago")
        return right

    def _mint(self, tag: str, expires: int) -> bytes:
        serial = base64.urlsafe_b64encode(secrets.token_bytes(SERIAL_BYTES)).rstrip(b"=").decode()
        claims = {"jti": serial, "exp": expires, "iss": tag, "scope": SCOPE}
        return jwt.encode(claims, self._private, ALGORITHM).encode()


def _right(claims: dict[str, Any]) -> Right:
    """Interpret claims that we signed. Raises ValueError or TypeError for any others."""
    expires, tag, serial = claims["exp"], claims["iss"], claims["jti"]
    if set(claims) != CLAIMS or claims["scope"] != SCOPE or type(expires) is not int or type(tag) is not str:
        raise ValueError("claims: must be those of a device token")
    issuer, _, key_id = tag.partition("#")
    found = base64.b64decode(serial + "==", b"-_", validate=True)
    if not issuer or len(found) != SERIAL_BYTES:
        raise ValueError("claims: must be those of a device token")
    return Right(issuer, found, key_id)
