"""Which bundles were released, and which is active: the newest, unless an older one was activated again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from federation.service.round_schema import activations, releases
from federation.storage.database import reading


@dataclass(frozen=True)
class Release:
    """A bundle's version and folder, the round that made it (none made the first), and the item steps in it."""

    version: str
    folder: str
    task_id: str | None
    steps: int


class ReleaseStore:
    """Releases in order, and activations, the last of which counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def first(self, version: str, folder: str, now: int) -> None:
        """Release the bundle that the first round starts from."""
        with self._engine.begin() as connection:
            release(connection, Release(version, folder, None, 0), now)

    def all(self) -> list[Release]:
        """List the kept releases, newest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(releases).order_by(releases.c.sequence.desc())).all()
        return [_release(row) for row in rows]

    def active(self) -> Release | None:
        """Read the release that is served and trained on; None before the first."""
        last = select(activations.c.version).order_by(activations.c.sequence.desc()).limit(1).scalar_subquery()
        with reading(self._engine) as connection:
            row = connection.execute(select(releases).where(releases.c.version == last)).one_or_none()
        return None if row is None else _release(row)

    def forget(self, version: str) -> None:
        """Forget a release, whose folder is to be deleted."""
        with self._engine.begin() as connection:
            connection.execute(releases.delete().where(releases.c.version == version))


def activated_versions(connection: Connection) -> list[str]:
    """List the versions that were activated, in order."""
    return list(connection.execute(select(activations.c.version).order_by(activations.c.sequence)).scalars())


def release(connection: Connection, new: Release, now: int) -> None:
    """Add a release and activate it."""
    connection.execute(insert(releases).values(asdict(new)))
    connection.execute(insert(activations).values(version=new.version, at=now))


def _release(row: Row[Any]) -> Release:
    return Release(row.version, row.folder, row.task_id, row.steps)
