"""A party's long-lived signing key: a file that only its owner may read, and beside it the public key for the other."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

from data.atomic import sync, write_atomically
from data.errors import ServingError
from federation.private_sum.signing import SigningKey

_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)


def load_or_make_key(path: Path) -> SigningKey:
    """Load the signing key of a file of 64 hexadecimal digits; made, durably, if there is none.

    Beside it `<name>.pub` holds the public key. Raises ServingError for a file that is no key.
    """
    key = SigningKey.from_private(load_or_make_private(path, "signing key"))
    publish_key(path, key.public)
    return key


def load_or_make_private(path: Path, what: str) -> bytes:
    """Load 32 private bytes of a file of 64 hexadecimal digits, made if there is none. Raises ServingError."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
        write_atomically(fresh, f"{secrets.token_hex(32)}\n".encode(), 0o600)
        with contextlib.suppress(FileExistsError):  # of several who make it at once, all take the first one's
            os.link(fresh, path)
        fresh.unlink()
        sync(path.parent)
    return _read(path, what)


def publish_key(path: Path, public: bytes) -> None:
    """Write the public key beside a private one's file, as `<name>.pub`, unless it is there, or nothing can be."""
    beside = path.with_name(f"{path.name}.pub")
    if not beside.exists():
        with contextlib.suppress(OSError):  # secrets are often mounted read-only
            write_atomically(beside, f"{public.hex()}\n".encode())


def read_public_key(given: str) -> bytes:
    """Read a public key (32 bytes), given as 64 hexadecimal digits or as a file of them.

    Raises ServingError otherwise.
    """
    return bytes.fromhex(given) if _HEX.fullmatch(given) else _read(Path(given), "public key")


def read_secret(path: Path) -> str:
    """Read a secret of one line, such as a URL with a password, from a file. Raises ServingError."""
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"secret {path}: cannot be read ({type(error).__name__})") from None
    if not secret or "\n" in secret:
        raise ServingError(f"secret {path}: must be one line")
    return secret


def _read(path: Path, what: str) -> bytes:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{what} {path}: cannot be read ({type(error).__name__})") from None
    if not _HEX.fullmatch(text):
        raise ServingError(f"{what} {path}: must be 64 hexadecimal digits")
    return bytes.fromhex(text)
