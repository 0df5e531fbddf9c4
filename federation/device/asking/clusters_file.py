"""The clusters file on a device: fetched once a bundle, checked against its hash whenever it is read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx

from data.atomic import write_atomically
from federation.device.asking.client import fetch_clusters
from recsys.catalogue.clusters import Clusters, decode_clusters

NAME = "clusters-{}.safetensors"


def held_clusters(folder: Path, digest: str | None) -> Clusters | None:
    """Read the file that the vault names by its sha256 (hex).

    None when it is missing or changed, and must be fetched.
    """
    if digest is None:
        return None
    path = folder / NAME.format(digest[:16])
    if not path.is_file():
        return None
    content = path.read_bytes()
    return decode_clusters(content) if hashlib.sha256(content).hexdigest() == digest else None


def fetched_clusters(folder: Path, digest: str | None, client: httpx.Client) -> str | None:
    """Fetch the service's current file unless it is the one held; the sha256 of a new one, None without one."""
    current = None if held_clusters(folder, digest) is None else digest
    content = fetch_clusters(client, current)
    if content is None:
        return None
    decode_clusters(content)
    fresh = hashlib.sha256(content).hexdigest()
    write_atomically(folder / NAME.format(fresh[:16]), content)
    for path in folder.glob(NAME.format("*")):
        if path.name != NAME.format(fresh[:16]):
            path.unlink(missing_ok=True)
    return fresh
