"""Encapsulated requests and answers (RFC 9458), sealed to a gateway's key: the relay between reads neither."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from data.errors import FederationError
from federation.protocol.oblivious.hpke import (
    AEAD,
    KDF,
    KEM,
    KEY_BYTES,
    NONCE_BYTES,
    PUBLIC_BYTES,
    TAG_BYTES,
    HpkeContext,
    HpkeRefused,
    expand,
    extract,
    setup_receiver,
    setup_sender,
)

KEYS_TYPE, REQUEST_TYPE, ANSWER_TYPE = "application/ohttp-keys", "message/ohttp-req", "message/ohttp-res"
REQUEST_LABEL, ANSWER_LABEL = b"message/bhttp request", b"message/bhttp response"
HEADER_BYTES = 7
GATEWAY_KEY_ID = 1
OVERHEAD_BYTES = HEADER_BYTES + PUBLIC_BYTES + TAG_BYTES
ANSWER_NONCE_BYTES = max(KEY_BYTES, NONCE_BYTES)
_ALGORITHMS = KDF.to_bytes(2) + AEAD.to_bytes(2)


class ObliviousRefused(FederationError):
    """A key configuration, a request or an answer is none, or does not open."""


@dataclass(frozen=True)
class KeyConfig:
    """A gateway's public key. key_id: 0..255. public: X25519 (32 bytes)."""

    key_id: int
    public: bytes

    def to_bytes(self) -> bytes:
        """Encode the configuration."""
        return b"".join((bytes([self.key_id]), KEM.to_bytes(2), self.public, len(_ALGORITHMS).to_bytes(2), _ALGORITHMS))

    @staticmethod
    def from_bytes(data: bytes) -> KeyConfig:
        """Decode a configuration that has our suite among its own. Raises ObliviousRefused."""
        head, rest = data[:3], data[3 + PUBLIC_BYTES :]
        suites = [rest[at : at + 4] for at in range(2, len(rest), 4)]
        if len(rest) < 6 or len(rest) - 2 != int.from_bytes(rest[:2]) or len(rest) % 4 != 2:
            raise ObliviousRefused(f"key configuration of {len(data)} bytes: is none of X25519")
        if int.from_bytes(head[1:]) != KEM or _ALGORITHMS not in suites:
            raise ObliviousRefused("key configuration: must have X25519, HKDF-SHA256 and AES-128-GCM")
        return KeyConfig(head[0], data[3 : 3 + PUBLIC_BYTES])

    @property
    def header(self) -> bytes:
        """The first bytes of every request to this key."""
        return bytes([self.key_id]) + KEM.to_bytes(2) + _ALGORITHMS


@dataclass(frozen=True)
class GatewayKey:
    """A gateway's key pair. private: X25519 (32 bytes)."""

    private: bytes = field(repr=False)
    key_id: int = GATEWAY_KEY_ID

    @property
    def config(self) -> KeyConfig:
        """The public half."""
        return KeyConfig(self.key_id, X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    def open_request(self, sealed: bytes) -> tuple[bytes, HpkeContext]:
        """Open an encapsulated request: its message, and what the answer is sealed with. Raises ObliviousRefused."""
        if sealed[:HEADER_BYTES] != self.config.header or len(sealed) < OVERHEAD_BYTES:
            raise ObliviousRefused("request: is to another key, or none")
        enc = sealed[HEADER_BYTES : HEADER_BYTES + PUBLIC_BYTES]
        try:
            context = setup_receiver(enc, self.private, _info(self.config))
            return context.open(sealed[HEADER_BYTES + PUBLIC_BYTES :]), context
        except HpkeRefused as error:
            raise ObliviousRefused(f"request: {error}") from None


def keys_to_bytes(configs: tuple[KeyConfig, ...]) -> bytes:
    """Encode a gateway's configurations, each behind its length: application/ohttp-keys."""
    return b"".join(len(config.to_bytes()).to_bytes(2) + config.to_bytes() for config in configs)


def seal_request(message: bytes, config: KeyConfig, ephemeral: bytes | None = None) -> tuple[bytes, HpkeContext]:
    """Seal a request to a gateway, and what its answer opens with. ephemeral: of test vectors; else drawn."""
    try:
        context = setup_sender(config.public, _info(config), ephemeral)
    except HpkeRefused as error:
        raise ObliviousRefused(f"key configuration: {error}") from None
    return config.header + context.enc + context.seal(message), context


def seal_answer(message: bytes, context: HpkeContext, nonce: bytes | None = None) -> bytes:
    """Seal an answer under its question's context. nonce (16 bytes): of test vectors; else drawn."""
    drawn = os.urandom(ANSWER_NONCE_BYTES) if nonce is None else nonce
    key, aead_nonce = _answer_keys(context, drawn)
    return drawn + AESGCM(key).encrypt(aead_nonce, message, b"")


def open_answer(sealed: bytes, context: HpkeContext) -> bytes:
    """Open an encapsulated answer. Raises ObliviousRefused."""
    key, aead_nonce = _answer_keys(context, sealed[:ANSWER_NONCE_BYTES])
    try:
        return AESGCM(key).decrypt(aead_nonce, sealed[ANSWER_NONCE_BYTES:], b"")
    except (InvalidTag, ValueError):
        raise ObliviousRefused("answer: does not open") from None


def _info(config: KeyConfig) -> bytes:
    return REQUEST_LABEL + b"\0" + config.header


def _answer_keys(context: HpkeContext, nonce: bytes) -> tuple[bytes, bytes]:
    secret = context.export(ANSWER_LABEL, ANSWER_NONCE_BYTES)
    key = extract(context.enc + nonce, secret)
    return expand(key, b"key", KEY_BYTES), expand(key, b"nonce", NONCE_BYTES)
