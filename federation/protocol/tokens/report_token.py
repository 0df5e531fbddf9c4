"""Tokens of one report in one round: Privacy Pass, token type 2 (RFC 9577, RFC 9578), bound to a task.

The challenge holds the hash of the task, so that a token is worth nothing for any other, and cannot be laid by.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from federation.private_sum.refusals import TokenInvalid
from federation.protocol.messages import Task
from federation.protocol.tokens.blind_rsa import Blinding, blind, finalize, verify
from federation.protocol.tokens.issuer_key import KEY_ID_BYTES, MODULUS_BYTES, IssuerKey

TOKEN_TYPE = (2).to_bytes(2)
NONCE_BYTES = 32
DIGEST_BYTES = 32
TOKEN_BYTES = len(TOKEN_TYPE) + NONCE_BYTES + DIGEST_BYTES + KEY_ID_BYTES + MODULUS_BYTES


@dataclass(frozen=True)
class Right:
    """One report in one round. issuer: the app whose token it is. serial: what is spent; it names no user.

    key_id: of the app's key that minted it. What one key's devices report stands or falls together.
    """

    issuer: str
    serial: bytes = field(repr=False)
    key_id: str

    @property
    def tag(self) -> str:
        """Issuer and key in one word."""
        return f"{self.issuer}#{self.key_id}"


class Tokens(Protocol):
    """Tells whether a token is good."""

    def check(self, token: bytes, task: Task, app: str) -> Right:
        """Check what a token is good for in a task's round, of which an app is the owner. Raises TokenInvalid."""
        ...


@dataclass(frozen=True)
class ReportToken:
    """A token's fields. nonce: drawn by the device, and seen by nobody before the token is spent."""

    nonce: bytes = field(repr=False)
    challenge_digest: bytes
    token_key_id: bytes
    authenticator: bytes = field(repr=False)

    @property
    def signed_bytes(self) -> bytes:
        """What the issuer signed, blindly."""
        return TOKEN_TYPE + self.nonce + self.challenge_digest + self.token_key_id

    def to_bytes(self) -> bytes:
        """Encode the token for the wire."""
        return self.signed_bytes + self.authenticator

    @staticmethod
    def from_bytes(data: bytes) -> ReportToken:
        """Decode the token of its wire bytes. Raises TokenInvalid for anything else."""
        if len(data) != TOKEN_BYTES or not data.startswith(TOKEN_TYPE):
            raise TokenInvalid(f"token of {len(data)} bytes: must be of type 2 and have {TOKEN_BYTES}")
        nonce, digest, key_id = (
            data[at : at + 32] for at in range(len(TOKEN_TYPE), len(TOKEN_TYPE) + 3 * NONCE_BYTES, NONCE_BYTES)
        )
        return ReportToken(nonce, digest, key_id, data[-MODULUS_BYTES:])


@dataclass(frozen=True)
class TokenRequest:
    """A token on its way: what the device keeps, until it has the issuer's blind signature."""

    key: IssuerKey
    unsigned: ReportToken
    blinding: Blinding

    @staticmethod
    def of(key: IssuerKey, task: Task) -> TokenRequest:
        """Draw a nonce and blind the token of a task's round. Raises BlindingRefused for a key that is none."""
        nonce, digest = secrets.token_bytes(NONCE_BYTES), challenge_digest(key.app, task.hash)
        unsigned = ReportToken(nonce, digest, key.token_key_id, b"")
        return TokenRequest(key, unsigned, blind(key.modulus, unsigned.signed_bytes))

    def token(self, blind_signature: bytes) -> bytes:
        """Take the blind off: the token. Raises BlindingRefused unless the signature is the key's."""
        return self.unsigned.signed_bytes + finalize(self.key.modulus, self.blinding, blind_signature)


def challenge_digest(app: str, task_hash: bytes) -> bytes:
    """Hash the challenge that every token of a round answers: 32 bytes."""
    return hashlib.sha256(challenge(app, task_hash)).digest()


def challenge(issuer_name: str, redemption_context: bytes, origin_info: str = "") -> bytes:
    """Encode a TokenChallenge (RFC 9577, section 2.1) of token type 2. redemption_context: of a task its hash."""
    issuer, origin = issuer_name.encode("ascii"), origin_info.encode("ascii")
    context = len(redemption_context).to_bytes(1) + redemption_context
    return b"".join((TOKEN_TYPE, len(issuer).to_bytes(2), issuer, context, len(origin).to_bytes(2), origin))


def check_token(token: bytes, task: Task, key_of: Callable[[bytes], IssuerKey | None]) -> Right:
    """Check a token for a task's round: the service and the custodian alike.

    key_of: finds the issuer's key of a token_key_id. Raises TokenInvalid for an unknown key, one that is not for the
    task's deadline, a token for another task, and a signature that is not the key's.
    """
    read = ReportToken.from_bytes(token)
    key = key_of(read.token_key_id)
    if key is None:
        raise TokenInvalid("token: is of no known issuer's key")
    if not key.is_for(task.deadline):
        raise TokenInvalid(
            f"token: its key is for deadlines {key.not_before}..{key.not_after}, the task's is {task.deadline}"
        )
    if read.challenge_digest != challenge_digest(key.app, task.hash):
        raise TokenInvalid("token: is for another task")
    if not verify(key.public, read.signed_bytes, read.authenticator):
        raise TokenInvalid("token: is not signed by its issuer")
    return Right(key.app, read.nonce, key.minting_key)
