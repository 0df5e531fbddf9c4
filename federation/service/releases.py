"""Which bundles were released, and which is active: the newest, unless an older one was activated again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from federation.service.round_schema import releases
from federation.storage.activations import RELEASES, Activations
from federation.storage.change_log import ACTIVATED, Change, ChangeEntry, append_change, read_changes
from federation.storage.database import reading

ACTIVATIONS = Activations(RELEASES)


@dataclass(frozen=True)
class Release:
    """A bundle's version and folder, the round that made it (none made the first), and the item steps in it."""

    version: str
    folder: str
    task_id: str | None
    steps: int


class ReleaseStore:
    """Releases in order, and which of them is active."""

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
        with reading(self._engine) as connection:
            rows = {row.version: row for row in connection.execute(select(releases))}
            current = ACTIVATIONS.current(connection, rows)
        return None if current is None else _release(rows[current])

    def changes(self) -> list[ChangeEntry]:
        """Read the change log of the releases, oldest first. Raises ChangeLogBroken where it was tampered with."""
        with reading(self._engine) as connection:
            return read_changes(connection, RELEASES)

    def forget(self, version: str) -> None:
        """Forget a release, whose folder is to be deleted."""
        with self._engine.begin() as connection:
            connection.execute(releases.delete().where(releases.c.version == version))


def release(connection: Connection, new: Release, now: int) -> None:
    """Add a release and activate it; the change log names the round that made it."""
    available = set(connection.execute(select(releases.c.version)).scalars())
    before = ACTIVATIONS.current(connection, available)
    connection.execute(insert(releases).values(asdict(new)))
    ACTIVATIONS.record(connection, new.version, now)
    why = "the first release" if new.task_id is None else f"round {new.task_id}"
    append_change(connection, RELEASES, Change(now, ACTIVATED, new.version, before, "rounds", why))


def _release(row: Row[Any]) -> Release:
    return Release(row.version, row.folder, row.task_id, row.steps)
