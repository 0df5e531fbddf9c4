"""The placements of each app as its shop set them since its bundle was made, read by every worker by sequence."""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import Engine, delete, insert, select

from federation.storage.database import reading
from federation.storage.migrations import prepare
from recsys.lists.placements.placement import Placements
from recsys.lists.placements.placements_file import canonical_json, placements_of
from serving.state.counters import ensure, take
from serving.state.item_store import COUNTER
from serving.state.schema import SCHEMA, placements


class StoredPlacements(NamedTuple):
    """What an app set, at which sequence among the changes of items; None: each bundle's own hold again."""

    sequence: int
    placements: Placements | None


class PlacementStore:
    """Placements of all apps, in SQL."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        prepare(engine, SCHEMA)

    def set(self, app: str, wanted: Placements | None) -> int:
        """Set an app's placements; None gives up what was set. Returns the sequence."""
        ensure(self._engine, app, COUNTER)
        with self._engine.begin() as connection:
            sequence = take(connection, app, COUNTER, 1)
            content = None if wanted is None else canonical_json(wanted)
            connection.execute(delete(placements).where(placements.c.app == app))
            connection.execute(insert(placements).values(app=app, sequence=sequence, content=content))
        return sequence

    def get(self, app: str) -> StoredPlacements | None:
        """Read what an app set; None where it never set any."""
        with reading(self._engine) as connection:
            row = connection.execute(select(placements).where(placements.c.app == app)).one_or_none()
        if row is None:
            return None
        return StoredPlacements(row.sequence, None if row.content is None else placements_of(json.loads(row.content)))
