"""A device's own encrypted file: what a shopper did, readable with a key that never leaves the device.

    magic, format, key store, key name, key check, nonce, length     (clear, authenticated)
    AES-256-GCM ciphertext of the content, padded to whole pages

The key is 32 random bytes in the operating system's keyring, or in a file of mode 0600 beside the vault. The key
name is a random label of the keyring entry; it identifies nobody and is sent nowhere. The file is replaced
whole: after a crash the old or the new content is there. It does not protect against somebody who can run
programs as the shopper, nor against an old copy of the file put back in its place. POSIX only (flock, fsync).
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import secrets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import keyring
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from keyring.errors import KeyringError, PasswordDeleteError

from data.atomic import sync, write_atomically
from data.errors import ServingError

T = TypeVar("T")
KeyStore = Literal["keyring", "file"]

VAULT, KEY, LOCK = "vault", "vault.key", "vault.lock"
KEYRING_SERVICE = "ownshelf"
PAGE = 4096  # the file's size tells the length of a history only to within a page
FORMAT = 1

_PURPOSE = b"ownshelf device vault"
_MAGIC = b"OWNSHELF"
_HEADER = struct.Struct("<8sHH16s16s12sQ")
_STORES: tuple[KeyStore, ...] = ("keyring", "file")


def keyring_works() -> bool:
    """Whether the operating system's keyring can be used: keyring itself recommends backends of priority ≥ 1."""
    try:
        return float(keyring.get_keyring().priority) >= 1
    except (KeyringError, RuntimeError):
        return False


class Vault:
    """One encrypted file in a folder of its own, with its key."""

    __slots__ = ("_key", "folder", "key_name", "key_store")

    def __init__(self, folder: Path, key_store: KeyStore, key_name: bytes, key: bytes) -> None:
        self.folder = folder
        self.key_store = key_store
        self.key_name = key_name
        self._key = key

    def __repr__(self) -> str:
        return f"Vault({str(self.folder)!r}, key_store={self.key_store!r})"

    @staticmethod
    def create(folder: str | Path, content: bytes, key_store: KeyStore | None = None) -> Vault:
        """A new vault with a fresh key. key_store None: the keyring when one works, else a file.

        Raises ServingError when the folder holds a vault already or the wanted key store does not work.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        store: KeyStore = key_store or ("keyring" if keyring_works() else "file")
        if store not in _STORES:
            raise ServingError(f"key_store={store!r}: must be one of {list(_STORES)}")
        vault = Vault(folder, store, secrets.token_bytes(16), AESGCM.generate_key(256))
        with vault.locked():
            if (folder / VAULT).exists():
                raise ServingError(f"{folder}: holds a vault already; erase it first or choose another folder")
            vault._keep_key()
            vault.write(content)
        return vault

    @staticmethod
    def open(folder: str | Path) -> Vault:
        """An existing vault. Raises ServingError when there is none, or its key is missing or another's."""
        folder = Path(folder)
        _, store, name, check, _, _ = _header(_read(folder / VAULT), folder)
        key = _keyring_key(name) if store == "keyring" else _file_key(folder / KEY)
        if not hmac.compare_digest(_key_check(key), check):
            raise ServingError(f"{folder}: wrong key in the {store}; the vault was sealed with another one")
        return Vault(folder, store, name, key)

    def read(self) -> bytes:
        """The content. Raises ServingError when a byte of the file differs from what was written."""
        blob = _read(self.folder / VAULT)
        _, _, _, check, nonce, length = _header(blob, self.folder)
        if not hmac.compare_digest(_key_check(self._key), check):
            raise ServingError(f"{self.folder}: wrong key; the vault was replaced by another one")
        sealed = blob[_HEADER.size :]
        if len(sealed) != length:
            raise ServingError(
                f"{self.folder / VAULT}: {len(sealed)} sealed bytes, must be {length}: truncated or extended"
            )
        try:
            padded = AESGCM(self._key).decrypt(nonce, sealed, _PURPOSE + blob[: _HEADER.size])
        except InvalidTag:
            raise ServingError(f"{self.folder / VAULT}: tampered with; its seal does not match") from None
        return unpad(padded)

    def write(self, content: bytes) -> None:
        """Replace the content; durable when it returns."""
        padded = pad(content)
        nonce = secrets.token_bytes(12)
        store = _STORES.index(self.key_store)
        length = len(padded) + 16  # GCM's tag
        header = _HEADER.pack(_MAGIC, FORMAT, store, self.key_name, _key_check(self._key), nonce, length)
        sealed = AESGCM(self._key).encrypt(nonce, padded, _PURPOSE + header)
        write_atomically(self.folder / VAULT, header + sealed, mode=0o600)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off other writers of the same folder, in this process or another, during a read-change-write."""
        descriptor = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for torn in self.folder.glob(f".{VAULT}-*"):  # of a writer that was killed
                torn.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)

    def _keep_key(self) -> None:
        if self.key_store == "file":
            write_atomically(self.folder / KEY, self._key, mode=0o600)
            return
        if not keyring_works():
            raise ServingError("key_store='keyring': no working keyring here; use key_store='file'")
        name, key = self.key_name.hex(), self._key.hex()
        _in_keyring("store", lambda: keyring.set_password(KEYRING_SERVICE, name, key))


def erase_vault(folder: str | Path) -> None:
    """Destroy the key, then overwrite and remove the files; works without the key, or on a damaged vault.

    Disks and file systems may keep old blocks; without the key they are noise.
    """
    folder = Path(folder)
    blob = _read(folder / VAULT)
    try:
        _, store, name, _, _, _ = _header(blob, folder)
    except ServingError:  # damaged: nothing says where its key is
        store, name = "file", b""
    if store == "keyring":
        with contextlib.suppress(PasswordDeleteError):  # there is none: as wanted
            _in_keyring("delete", lambda: keyring.delete_password(KEYRING_SERVICE, name.hex()))
    for path in [folder / KEY, folder / VAULT, *folder.glob(f".{VAULT}*")]:
        _shred(path)
    (folder / LOCK).unlink(missing_ok=True)
    sync(folder)


def pad(content: bytes) -> bytes:
    """Content with its length before it and zeros behind it, to whole pages."""
    framed = struct.pack("<Q", len(content)) + content
    return framed.ljust(-(-len(framed) // PAGE) * PAGE, b"\0")


def unpad(padded: bytes) -> bytes:
    """The content of pad."""
    (length,) = struct.unpack_from("<Q", padded)
    return padded[8 : 8 + length]


def _key_check(key: bytes) -> bytes:
    """Tells a wrong key from a changed file, and says nothing about the key."""
    return hmac.digest(key, b"ownshelf vault key check", "sha256")[:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ServingError(f"{path}: missing; `ownshelf device init` makes a vault") from None
    except OSError as error:
        raise ServingError(f"{path}: {error.strerror}") from None


def _header(blob: bytes, folder: Path) -> tuple[int, KeyStore, bytes, bytes, bytes, int]:
    path = folder / VAULT
    if len(blob) < _HEADER.size:
        raise ServingError(f"{path}: {len(blob)} bytes, a vault has at least {_HEADER.size}: truncated")
    magic, found, store, name, check, nonce, length = _HEADER.unpack_from(blob)
    if magic != _MAGIC or store >= len(_STORES):
        raise ServingError(f"{path}: not a vault")
    if found != FORMAT:
        raise ServingError(f"{path}: format={found}: this version reads format {FORMAT}")
    return found, _STORES[store], name, check, nonce, length


def _keyring_key(name: bytes) -> bytes:
    found = _in_keyring("read", lambda: keyring.get_password(KEYRING_SERVICE, name.hex()))
    if found is None:
        raise ServingError("keyring: the vault's key is not in it; the vault cannot be opened without it")
    try:
        return bytes.fromhex(found)
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
    key = _read(path)
    if path.stat().st_mode & 0o077:
        raise ServingError(f"{path}: mode {path.stat().st_mode & 0o777:o}: must be 600, others can read the key")
    if len(key) != 32:
        raise ServingError(f"{path}: {len(key)} bytes, a key has 32: wrong key")
    return key


def _shred(path: Path) -> None:
    if path.is_file():
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
