"""Whether this host's clock agrees with the custodian's and the database's: deadlines go by it.

A clock that is ahead closes rounds whose reports were promised time, one that is behind keeps them open after the
custodian has stopped answering; neither is an error that anything else would show.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from data.errors import FederationError
from federation.storage.database import reading

MAX_SKEW_S = 60.0
EVERY_S = 30.0


class ClockSkewed(FederationError):
    """This host's clock is too far from another party's: it advances no round, and is not ready."""

    reason = "clock"


class Clocks:
    """Offsets of this clock (seconds, ahead is positive), measured at most each EVERY_S. For one thread but `check`."""

    def __init__(
        self,
        custodian_time: Callable[[], float | None],
        engine: Engine,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """custodian_time: seconds since 1970-01-01 UTC by the custodian's clock; None when it does not say now."""
        self._custodian_time, self._engine = custodian_time, engine
        self._clock, self._steady = clock, steady
        self._offsets: dict[str, float] = {}
        self._measured_at: float | None = None

    def measure(self) -> None:
        """Measure again if it is time; a clock that cannot be asked keeps its last offset. Raises ClockSkewed."""
        now = self._steady()
        if self._measured_at is None or now - self._measured_at >= EVERY_S:
            self._measured_at = now
            for name, ask in (("custodian", self._custodian_time), ("database", self._database_time)):
                begun = self._clock()
                theirs = ask()
                if theirs is not None:
                    self._offsets[name] = (begun + self._clock()) / 2 - theirs
        self.check()

    def check(self) -> None:
        """Raise ClockSkewed if an offset is beyond MAX_SKEW_S."""
        for name, offset in list(self._offsets.items()):
            if abs(offset) > MAX_SKEW_S:
                way = "ahead of" if offset > 0 else "behind"
                raise ClockSkewed(
                    f"clock: is {abs(offset):.0f} s {way} the {name}'s, must be within {MAX_SKEW_S:g} s; set the clocks"
                )

    def _database_time(self) -> float | None:
        if self._engine.dialect.name != "postgresql":  # a file's clock is this one
            return None
        try:
            with reading(self._engine) as connection:
                return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        except SQLAlchemyError:
            return None
