"""RSA keys for tests, made once a process, and an issuer of tokens without a service."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from federation.protocol.messages import Task
from federation.protocol.tokens.blind_rsa import EXPONENT, SALT_BYTES, BlindSigner
from federation.protocol.tokens.issuer_key import MODULUS_BITS, IssuerKey
from federation.protocol.tokens.report_token import ReportToken, challenge_digest

BY_MODULUS: dict[int, rsa.RSAPrivateKey] = {}
"""Every key of rsa_key."""


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """The how manieth key of this process."""
    key = rsa.generate_private_key(EXPONENT, MODULUS_BITS)
    return BY_MODULUS.setdefault(key.private_numbers().public_numbers.n, key)


@dataclass
class SomeIssuer:
    """Signs what it is given, with one key for all deadlines. asked: what for, so far."""

    app: str = "shop"
    minting_key: str = "mint"
    number: int = 0
    not_before: int = 0
    not_after: int = 2**40
    asked: int = 0

    def key(self, deadline: int) -> IssuerKey:
        return IssuerKey(
            self.app, self.minting_key, self.not_before, self.not_after, BlindSigner.of(rsa_key(self.number)).modulus
        )

    def sign(self, key: IssuerKey, blinded: Sequence[bytes]) -> list[bytes]:
        self.asked += len(blinded)
        return [BlindSigner.of(rsa_key(self.number)).sign(message) for message in blinded]

    def token(self, task: Task) -> bytes:
        """A token of a task's round."""
        return plain_token(self.key(task.deadline), task, rsa_key(self.number))


def plain_token(key: IssuerKey, task: Task, private: rsa.RSAPrivateKey) -> bytes:
    """A token signed without any blinding, which takes a tenth of the time; nobody could tell."""
    digest = challenge_digest(key.app, task.hash)
    unsigned = ReportToken(os.urandom(32), digest, key.token_key_id, b"").signed_bytes
    pss = padding.PSS(padding.MGF1(hashes.SHA384()), SALT_BYTES)
    return unsigned + private.sign(unsigned, pss, hashes.SHA384())
