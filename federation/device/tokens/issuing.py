"""A device fetches a token: it names a task's deadline, checks the key it is told, and has a blinded nonce signed.

Whoever signs sees the shopper's login with the shop, and a random number. The token that comes of it has never been
seen by anybody when it is spent.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from data.errors import ServingError
from federation.device.asking.bounded_answer import PACKED, read_json
from federation.protocol.messages import Task
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.tokens.report_token import TokenRequest

TOKENS = "/v1/device-tokens"


class TokenIssuer(Protocol):
    """Signs what this device blinded: the shop's backend, which asks the service."""

    def key(self, deadline: int) -> IssuerKey:
        """Name the key for tasks of a deadline, unchecked. Raises ServingError when it cannot be asked."""
        ...

    def sign(self, key: IssuerKey, blinded: Sequence[bytes]) -> list[bytes]:
        """Sign blinded messages with this key, in order, unchecked. Raises ServingError when it does not."""
        ...


def fetch_token(issuer: TokenIssuer, task: Task, app: str, check_public: Callable[[IssuerKey], None]) -> bytes:
    """Fetch a token for one report to a task. app: whose device this is.

    check_public: raises unless the key is in the custodian's log. Raises IssuerKeyRefused for a key of another app or
    period, BlindingRefused for a signature that is not the key's, and what the issuer raises.
    """
    key = issuer.key(task.deadline)
    if key.app != app:
        raise IssuerKeyRefused(f"app={key.app} of the issuer's key: must be {app}")
    if not key.is_for(task.deadline):
        raise IssuerKeyRefused(f"deadline={task.deadline}: the issuer's key is for {key.not_before}..{key.not_after}")
    check_public(key)
    request = TokenRequest.of(key, task)
    signatures = issuer.sign(key, [request.blinding.blinded])
    if len(signatures) != 1:
        raise ServingError(f"tokens: {len(signatures)} signatures came, must be 1")
    return request.token(signatures[0])


@dataclass(frozen=True)
class ShopIssuer:
    """Asks an address of the shop's, which answers as the service does (docs/wire.md). Safe to share between threads.

    credential: what the shop knows its shopper by, sent as a bearer token; with the service itself, an API key of the
    shop's backend. path: of a client whose base_url is the shop's.
    """

    client: httpx.Client
    credential: str | None = field(default=None, repr=False)
    path: str = TOKENS

    def key(self, deadline: int) -> IssuerKey:
        """Ask which key is for tasks of a deadline. Raises ServingError, IssuerKeyRefused for what is no key."""
        answer = self._ask("GET", f"{self.path}?deadline={deadline}", 200)
        return IssuerKey.from_bytes(_decode(answer.get("issuer_key")))

    def sign(self, key: IssuerKey, blinded: Sequence[bytes]) -> list[bytes]:
        """Have blinded messages signed. Raises ServingError."""
        content = {"token_key_id": key.token_key_id.hex(), "blinded": [_encode(message) for message in blinded]}
        signatures = self._ask("POST", self.path, 201, content).get("signatures")
        if not isinstance(signatures, list):
            raise ServingError("tokens: no signatures came")
        return [_decode(signature) for signature in signatures]

    def _ask(self, method: str, path: str, wanted: int, content: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = dict(PACKED) if self.credential is None else PACKED | {"authorization": f"Bearer {self.credential}"}
        body = None
        if content is not None:
            headers["content-type"], body = "application/json", json.dumps(content).encode()
        try:
            with self.client.stream(method, path, content=body, headers=headers, follow_redirects=False) as response:
                if response.status_code != wanted:
                    raise ServingError(f"tokens: the shop signs none (status {response.status_code})")
                return read_json(response, "tokens") or {}
        except httpx.HTTPError as error:
            raise ServingError(f"tokens: the shop signs none ({type(error).__name__})") from None


def _encode(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: object) -> bytes:
    """Decode base64url without padding. Raises ServingError for anything else."""
    if not isinstance(text, str) or not text.isascii():
        raise ServingError("tokens: an answer that is none came")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise ServingError("tokens: an answer that is none came") from None
