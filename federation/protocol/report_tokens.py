"""The right to report: what a token proves, and to whom the proof is left.

Today's tokens are signed (serving/state/tokens.py), and whoever mints them could recognise them when they are spent.
Blind
tokens (a verifiable oblivious pseudo-random function) fit behind the same two methods: `mint` then takes blinded
elements as its request instead of a count, and `check` finds the same two things, an issuer and a serial to spend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Right:
    """One report in one round. issuer: whose token it is. serial: what is spent; it names no user.

    key_id: of the issuer's key that minted it, "" without keys. What one key's devices report stands or falls together.
    """

    issuer: str
    serial: bytes = field(repr=False)
    key_id: str = ""

    @property
    def tag(self) -> str:
        """Issuer and key in one word."""
        return f"{self.issuer}#{self.key_id}" if self.key_id else self.issuer


class Tokens(Protocol):
    """Mints tokens and tells whether one is good."""

    def mint(self, issuer: str, count: int, now: int, key_id: str = "") -> Sequence[bytes]:
        """Fresh tokens of an issuer's key. now: seconds since 1970-01-01 UTC."""
        ...

    def check(self, token: bytes, now: int) -> Right:
        """Check what a token is good for. Raises TokenInvalid."""
        ...
