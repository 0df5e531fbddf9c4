"""Which bundles an app serves and which of them is current: shared by all workers, changed by command line and API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from data.errors import ServingError
from federation.storage.activations import Activations
from federation.storage.bundle_copies import BundleCopies
from federation.storage.database import reading
from federation.storage.migrations import prepare
from recsys.catalogue.bundle import MANIFEST, Bundle
from serving.state.counters import ensure, last, take
from serving.state.schema import SCHEMA, served_bundles

COUNTER = "bundles"


class BundleInUse(ServingError):
    """A bundle that cannot be retired: the current one, or one that live training keeps."""


@dataclass(frozen=True)
class ServedVersion:
    """A bundle that may be served. added_at: seconds since 1970-01-01 UTC."""

    version: str
    folder: str
    name: str
    added_at: int


class BundleStore:
    """Bundles and activations of all apps, in SQL."""

    def __init__(self, engine: Engine, copies: BundleCopies | None = None) -> None:
        """Take copies: what is served, whatever becomes of the folders; None serves the folders."""
        self._engine, self._copies = engine, copies
        prepare(engine, SCHEMA)

    def add(self, app: str, folder: Path, now: int, *, activate: bool = True) -> str:
        """Serve a bundle of a folder from now on, as the current one unless told otherwise; its version.

        Raises ModelError for a folder that is no bundle, ServingError for one of another table than the app's.
        """
        bundle = Bundle.load(folder)
        known = self.all(app)
        if known and known[0].name != bundle.name:
            raise ServingError(f"bundle {bundle.name}: app {app} serves bundles of {known[0].name}")
        values = {"app": app, "version": bundle.version, "folder": str(folder.absolute()), "name": bundle.name}
        if self._copies is not None:
            self._copies.add(bundle.version, folder, bundle.version)
        ensure(self._engine, app, COUNTER)
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(served_bundles).values(values | {"added_at": now}))
                if activate:
                    _activate(connection, app, bundle.version, now)
        except IntegrityError:  # it is there already
            active = self.active(app)
            if activate and (active is None or active.version != bundle.version):
                self.activate(app, bundle.version, now)
        return bundle.version

    def all(self, app: str) -> list[ServedVersion]:
        """List the bundles of an app, the last added first."""
        order = (served_bundles.c.added_at.desc(), served_bundles.c.version)
        with reading(self._engine) as connection:
            rows = connection.execute(select(served_bundles).where(served_bundles.c.app == app).order_by(*order)).all()
        return [ServedVersion(row.version, row.folder, row.name, row.added_at) for row in rows]

    def list_kept(self, app: str, n: int) -> list[ServedVersion]:
        """List the current bundle first, then the n others that were added or current last; none before the first."""
        known = self.all(app)
        with reading(self._engine) as connection:
            last = Activations(app).last_times(connection)
            current = Activations(app).current(connection, {bundle.version for bundle in known})
        if current is None:
            return []
        latest = sorted(
            known, key=lambda bundle: max((bundle.added_at, 0), last.get(bundle.version, (0, 0))), reverse=True
        )
        others = [bundle for bundle in latest if bundle.version != current]
        return [bundle for bundle in latest if bundle.version == current] + others[:n]

    def retire(self, app: str, version: str) -> None:
        """Serve a bundle no more; its folder stays. It may be added again.

        Raises ServingError for an unknown one, and for the current one: activate another first.
        """
        ensure(self._engine, app, COUNTER)
        with self._engine.begin() as connection:
            take(connection, app, COUNTER, 1)  # so that all take notice, and no activation comes in between
            if version not in _versions(connection, app):
                raise ServingError(f"version={version}: app {app} has no such bundle")
            if _current(connection, app) == version:
                raise BundleInUse(f"version={version}: is the current one; activate another before it is retired")
            of_version = (served_bundles.c.app == app) & (served_bundles.c.version == version)
            connection.execute(served_bundles.delete().where(of_version))
            Activations(app).forget(connection, version)
            others = connection.execute(
                select(served_bundles.c.app).where(served_bundles.c.version == version).limit(1)
            ).one_or_none()
        if self._copies is not None and others is None:
            self._copies.forget([version])

    def active(self, app: str) -> ServedVersion | None:
        """Read the current bundle; None before the first."""
        with reading(self._engine) as connection:
            current = _current(connection, app)
        return next((bundle for bundle in self.all(app) if bundle.version == current), None)

    def activate(self, app: str, version: str, now: int) -> str:
        """Make a bundle current, by version or `previous`; its version.

        Raises ServingError for an unknown one, NoEarlierVersion for `previous` of the first, ModelError for one that
        cannot be read any more.
        """
        folders = {bundle.version: bundle.folder for bundle in self.all(app)}
        with reading(self._engine) as connection:
            chosen = Activations(app).resolve(connection, version, folders)
        self.load(chosen, folders[chosen])
        ensure(self._engine, app, COUNTER)
        with self._engine.begin() as connection:
            _activate(connection, app, chosen, now)
        return chosen

    def load(self, version: str, folder: str) -> Bundle:
        """Map a bundle that was added: its copy, or the folder where there are no copies. Raises ModelError."""
        return Bundle.load(folder) if self._copies is None else self._copies.open(version, version, Path(folder))

    def is_there(self, version: str, folder: str) -> bool:
        """Tell whether what is served of a bundle is still there."""
        place = Path(folder) if self._copies is None else self._copies.path(version)
        return (place / MANIFEST).is_file()

    def sequence(self, app: str) -> int:
        """Read the number of the last activation; 0 before the first."""
        with reading(self._engine) as connection:
            return last(connection, app, COUNTER)

    def apps(self) -> list[str]:
        """List every app that has a bundle."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(served_bundles.c.app).distinct().order_by(served_bundles.c.app)).all()
        return [row.app for row in rows]


def _activate(connection: Connection, app: str, version: str, now: int) -> None:
    """Record an activation. Raises ServingError for a version that was retired in the meantime."""
    take(connection, app, COUNTER, 1)  # so that all take notice
    if version not in _versions(connection, app):
        raise ServingError(f"version={version}: app {app} has no such bundle any more")
    Activations(app).record(connection, version, now)


def _versions(connection: Connection, app: str) -> set[str]:
    rows = connection.execute(select(served_bundles.c.version).where(served_bundles.c.app == app))
    return {row.version for row in rows}


def _current(connection: Connection, app: str) -> str | None:
    """Find the version activated last."""
    return Activations(app).current(connection, _versions(connection, app))
