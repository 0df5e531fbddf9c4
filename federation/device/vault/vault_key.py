"""Where a vault's key is kept: the operating system's keyring, or a file that only its owner can read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import keyring
from keyring.errors import KeyringError, PasswordDeleteError

from data.atomic import write_atomically
from data.errors import ServingError
from federation.device.vault.sealed_log import KeyStore

T = TypeVar("T")

KEY = "vault.key"
KEYRING_SERVICE = "ownshelf"


def keyring_works() -> bool:
    """Tell whether the operating system's keyring can be used: keyring itself recommends backends of priority ≥ 1."""
    try:
        return float(keyring.get_keyring().priority) >= 1
    except (KeyringError, RuntimeError):
        return False


def store_key(folder: Path, store: KeyStore, name: bytes, key: bytes) -> None:
    """Keep a new key (32 bytes). name: the random label of its keyring entry."""
    if store == "file":
        write_atomically(folder / KEY, key, mode=0o600)
        return
    if not keyring_works():
        raise ServingError("key_store='keyring': no working keyring here; use key_store='file'")
    _in_keyring("store", lambda: keyring.set_password(KEYRING_SERVICE, name.hex(), key.hex()))


def load_key(folder: Path, store: KeyStore, name: bytes) -> bytes:
    """Fetch the key (32 bytes). Raises ServingError when it is missing, no key, or readable by others."""
    return _keyring_key(name) if store == "keyring" else _file_key(folder / KEY)


def delete_keyring_key(name: bytes) -> None:
    """Delete a key from the keyring; one that is not there is as deleted as it can be."""
    with contextlib.suppress(PasswordDeleteError):
        _in_keyring("delete", lambda: keyring.delete_password(KEYRING_SERVICE, name.hex()))


def _keyring_key(name: bytes) -> bytes:
    text = _in_keyring("read", lambda: keyring.get_password(KEYRING_SERVICE, name.hex()))
    if text is None:
        raise ServingError("keyring: the vault's key is not in it; the vault cannot be opened without it")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ServingError("keyring: the vault's entry is not a key") from None


def _in_keyring(verb: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except PasswordDeleteError:
        raise
    except KeyringError as error:
        raise ServingError(f"keyring: cannot {verb} the key: {type(error).__name__}") from None


def _file_key(path: Path) -> bytes:
    if not path.exists():
        raise ServingError(f"{path}: missing; without its key the vault cannot be opened, only erased")
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ServingError(f"{path}: {error.strerror}") from None
    if path.stat().st_mode & 0o077:
        raise ServingError(f"{path}: mode {path.stat().st_mode & 0o777:o}: must be 600, others can read the key")
    if len(key) != 32:
        raise ServingError(f"{path}: {len(key)} bytes, a key has 32: wrong key")
    return key
