"""The downloaded catalogue on a device, and its changes since: public files beside the vault, named by a hash."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from data.atomic import write_atomically
from data.errors import ModelError
from recsys.catalogue.catalogue import Catalogue
from recsys.catalogue.changes import CatalogueChanges, decode_changes
from recsys.lists.placements.placements_file import placements_of

NAME = "catalogue-{}.safetensors"
CHANGES_NAME = "changes-{}.json"

Stamp = tuple[int, int] | None
"""Which file of changes it is: another one has another stamp. None when there is none."""


def catalogue_path(folder: Path, digest: str) -> Path:
    """Locate the file of a sha256 (hex)."""
    return folder / NAME.format(digest[:16])


def read_catalogue(folder: Path, digest: str) -> bytes | None:
    """Read the file, None when it is missing. One that is not what was fetched is removed: raises ModelError."""
    path = catalogue_path(folder, digest)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != digest:
        path.unlink(missing_ok=True)
        raise ModelError(f"{path}: not the catalogue that was fetched; removed, refresh to fetch it again")
    return content


def write_catalogue(folder: Path, digest: str, content: bytes) -> None:
    """Keep a file beside those that are there."""
    write_atomically(catalogue_path(folder, digest), content)


def changes_stamp(folder: Path, digest: str) -> Stamp:
    """Stamp the changes of that catalogue. The file is replaced whole, so that a new inode or time is a new content."""
    try:
        status = changes_path(folder, digest).stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def changes_path(folder: Path, digest: str) -> Path:
    """Locate the changes of that catalogue."""
    return folder / CHANGES_NAME.format(digest[:16])


def read_changes(folder: Path, digest: str) -> CatalogueChanges | None:
    """Read the changes of that catalogue. None when they are missing or damaged, and all must be asked for again."""
    try:
        seal, _, content = changes_path(folder, digest).read_bytes().partition(b"\n")
        return decode_changes(content) if seal == _seal(digest, content) else None
    except (FileNotFoundError, ModelError):
        return None


def write_changes(folder: Path, digest: str, changes: CatalogueChanges) -> None:
    """Replace the changes of that catalogue."""
    content = changes.encode()
    write_atomically(changes_path(folder, digest), _seal(digest, content) + b"\n" + content)


def now_shown(catalogue: Catalogue, changes: CatalogueChanges | None) -> Catalogue:
    """Apply changes to a catalogue: its items and placements as they are now.

    It stays as it is without changes, or with those of another bundle.
    """
    if changes is None or changes.bundle_version != catalogue.bundle_version:
        return catalogue
    shown = catalogue.with_changes(changes.changes)
    return shown if changes.placements is None else replace(shown, placements=placements_of(changes.placements))


def keep_only(folder: Path, digest: str) -> None:
    """Remove all but one catalogue and its changes, and what killed writers left; for whoever has the vault's lock."""
    current = {catalogue_path(folder, digest), changes_path(folder, digest)}
    for name in (NAME, CHANGES_NAME):
        for path in folder.glob(name.format("*")):
            if path not in current:
                path.unlink(missing_ok=True)
        for torn in folder.glob(f".{name.format('*')}-*"):
            torn.unlink(missing_ok=True)


def _seal(digest: str, content: bytes) -> bytes:
    return hashlib.sha256(digest.encode() + content).hexdigest().encode()
