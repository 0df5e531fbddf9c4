"""How much was asked, by minute, mode and outcome: sums for the dashboard, over all workers. Nothing of any request."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.storage.database import reading
from federation.storage.migrations import prepare
from serving.state.schema import SCHEMA, traffic

KEPT_S = 7 * 86_400
KINDS = ("profile", "trend", "cluster", "noised", "batch", "similar", "catalogue", "other")
"""Of requests: the mode of a question, where `trend` is one without a profile, or what else was asked for."""
OUTCOMES = ("ok", "refused", "error")


@dataclass(frozen=True)
class Minute:
    """Requests of one minute (seconds since 1970-01-01 UTC), kind and outcome."""

    minute: int
    kind: str
    outcome: str
    n: int


class Traffic:
    """Counts in memory, and adds them to the store when it is told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        prepare(engine, SCHEMA)
        self._counts: Counter[tuple[str, int, str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, app: str, kind: str, status: int, now: int) -> None:
        """Count one answered request. kind: of KINDS; status: of HTTP."""
        outcome = OUTCOMES[0 if status < 400 else 1 if status < 500 else 2]
        with self._lock:
            self._counts[app, now - now % 60, kind if kind in KINDS else "other", outcome] += 1

    def flush(self, now: int) -> None:
        """Write what was counted; on failure it is kept for the next time."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        try:
            for key, n in counts.items():
                self._add(key, n)
                counts[key] = 0
            with self._engine.begin() as connection:
                connection.execute(traffic.delete().where(traffic.c.minute < now - KEPT_S))
        finally:
            with self._lock:
                self._counts.update(+counts)

    def since(self, app: str, minute: int) -> list[Minute]:
        """Read what the store has of an app from a minute on, oldest first."""
        where = (traffic.c.app == app) & (traffic.c.minute >= minute)
        order = (traffic.c.minute, traffic.c.kind, traffic.c.outcome)
        with reading(self._engine) as connection:
            rows = connection.execute(select(traffic).where(where).order_by(*order)).all()
        return [Minute(row.minute, row.kind, row.outcome, row.n) for row in rows]

    def _add(self, key: tuple[str, int, str, str], n: int) -> None:
        app, minute, kind, outcome = key
        here = (
            (traffic.c.app == app)
            & (traffic.c.minute == minute)
            & (traffic.c.kind == kind)
            & (traffic.c.outcome == outcome)
        )
        for _ in range(2):
            with self._engine.begin() as connection:
                if connection.execute(update(traffic).where(here).values(n=traffic.c.n + n)).rowcount:
                    return
            try:
                with self._engine.begin() as connection:
                    values = {"app": app, "minute": minute, "kind": kind, "outcome": outcome, "n": n}
                    connection.execute(insert(traffic).values(values))
                    return
            except IntegrityError:
                continue  # another worker was first
