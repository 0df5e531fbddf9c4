"""A device's history sealed under a passphrase, to carry it to another device of the same shopper."""

from __future__ import annotations

import secrets
import struct
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from data.errors import ServingError
from federation.device.vault.sealed_log import pad, unpad

FORMAT = 1
_PURPOSE = b"ownshelf device export"
_MAGIC = b"OWNEXPRT"
_HEADER = struct.Struct("<8sH16s12s")
_SCRYPT_COST = {"n": 2**17, "r": 8, "p": 1}  # 128 MiB, OWASP's first choice for scrypt
MIN_PASSPHRASE = 8


def seal_export(content: bytes, passphrase: str) -> bytes:
    """Seal content under a passphrase of at least 8 characters: scrypt, then AES-256-GCM."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise ServingError(f"passphrase: {len(passphrase)} characters, must be at least {MIN_PASSPHRASE}")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _HEADER.pack(_MAGIC, FORMAT, salt, nonce)
    return header + AESGCM(_stretch(passphrase, salt)).encrypt(nonce, pad(content), _PURPOSE + header)


def open_export(blob: bytes, passphrase: str) -> bytes:
    """Open the content of seal_export.

    Raises ServingError for a wrong passphrase or a changed export: GCM cannot tell.
    """
    if len(blob) < _HEADER.size or blob[:8] != _MAGIC:
        raise ServingError("export: not a device export")
    header = blob[: _HEADER.size]
    _, version, salt, nonce = _HEADER.unpack(header)
    if version != FORMAT:
        raise ServingError(f"export: format={version}: this version reads format {FORMAT}")
    try:
        padded = AESGCM(_stretch(passphrase, salt)).decrypt(nonce, blob[len(header) :], _PURPOSE + header)
    except InvalidTag:
        raise ServingError("export: wrong passphrase, or the export was changed") from None
    return unpad(padded)


def _stretch(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT_COST).derive(unicodedata.normalize("NFKC", passphrase).encode())
