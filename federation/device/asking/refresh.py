"""What a device holds of the shop, brought up to date: the bundle's catalogue, and what changed about its items since.

Both are public. All writes are under the vault's lock, files before the vault that names them and removals after it, so
that a device killed at any moment, or refreshed by two programs at once, holds a whole catalogue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import httpx

from data.errors import ModelError, ServingError
from federation.device.asking.catalogue_file import (
    keep_only,
    now_shown,
    read_catalogue,
    read_changes,
    write_catalogue,
    write_changes,
)
from federation.device.asking.client import CatalogueFile, fetch_catalogue, fetch_changes
from federation.device.state import DeviceState
from recsys.catalogue.catalogue import Catalogue, decode_catalogue
from recsys.catalogue.changes import CatalogueChanges


class StateHolder(Protocol):
    """The parts of a device that a refresh needs."""

    @property
    def folder(self) -> Path:
        """Where its files are."""
        ...

    @property
    def state(self) -> DeviceState:
        """Everything that is stored."""
        ...

    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state durably, nobody else writing meanwhile."""
        ...


def refresh_catalogue(device: StateHolder, client: httpx.Client) -> bool:
    """Fetch the service's current catalogue unless it is the one held, then its changes; whether it was another.

    A service that knows no changes is one whose items do not change. Raises ServingError or ModelError; when only the
    changes could not be had, the catalogue is kept all the same.
    """
    current = _current_file(device)
    content = fetch_catalogue(client, current)
    if content is not None:
        catalogue, digest = decode_catalogue(content), hashlib.sha256(content).hexdigest()
    elif current is not None:
        catalogue, digest = decode_catalogue(current.content), current.digest
    else:
        raise ServingError("service: says that a device without a catalogue has the current one")
    before, after = read_changes(device.folder, digest), None
    try:
        after = _changes_since(client, catalogue, before)
    finally:
        _hold(device, digest, content, before, after)
    return content is not None


def _current_file(device: StateHolder) -> CatalogueFile | None:
    """Return the file at hand, if it can be read; one that is damaged is fetched anew."""
    digest = device.state.catalogue
    if digest is None:
        return None
    try:
        content = read_catalogue(device.folder, digest)
        return None if content is None else CatalogueFile(decode_catalogue(content).bundle_version, digest, content)
    except ModelError:
        return None


def _changes_since(
    client: httpx.Client, catalogue: Catalogue, before: CatalogueChanges | None
) -> CatalogueChanges | None:
    """Fetch all changes of the catalogue's items up to now, or None where the service cannot say."""
    changes = fetch_changes(client, catalogue.bundle_version, 0 if before is None else before.sequence)
    if changes is None:
        return None
    if before is not None and (changes.epoch != before.epoch or changes.sequence < before.sequence):  # it counts anew
        changes = fetch_changes(client, catalogue.bundle_version, 0)
    elif before is not None:
        changes = before.then(changes)
    try:
        now_shown(catalogue, changes)
    except ModelError as error:
        raise ServingError(f"service: {error}") from None
    return changes


def _hold(
    device: StateHolder,
    digest: str,
    content: bytes | None,
    before: CatalogueChanges | None,
    after: CatalogueChanges | None,
) -> None:
    def hold(state: DeviceState) -> DeviceState:
        if content is not None:
            write_catalogue(device.folder, digest, content)
        elif state.catalogue != digest:  # another program has fetched another one meanwhile
            return state
        if after is not None and _is_news(read_changes(device.folder, digest), before, after):
            write_changes(device.folder, digest, after)
        return state if state.catalogue == digest else replace(state, catalogue=digest)

    def sweep(state: DeviceState) -> DeviceState:
        if state.catalogue is not None:
            keep_only(device.folder, state.catalogue)
        return state

    device.change(hold)
    device.change(sweep)


def _is_news(now: CatalogueChanges | None, before: CatalogueChanges | None, after: CatalogueChanges) -> bool:
    """Decide if the changes are to be written over those there now. Another program may have written meanwhile."""
    if now is None or now.epoch != after.epoch:
        return True
    if before is None or now.sequence != before.sequence:
        return after.sequence > now.sequence
    return after.sequence != now.sequence
