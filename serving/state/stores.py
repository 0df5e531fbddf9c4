"""What all workers of a service share, in one database: changes of items, bundles and activations, counts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from federation.storage.bundle_copies import BundleCopies
from federation.storage.database import open_engine, reading, sqlite_url
from serving.state.bundle_store import BundleStore
from serving.state.counters import heads
from serving.state.item_store import ItemStore
from serving.state.placement_store import PlacementStore
from serving.state.state_url import STATE_FILE, copies_folder
from serving.state.traffic import Traffic


@dataclass(frozen=True, eq=False)
class Stores:
    """The stores of one database. Safe in threads. copies: of its bundles; None serves them from where they are."""

    engine: Engine
    copies: BundleCopies | None = None
    items: ItemStore = field(init=False)
    placements: PlacementStore = field(init=False)
    bundles: BundleStore = field(init=False)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", ItemStore(self.engine))
        object.__setattr__(self, "placements", PlacementStore(self.engine))
        object.__setattr__(self, "bundles", BundleStore(self.engine, self.copies))
        object.__setattr__(self, "traffic", Traffic(self.engine))

    @staticmethod
    def open(url: str, copies: BundleCopies | None = None) -> Stores:
        """Open the stores of a URL, their tables made if they are missing. copies: by default those of its folder."""
        folder = copies_folder(url)
        return Stores(open_engine(url), BundleCopies(folder) if copies is None and folder is not None else copies)

    @staticmethod
    def passing(copies: BundleCopies | None = None) -> Stores:
        """Make stores that are gone with this process: a service without a state of its own."""
        folder = Path(tempfile.mkdtemp(prefix="ownshelf-"))
        stores = Stores(open_engine(sqlite_url(folder / STATE_FILE)), copies)
        weakref.finalize(stores, shutil.rmtree, folder, ignore_errors=True)
        return stores

    def heads(self) -> dict[tuple[str, str], int]:
        """Read (app, name) → the last sequence: one question tells whether anything is new."""
        with reading(self.engine) as connection:
            return heads(connection)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()
