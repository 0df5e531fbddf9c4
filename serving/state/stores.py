"""What all workers of a service share, in one database: changes of items, bundles and activations, counts."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from federation.storage.database import open_engine, reading, sqlite_url
from serving.state.bundle_store import BundleStore
from serving.state.counters import heads
from serving.state.item_store import ItemStore
from serving.state.placement_store import PlacementStore
from serving.state.state_url import STATE_FILE
from serving.state.traffic import Traffic


@dataclass(frozen=True, eq=False)
class Stores:
    """The stores of one database. Safe in threads."""

    engine: Engine
    items: ItemStore = field(init=False)
    placements: PlacementStore = field(init=False)
    bundles: BundleStore = field(init=False)
    traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        kinds = {"items": ItemStore, "placements": PlacementStore, "bundles": BundleStore, "traffic": Traffic}
        for name, kind in kinds.items():
            object.__setattr__(self, name, kind(self.engine))

    @staticmethod
    def open(url: str) -> Stores:
        """Open the stores of a URL, their tables made if they are missing."""
        return Stores(open_engine(url))

    @staticmethod
    def passing() -> Stores:
        """Make stores that are gone with this process: a service without a state of its own."""
        folder = Path(tempfile.mkdtemp(prefix="ownshelf-"))
        stores = Stores.open(sqlite_url(folder / STATE_FILE))
        weakref.finalize(stores, shutil.rmtree, folder, ignore_errors=True)
        return stores

    def heads(self) -> dict[tuple[str, str], int]:
        """Read (app, name) → the last sequence: one question tells whether anything is new."""
        with reading(self.engine) as connection:
            return heads(connection)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()
