"""A shopper's own device: it remembers, makes the profile, and recommends; what it remembers stays in its vault.

Nothing here knows an account: the history of a guest is the history after logging in. Consent is a switch on the
device. Under "nothing", no event is recorded and none recorded before is used: lists are the trend, as for
anybody; the history stays sealed until it is forgotten, erased, or consent comes back. "observe" records and
personalizes. "contribute" also lets the device take part in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from data.errors import ServingError
from data.interactions import EventKind
from federation.device.asking.ask_coarse import (
    refresh_clusters,
    row_version,
)
from federation.device.asking.catalogue_file import Stamp, changes_stamp, now_shown, read_catalogue, read_changes
from federation.device.asking.client import service_client
from federation.device.asking.clusters_file import held_clusters
from federation.device.asking.refresh import refresh_catalogue
from federation.device.budget.spent import DeviceExport
from federation.device.erasure import erase_device, without_item, without_reports, without_shopper
from federation.device.export import open_export, seal_export
from federation.device.lists import (
    keep_rows,
    profile_of,
    recorded,
    with_own_rows,
)
from federation.device.state import (
    Consent,
    DeviceState,
    Event,
    parse_consent,
    parse_kind,
)
from federation.device.summary import show_state
from federation.device.surfaces.listing_device import ListingDevice
from federation.device.surfaces.placement_list import as_shown
from federation.device.timestamps import micros
from federation.device.vault import KeyStore, Vault
from federation.device.vault.stored_state import StoredState
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import Catalogue, catalogue_of, decode_catalogue, encode_catalogue
from recsys.model.profile import Profile


@dataclass(frozen=True)
class ObserveResult:
    """The result of observing an event. in_catalogue: None when the device holds no catalogue to look in."""

    recorded: bool
    in_catalogue: bool | None
    note: str


class Device(ListingDevice):
    """A vault and a catalogue. Each method reads what is new in the vault, so that two programs may share a device."""

    def __init__(self, vault: Vault, bundle: Bundle | Catalogue | None = None) -> None:
        self._vault = vault
        self._stored = StoredState(vault)
        self._bundle = catalogue_of(bundle) if isinstance(bundle, Bundle) else bundle
        self._bundle_file = (lambda: encode_catalogue(bundle)) if isinstance(bundle, Bundle) else None
        self._cached: tuple[tuple[str, tuple[str, ...] | None, Stamp], Catalogue] | None = None
        if bundle is not None:
            self.change(lambda state: keep_rows(state, self._exact))

    def __repr__(self) -> str:
        return f"Device({str(self._vault.folder)!r})"

    @staticmethod
    def create(
        folder: str | Path,
        *,
        consent: str = "nothing",
        key_store: KeyStore | None = None,
        bundle: Bundle | None = None,
    ) -> Device:
        """Create a new device in a folder of its own.

        consent: "nothing" until the shopper gives it; a shop where it is not asked for passes "observe".
        key_store: None takes the operating system's keyring when one works, else a 0600 file; `key_store` tells.
        bundle: a bundle at hand, instead of a downloaded catalogue.
        """
        state = DeviceState(consent=parse_consent(consent))
        return Device(Vault.create(folder, state.encode(), key_store), bundle)

    @staticmethod
    def open(folder: str | Path, bundle: Bundle | None = None) -> Device:
        """Open an existing device. Raises ServingError for a missing, torn or tampered vault, or a wrong key."""
        device = Device(Vault.open(folder), bundle)
        _ = device.state
        return device

    @property
    def folder(self) -> Path:
        """The device's own folder."""
        return self._vault.folder

    @property
    def key_store(self) -> KeyStore:
        """Where the vault's key is."""
        return self._vault.key_store

    @property
    def consent(self) -> Consent:
        """The shopper's choice."""
        return self.state.consent

    @property
    def state(self) -> DeviceState:
        """Everything that is stored, as it is now."""
        return self._stored.state()

    @property
    def catalogue(self) -> Catalogue | None:
        """The items at hand as they are now, with the device's own rows at full precision where it has them.

        Its `of_bundle` is what the file of catalogue_hash says.
        """
        return self._catalogue(self.state)

    @property
    def catalogue_hash(self) -> bytes | None:
        """SHA-256 (32 bytes) of the catalogue's file, as everybody downloads it; None without one."""
        if self._bundle_file is not None:
            return hashlib.sha256(self._bundle_file()).digest()
        catalogue = self.catalogue
        return None if catalogue is None or catalogue.digest is None else bytes.fromhex(catalogue.digest)

    def set_consent(self, consent: str) -> None:
        """Change the shopper's choice. Of what is recorded it erases nothing; a report not yet sent is destroyed."""
        wanted = parse_consent(consent)

        def choose(state: DeviceState) -> DeviceState:
            chosen = replace(state, consent=wanted)
            return chosen if wanted == "contribute" else without_reports(chosen)

        self.change(choose)

    def observe(
        self,
        item_id: str,
        kind: str | EventKind,
        time: datetime | int | None = None,
        quantity: float = 1.0,
        *,
        row: npt.NDArray[np.float32] | None = None,
        row_version: str | None = None,
    ) -> ObserveResult:
        """Record one event; the next list knows it.

        time: aware datetime or µs since 1970 UTC; None is now. An item that the catalogue does not know is
        recorded too, and used as soon as a catalogue knows it. Its price and availability now are kept with the event.
        row: the item's embedding (dim,) as its page had it, for a device that holds no catalogue; row_version: of which
        bundle, None for the one at hand. A row of another bundle than the one at hand is not kept.
        """
        if not item_id:
            raise ServingError("item_id: must not be empty")
        if not 0 < quantity < np.inf:
            raise ServingError(f"quantity={quantity}: must be > 0")
        seen = as_shown(self._catalogue(self.state), item_id)
        event = Event(micros(time), item_id, parse_kind(kind), float(quantity), (), *seen)
        version = None if row is None else self._row_version(row, row_version)
        exact_row = None if row is None or version is None else (row, version)
        state = self._stored.change(lambda state: recorded(state, event, self._exact, exact_row))
        if state.consent == "nothing":
            return ObserveResult(False, None, "consent=nothing: not recorded")
        catalogue = self._catalogue(state)
        if row is not None:
            kept = "with its row" if version else "its row is of another bundle than this device holds, and not kept"
            return ObserveResult(True, None, f"recorded; {kept}")
        if catalogue is None:
            return ObserveResult(True, None, "recorded; no catalogue on this device yet")
        if catalogue.items.index_of([item_id])[0] < 0:
            note = f"recorded; not in bundle {catalogue.bundle_version}, unused until one has it"
            return ObserveResult(True, False, note)
        return ObserveResult(True, True, "recorded")

    def profile(self, now: datetime | int | None = None) -> Profile | None:
        """Make the profile for the catalogue at hand; None without consent or an event that the catalogue knows."""
        return profile_of(state := self.state, self._need(state), micros(now))

    def refresh(self, service: str | httpx.Client) -> bool:
        """Fetch the service's current catalogue if it differs from the one held; return whether it did.

        Then fetch what changed about its items since. The service is told the version held, about where the changes
        held end, and nothing else. A bundle given to create or open is given up.
        """
        with service_client(service) as client:
            fetched = refresh_catalogue(self, client)
        self._bundle, self._bundle_file = None, None
        return fetched

    def refresh_clusters(self, service: str | httpx.Client) -> str:
        """Fetch the service's current clusters file if it differs from the one held; the bundle's version.

        All that a device needs for modes cluster and noised, a few hundred bytes a centroid.
        """
        with service_client(service) as client:
            return refresh_clusters(self, client).bundle_version

    def forget(self, item_id: str) -> int:
        """Remove every event of one item; returns how many. An older export merged later brings them back.

        Notes for experiments go too: those of the item, and those of a click, cart or purchase that do not say of what.
        A report that was made with them and is not sent yet is destroyed. What reports have said stays counted.
        """
        return self._forget(lambda state: without_item(state, item_id))

    def forget_everything(self) -> int:
        """Remove all that the shopper did; returns how many events. Budgets stay spent (see erasure)."""
        return self._forget(without_shopper)

    def export(self, passphrase: str) -> bytes:
        """Seal history and ledger under a passphrase (≥ 8 characters), for another device of the same shopper."""
        return seal_export(DeviceExport.of(self.state).encode(), passphrase)

    def import_(self, exported: bytes, passphrase: str) -> int:
        """Merge another device's export: what is known already is not added, what it spent counts. Events added."""
        theirs = DeviceExport.decode(open_export(exported, passphrase))
        before = len(self.state.events)
        state = self.change(theirs.merged_into)
        return len(state.events) - before

    def show(self) -> dict[str, Any]:
        """Show everything that is stored, for the shopper's own eyes (federation/device/summary.py)."""
        state = self.state
        catalogue = self._catalogue(state)
        return {
            "folder": str(self._vault.folder),
            "key_store": self.key_store,
            "consent": state.consent,
            "bundle_version": None if catalogue is None else catalogue.bundle_version,
            **show_state(state),
        }

    def erase(self) -> None:
        """Destroy the key, the vault and the catalogue; the device must be created anew."""
        erase_device(self._vault.folder)

    def change(self, change: Callable[[DeviceState], DeviceState]) -> DeviceState:
        """Replace the state in one durable step, nobody else writing meanwhile; returns the new one."""

        def keeping(state: DeviceState) -> DeviceState:
            after = change(state)
            return after if after.events is state.events else keep_rows(after, self._exact)

        return self._stored.change(keeping)

    def _forget(self, without: Callable[[DeviceState], DeviceState]) -> int:
        before = 0

        def forget(state: DeviceState) -> DeviceState:
            nonlocal before
            before = len(state.events)
            return without(state)

        after = self.change(forget)
        return before - len(after.events)

    def _row_version(self, row: npt.NDArray[np.float32], named: str | None) -> str | None:
        state = self.state
        clusters = held_clusters(self.folder, state.clusters)
        return row_version(row, named, self._catalogue(state) if clusters is None else clusters)

    @property
    def _exact(self) -> Catalogue | None:
        """The full-precision catalogue at hand, if there is one."""
        return self._bundle if self._bundle is not None and self._bundle.exact else None

    def _need(self, state: DeviceState) -> Catalogue:
        catalogue = self._catalogue(state)
        if catalogue is None:
            raise ServingError(
                f"{self._vault.folder}: no catalogue on this device; `ownshelf device refresh` fetches one"
            )
        return catalogue

    def _catalogue(self, state: DeviceState) -> Catalogue | None:
        if self._bundle is not None:
            return with_own_rows(self._bundle, state.own_rows)
        if state.catalogue is None:
            return None
        row_ids = None if state.own_rows is None else state.own_rows.item_ids
        key = state.catalogue, row_ids, changes_stamp(self.folder, state.catalogue)
        if self._cached is None or self._cached[0] != key:
            content = read_catalogue(self.folder, state.catalogue)
            if content is None:
                latest = self.state  # another program has fetched another one meanwhile
                return None if latest.catalogue == state.catalogue else self._catalogue(latest)
            catalogue = with_own_rows(decode_catalogue(content), state.own_rows)
            self._cached = key, now_shown(catalogue, read_changes(self.folder, state.catalogue))
        return self._cached[1]
