"""Times as devices take and show them: aware datetimes or µs since 1970 UTC in, ISO 8601 out."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime, timedelta

from data.errors import ServingError

_START = datetime(1970, 1, 1, tzinfo=UTC)


def micros(time: datetime | int | None) -> int:
    """µs since 1970 UTC; None is now. Raises ServingError for a datetime without a time zone."""
    if time is None:
        return clock.time_ns() // 1000
    if isinstance(time, int):
        return time
    if time.tzinfo is None:
        raise ServingError(f"time={time.isoformat()}: must have a time zone")
    return (time - _START) // timedelta(microseconds=1)


def iso(micros: int) -> str:
    """ISO 8601 with offset."""
    return (_START + timedelta(microseconds=micros)).isoformat()
