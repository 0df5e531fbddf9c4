"""The downloaded catalogue on a device: a public file beside the vault, which names it by its hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from data.atomic import write_atomically
from data.errors import ModelError

NAME = "catalogue-{}.safetensors"


def catalogue_path(folder: Path, digest: str) -> Path:
    """Where the file of a sha256 (hex) is."""
    return folder / NAME.format(digest[:16])


def read_catalogue(folder: Path, digest: str) -> bytes | None:
    """The file, None when it is missing. One that is not what was fetched is removed: raises ModelError."""
    path = catalogue_path(folder, digest)
    if not path.is_file():
        return None
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        path.unlink()
        raise ModelError(f"{path}: not the catalogue that was fetched; removed, refresh to fetch it again")
    return content


def write_catalogue(folder: Path, digest: str, content: bytes) -> None:
    """Keep a file beside those that are there."""
    write_atomically(catalogue_path(folder, digest), content)


def keep_only(folder: Path, digest: str) -> None:
    """Remove every catalogue but one."""
    for path in folder.glob(NAME.format("*")):
        if path != catalogue_path(folder, digest):
            path.unlink(missing_ok=True)
