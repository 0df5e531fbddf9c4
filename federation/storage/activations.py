"""Activations: which version is current and which came before it, of an app's bundles and of releases alike.

`previous` goes back one step, and says so when there is none. It never goes forward again. Every database with
activations has this one table; stores that share a database share it, each in scopes of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, func, insert, inspect, select, text

from data.errors import ServingError

PREVIOUS = "previous"
RELEASES = ""
"""Scope of the releases of live training; that of bundles is their app, whose name is never empty."""

_LOCK = 0x6163746976617465  # PostgreSQL's advisory lock of whoever numbers an activation: "activate"

activations = Table(
    "activations",
    MetaData(),
    Column("scope", String(48), primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # from 1, of each scope
    Column("version", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),  # seconds since 1970-01-01 UTC
)


class NoEarlierVersion(ServingError):
    """There is no version before the current one."""


@dataclass(frozen=True)
class Activations:
    """The activations of one scope, within the caller's transaction."""

    scope: str

    def record(self, connection: Connection, version: str, now: int) -> None:
        """Add an activation at `now` (seconds since 1970 UTC), after all others of the scope."""
        if connection.dialect.name == "postgresql":  # SQLite's transaction has the write lock already
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        last = select(func.max(activations.c.sequence)).where(activations.c.scope == self.scope)
        sequence = (connection.execute(last).scalar_one() or 0) + 1
        values = {"scope": self.scope, "sequence": sequence, "version": version, "at": now}
        connection.execute(insert(activations).values(values))

    def versions(self, connection: Connection) -> list[str]:
        """List the versions that were activated, in order."""
        query = select(activations.c.version).where(activations.c.scope == self.scope)
        return list(connection.execute(query.order_by(activations.c.sequence)).scalars())

    def last_times(self, connection: Connection) -> dict[str, tuple[int, int]]:
        """Map each version to when it was activated last, in seconds and as a number that later ones exceed."""
        columns = (activations.c.version, activations.c.at, activations.c.sequence)
        query = select(*columns).where(activations.c.scope == self.scope).order_by(activations.c.sequence)
        return {row.version: (row.at, row.sequence) for row in connection.execute(query)}

    def current(self, connection: Connection, available: Collection[str]) -> str | None:
        """Find the version that is current; None before the first."""
        path = path_to_current(self.versions(connection), available)
        return path[-1] if path else None

    def resolve(self, connection: Connection, version: str, available: Collection[str]) -> str:
        """Resolve a version or `previous` as resolve_version does."""
        return resolve_version(version, self.versions(connection), available)

    def forget(self, connection: Connection, version: str) -> None:
        """Forget a version's activations: activated again, it comes after what came after it."""
        of_version = (activations.c.scope == self.scope) & (activations.c.version == version)
        connection.execute(activations.delete().where(of_version))


def one_table_of_activations(connection: Connection) -> None:
    """Migrate the tables of before: one of releases without a scope, and one of bundles by app. Twice does nothing."""
    tables, rows = inspect(connection), []
    if tables.has_table("activations") and "scope" not in {col["name"] for col in tables.get_columns("activations")}:
        of_releases = text("SELECT sequence, version, at FROM activations")
        rows += [{"scope": RELEASES, **row} for row in connection.execute(of_releases).mappings()]
        connection.execute(text("DROP TABLE activations"))
    if tables.has_table("bundle_activations"):
        of_bundles = text("SELECT app AS scope, sequence, version, at FROM bundle_activations")
        rows += [dict(row) for row in connection.execute(of_bundles).mappings()]
        connection.execute(text("DROP TABLE bundle_activations"))
    activations.create(connection, checkfirst=True)
    if rows:
        connection.execute(insert(activations), rows)


def path_to_current(activated: Iterable[str], available: Collection[str]) -> list[str]:
    """List the versions that `previous` walks back through, the current one last.

    activated: in order, as stored. To activate a version of the path goes back to it: what came after it is dropped.
    Versions that are not available any more are left out at the end.

    >>> path_to_current("abcb", "abc")
    ['a', 'b']
    """
    path: list[str] = []
    for version in activated:
        if version in path:
            del path[path.index(version) + 1 :]
        else:
            path.append(version)
    return [version for version in path if version in available]


def resolve_version(version: str, activated: Iterable[str], available: Collection[str]) -> str:
    """Resolve what is to be activated: a version, or `previous`.

    Raises NoEarlierVersion, and ServingError for a version that is not available.
    """
    if version == PREVIOUS:
        path = path_to_current(activated, available)
        if len(path) < 2:
            raise NoEarlierVersion("version=previous: there is none before the current one")
        return path[-2]
    if version not in available:
        raise ServingError(f"version={version}: must be one of {', '.join(sorted(available)) or 'none'}")
    return version
