"""A lock that lets exactly one process advance rounds, and that dies with the process.

Transitions name the state before (round_store.py), so that even two holders could not spoil a round's rows. The lock
keeps them from writing the same files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

LOCK_SUFFIX = ".advancing"
_KEY = "hashtext('ownshelf: advances rounds'), hashtext(current_schema())"
_TRY = text(f"SELECT pg_try_advisory_lock({_KEY})")
_UNLOCK = text(f"SELECT pg_advisory_unlock({_KEY})")
_KEEPALIVES = {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""The server ends the session of a machine that has gone silent after 20 s; systems wait two hours by default."""


class RoundLock(Protocol):
    """One process's claim on advancing the rounds of a store. For one thread."""

    def hold(self) -> bool:
        """Take the lock unless it is held; whether it is this process's now. Raises what file or database raise."""
        ...

    def drop(self) -> None:
        """Let another process advance rounds at once."""
        ...


def round_lock(engine: Engine) -> RoundLock:
    """Make the lock of a store, not yet taken."""
    if engine.dialect.name == "postgresql":
        return SessionLock(engine)
    return FileLock(str(engine.url.database) + LOCK_SUFFIX)


class FileLock:
    """flock on a file beside an SQLite database: the kernel drops it when its last descriptor is closed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def hold(self) -> bool:
        """Take the lock unless it is held; whether it is this process's now. Raises OSError."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def drop(self) -> None:
        """Let another process have it. A process forked meanwhile must not keep it alive, so it is unlocked first."""
        if self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = None


class SessionLock:
    """An advisory lock of a PostgreSQL session: the server drops it when the connection ends.

    The connection must be a session of its own, not one of a pooler that hands sessions out by transaction.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def hold(self) -> bool:
        """Take the lock unless it is held; whether it is this process's now. Raises SQLAlchemyError."""
        if self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
            except SQLAlchemyError:  # the session has ended, and the lock with it
                self.drop()
            else:
                return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.detach()  # closed for good when it is closed, not given back to the pool
            for name, value in _KEEPALIVES.items():
                connection.execute(text(f"SET {name} = {value}"))
            if connection.execute(_TRY).scalar_one():
                self._connection = connection
                return True
        finally:
            if self._connection is not connection:
                connection.close()
        return False

    def drop(self) -> None:
        """Let another process have it at once: a server ends the session of a closed connection a moment later."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.execute(_UNLOCK)
            with contextlib.suppress(SQLAlchemyError):
                connection.close()
