"""The shop's backend, as far as rounds need it: it mints device tokens with its API key and hands them out."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import httpx

from data.errors import ServingError

MINT = "/v1/device-tokens"
MAX_COUNT = 1000


def mint_tokens(client: httpx.Client, api_key: str, count: int) -> list[bytes]:
    """Mint fresh tokens, each good for one report a round. Raises ServingError when the service mints none."""
    try:
        answer = client.post(MINT, json={"count": count}, headers={"authorization": f"Bearer {api_key}"})
    except httpx.HTTPError as error:
        raise ServingError(f"service: mints no tokens ({type(error).__name__})") from None
    if answer.status_code != 201:
        raise ServingError(f"service: mints no tokens (status {answer.status_code}); is the API key right?")
    return [token.encode() for token in answer.json()["tokens"]]


@dataclass
class TokenPurse:
    """Tokens for many devices, minted in lots when they run out; safe to share between threads."""

    client: httpx.Client
    api_key: str = field(repr=False)
    lot: int = 100
    _tokens: list[bytes] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def token(self) -> bytes:
        """Take one token that nobody else gets."""
        with self._lock:
            if not self._tokens:
                self._tokens = mint_tokens(self.client, self.api_key, min(self.lot, MAX_COUNT))
            return self._tokens.pop()
