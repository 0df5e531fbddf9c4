"""Whether the state can be read and written now: a full disk shows at a write, a replaced file at any use."""

from __future__ import annotations

import threading
import time

from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, Table, insert, update

from federation.storage.migrations import Schema, prepare

_metadata = MetaData()
_probes = Table("probes", _metadata, Column("id", Integer, primary_key=True), Column("at", BigInteger, nullable=False))
SCHEMA = Schema("health", _metadata)
EVERY_S = 2.0


class StateHealth:
    """A probe of one database. Safe in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock, self._good_until = threading.Lock(), 0.0
        prepare(engine, SCHEMA)

    def probe(self) -> None:
        """Write a row and read it, unless that went well a moment ago. Raises what the database raises."""
        with self._lock:
            if time.monotonic() < self._good_until:
                return
            self._good_until = 0.0
            now = int(time.time())
            with self._engine.begin() as connection:
                if connection.execute(update(_probes).where(_probes.c.id == 1).values(at=now)).rowcount == 0:
                    connection.execute(insert(_probes).values(id=1, at=now))
            self._good_until = time.monotonic() + EVERY_S
