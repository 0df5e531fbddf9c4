"""Numbers that ascend in the order of commits, one line of them per app and purpose.

The row is locked until its transaction ends, so whoever reads "everything after n" never misses a smaller number that
commits later.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from federation.storage.database import reading
from serving.state.schema import counters


def ensure(engine: Engine, app: str, name: str, value: int = 0) -> None:
    """Make a line of numbers that begins after `value`, unless there is one."""
    where = (counters.c.app == app) & (counters.c.name == name)
    with reading(engine) as connection:
        if connection.execute(select(counters.c.value).where(where)).one_or_none() is not None:
            return
    try:
        with engine.begin() as connection:
            connection.execute(insert(counters).values(app=app, name=name, value=value))
    except IntegrityError:
        pass  # somebody else was first


def take(connection: Connection, app: str, name: str, n: int) -> int:
    """Take the next n numbers and return the first; they are taken when the connection's transaction commits."""
    where = (counters.c.app == app) & (counters.c.name == name)
    connection.execute(update(counters).where(where).values(value=counters.c.value + n))
    return int(connection.execute(select(counters.c.value).where(where)).scalar_one()) - n + 1


def heads(connection: Connection) -> dict[tuple[str, str], int]:
    """Read the last number of every line: (app, name) → value."""
    return {(row.app, row.name): int(row.value) for row in connection.execute(select(counters)).all()}


def last(connection: Connection, app: str, name: str) -> int:
    """Read the last number taken, 0 before the first."""
    where = (counters.c.app == app) & (counters.c.name == name)
    value = connection.execute(select(counters.c.value).where(where)).scalar_one_or_none()
    return 0 if value is None else int(value)
