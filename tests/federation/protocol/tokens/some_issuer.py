"""RSA keys for tests, made once a process, and an issuer of tokens without a service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa

from federation.protocol.messages import Task
from federation.protocol.tokens.blind_rsa import EXPONENT, BlindSigner
from federation.protocol.tokens.issuer_key import MODULUS_BITS, IssuerKey
from federation.protocol.tokens.report_token import TokenRequest


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """The how manieth key of this process."""
    return rsa.generate_private_key(EXPONENT, MODULUS_BITS)


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
        key = self.key(task.deadline)
        request = TokenRequest.of(key, task)
        return request.token(self.sign(key, [request.blinding.blinded])[0])
