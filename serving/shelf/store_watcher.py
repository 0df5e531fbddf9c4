"""Follows the shared store: what any worker or command changed is served here within a second, and counts go there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from data.errors import ModelError
from federation.storage.database import Commits, reason_of
from recsys.catalogue.bundle import Bundle
from serving.shelf.served import Apps, ServedBundles
from serving.state.bundle_store import COUNTER as BUNDLES
from serving.state.bundle_store import ServedVersion
from serving.state.item_store import COUNTER as ITEMS
from serving.state.item_store import EPOCH
from serving.state.stores import Stores

log = logging.getLogger("ownshelf.serving")

LOOK_S = 0.2
WHOLE_S = 1.0
"""At the latest after so long everything is looked at, whether anybody committed or not: a bundle's folder, which could
not be read, may be there by now."""
FLUSH_S = 5.0
KEEP = 4
"""Bundles beside the current one: with one a week, a device's profile is good for a month. Each is held in memory."""


class StoreWatcher:
    """Takes over bundles and changes of items of all apps. `sync` may be called from any thread."""

    def __init__(
        self,
        apps: Apps,
        stores: Stores,
        *,
        elsewhere: Collection[str] = (),
        folder: Path | None = None,
        keep: int = KEEP,
        load: Callable[[str, str], Bundle] | None = None,
    ) -> None:
        """elsewhere: apps whose bundles somebody else decides on (live training). folder: a cache of indexes. keep: of
        each app, how many bundles are answered beside the current one.
        """
        self._apps, self._stores, self._elsewhere = apps, stores, frozenset(elsewhere)
        self._folder, self._keep, self._load = folder, keep, load or stores.bundles.load
        self._activations: dict[str, int] = {}
        self._complained: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-watcher", daemon=True)

    def sync(self) -> None:
        """Take over whatever there is. An unreadable bundle leaves the one that is served; items go on."""
        with self._lock:
            heads = self._stores.heads()
            for app, name in heads:
                if name == BUNDLES and app not in self._elsewhere:
                    try:
                        self._bundles(app, heads[app, name])
                    except ModelError:
                        self._complain_once(app)
            for app in self._apps.names():
                shelf = self._apps.of(app)
                if (app, EPOCH) not in heads:
                    self._stores.items.begin(app)
                    heads = self._stores.heads()
                shelf.epoch = f"{heads[app, EPOCH]:014x}"
                if heads.get((app, ITEMS), 0) > shelf.sequence:
                    shelf.apply(self._stores.items.changes(app, shelf.sequence))
                    stored = self._stores.placements.get(app)
                    if stored is not None:
                        shelf.set_placements(stored.placements, stored.sequence)

    def start(self) -> None:
        """Follow from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more; counts are written first."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _bundles(self, app: str, sequence: int) -> None:
        if sequence == 0 or self._activations.get(app) == sequence:
            return
        versions = self._stores.bundles.list_kept(app, self._keep)
        if not versions:
            return
        active, others = versions[0], versions[1:]
        loaded = (
            {served.version: served.bundle for served in self._apps.of(app).all()} if app in self._apps.names() else {}
        )
        bundles = [self._load_once(active, loaded), *self._load_readable(others, loaded)]
        if app in self._apps.names():
            self._apps.of(app).replace(bundles)
        else:
            self._apps.add(app, ServedBundles(bundles, self._folder))
        self._activations[app] = sequence

    def _load_once(self, version: ServedVersion, loaded: Mapping[str, Bundle]) -> Bundle:
        """Load a bundle, which is not read twice. Raises ModelError when it is not there."""
        there = self._stores.bundles.is_there(version.version, version.folder)
        known = loaded.get(version.version) if there else None
        return self._load(version.version, version.folder) if known is None else known

    def _load_readable(self, others: list[ServedVersion], loaded: Mapping[str, Bundle]) -> list[Bundle]:
        """Load those whose folders are still there. One that was deleted is answered no more, and holds up nobody."""
        bundles = []
        for version in others:
            try:
                bundles.append(self._load_once(version, loaded))
            except ModelError:
                log.warning("bundle %s: cannot be read any more, and is not served", version.version)
        return bundles

    def _complain_once(self, app: str) -> None:
        """Complain once for each activation; the bundle is looked at again each time, for it may be there later."""
        sequence = self._stores.bundles.sequence(app)
        if self._complained.get(app) != sequence:
            log.error("bundle: the one activated for an app cannot be read; what is served goes on being served")
            self._complained[app] = sequence

    def _run(self) -> None:
        failing, flushed = False, time.monotonic()
        looked, commits = 0.0, Commits(self._stores.engine)
        while True:
            stopping = self._stopped.wait(LOOK_S)
            try:
                if stopping or time.monotonic() - flushed >= FLUSH_S:
                    flushed = time.monotonic()
                    self._stores.traffic.flush(int(time.time()))
                if not stopping and (commits.new() or time.monotonic() - looked >= WHOLE_S):
                    looked = time.monotonic()
                    self.sync()
                failing = False
            except Exception as error:  # noqa: BLE001  # the store comes back; what is served goes on being served
                if not failing:
                    log.error("state: not followed (%s)", reason_of(error))
                failing = True
            if stopping:
                commits.close()
                return
