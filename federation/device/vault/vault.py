"""A device's own encrypted file: what a shopper did, readable with a key that never leaves the device.

The key is 32 random bytes in the operating system's keyring, or in a file of mode 0600 beside the vault. The key name
is a random label of the keyring entry; it identifies nobody and is sent nowhere.

A snapshot replaces the file whole; a record is appended to it (federation/device/vault/sealed_log.py). After a crash
the old or the new content is there. Whoever removes something writes a snapshot, so that no file of the folder still
has it. The vault does not protect against somebody who can run programs as the shopper, nor against an old copy of the
file put back in its place, nor does it notice when records are cut off its end. POSIX only (flock, fsync).
"""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from data.atomic import sync, write_atomically
from data.errors import ServingError
from federation.device.vault.sealed_log import (
    HEADER_BYTES,
    KEY_STORES,
    Header,
    KeyStore,
    Position,
    VaultChanged,
    key_check,
    open_records,
    open_snapshot,
    parse_header,
    seal_record,
    seal_snapshot,
)
from federation.device.vault.vault_key import KEY, delete_keyring_key, keyring_works, load_key, store_key

VAULT, LOCK = "vault", "vault.lock"


@dataclass(frozen=True)
class Reading:
    """What a vault holds beyond what is known. snapshot: None when it is the known one; records: those since."""

    snapshot: bytes | None = field(repr=False)
    records: list[bytes] = field(repr=False)
    position: Position


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
        """Make a new vault with a fresh key. key_store None: the keyring when one works, else a file.

        Raises ServingError when the folder holds a vault already or the wanted key store does not work.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        store: KeyStore = key_store or ("keyring" if keyring_works() else "file")
        if store not in KEY_STORES:
            raise ServingError(f"key_store={store!r}: must be one of {list(KEY_STORES)}")
        vault = Vault(folder, store, secrets.token_bytes(16), AESGCM.generate_key(256))
        with vault.locked():
            if (folder / VAULT).exists():
                raise ServingError(f"{folder}: holds a vault already; erase it first or choose another folder")
            store_key(folder, store, vault.key_name, vault._key)
            vault.write(content)
        return vault

    @staticmethod
    def open(folder: str | Path) -> Vault:
        """Open an existing vault. Raises ServingError when there is none, or its key is missing or another's."""
        folder = Path(folder)
        header = _header(_read(folder / VAULT), folder)
        key = load_key(folder, header.key_store, header.key_name)
        if not hmac.compare_digest(key_check(key), header.check):
            raise ServingError(f"{folder}: wrong key in the {header.key_store}; the vault was sealed with another one")
        return Vault(folder, header.key_store, header.key_name, key)

    def read(self, since: Position | None = None) -> Reading:
        """Read what was written since a position, or everything when there is no position or another snapshot.

        Raises ServingError when the file differs from what was written, but for a last record that a crash tore.
        """
        try:
            if since is not None and (log := self._read_log(since)) is not None:
                return Reading(None, *open_records(self._key, log, since))
            blob = _read(self.folder / VAULT)
            if not hmac.compare_digest(key_check(self._key), _header(blob, self.folder).check):
                raise ServingError(f"{self.folder}: wrong key; the vault was replaced by another one")
            content, begin = open_snapshot(self._key, blob)
            return Reading(content, *open_records(self._key, blob[begin.offset :], begin))
        except VaultChanged as error:
            raise ServingError(f"{self.folder / VAULT}: {error}") from None

    def write(self, content: bytes) -> Position:
        """Replace the content, and all records with it; durable when it returns."""
        blob = seal_snapshot(self._key, self.key_store, self.key_name, content)
        write_atomically(self.folder / VAULT, blob, mode=0o600)
        return Position(blob[:HEADER_BYTES], len(blob), 0, blob[-16:])

    def append(self, record: bytes, after: Position) -> Position:
        """Add a record where a reading under this lock has ended; durable when it returns.

        What a crash left behind that position is cut off first.
        """
        sealed, position = seal_record(self._key, record, after)
        descriptor = os.open(self.folder / VAULT, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, after.offset)
            os.lseek(descriptor, after.offset, os.SEEK_SET)
            while sealed:
                sealed = sealed[os.write(descriptor, sealed) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return position

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

    def _read_log(self, since: Position) -> bytes | None:
        """Read the bytes behind a position; None when the file is another one by now, or shorter."""
        try:
            with (self.folder / VAULT).open("rb") as file:
                if file.read(HEADER_BYTES) != since.start or file.seek(0, os.SEEK_END) < since.offset:
                    return None
                file.seek(since.offset)
                return file.read()
        except OSError:
            return None  # reading it whole says why


def erase_vault(folder: str | Path) -> None:
    """Destroy the key, then overwrite and remove the files; works without the key, or on a damaged vault.

    Disks and file systems may keep old blocks; without the key they are noise.
    """
    folder = Path(folder)
    blob = _read(folder / VAULT)
    try:
        header = parse_header(blob)
    except VaultChanged:
        pass  # damaged: nothing says where its key is
    else:
        if header.key_store == "keyring":
            delete_keyring_key(header.key_name)
    for path in [folder / KEY, folder / VAULT, *folder.glob(f".{VAULT}*")]:
        _shred(path)
    (folder / LOCK).unlink(missing_ok=True)
    sync(folder)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ServingError(f"{path}: missing; `ownshelf device init` makes a vault") from None
    except OSError as error:
        raise ServingError(f"{path}: {error.strerror}") from None


def _header(blob: bytes, folder: Path) -> Header:
    try:
        return parse_header(blob)
    except VaultChanged as error:
        raise ServingError(f"{folder / VAULT}: {error}") from None


def _shred(path: Path) -> None:
    if path.is_file():
        with path.open("r+b") as file:
            file.write(secrets.token_bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
