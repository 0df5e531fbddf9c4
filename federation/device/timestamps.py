"""Times as devices take and show them: aware datetimes or µs since 1970 UTC in, ISO 8601 out."""

from __future__ import annotations

import time as clock
from datetime import UTC, datetime, timedelta

from data.errors import ServingError

_START = datetime(1970, 1, 1, tzinfo=UTC)
LAST_TIME = 253_402_300_800_000_000  # µs; the end of the year 9999
_SECONDS, _MILLISECONDS = range(10**9, 3 * 10**9), range(10**12, 3 * 10**12)
"""What a clock says from 2001 to 2065 in these units; as microseconds it is a moment of January 1970."""


def micros(time: datetime | int | None) -> int:
    """Convert a time to µs since 1970 UTC; None is now.

    Raises ServingError without a time zone, for what no calendar has, and for seconds or milliseconds since 1970.
    """
    if time is None:
        return clock.time_ns() // 1000
    if isinstance(time, int):
        if time in _SECONDS or time in _MILLISECONDS:
            unit, factor = ("seconds", 10**6) if time in _SECONDS else ("milliseconds", 10**3)
            raise ServingError(
                f"time={time}: looks like {unit} since 1970, but microseconds are expected: "
                f"multiply by {factor:,}, or give a datetime with a time zone"
            )
        return checked_time(time)
    if time.tzinfo is None:
        raise ServingError(f"time={time.isoformat()}: must have a time zone")
    return checked_time((time - _START) // timedelta(microseconds=1))


def checked_time(micros: int) -> int:
    """Check a time of an event and return it. Raises ServingError for one that no calendar has."""
    if not 0 <= micros < LAST_TIME:
        raise ServingError(f"time={micros}: must be microseconds from 1970 to the year 9999, 0..{LAST_TIME - 1}")
    return micros


def iso(micros: int) -> str:
    """Format as ISO 8601 with offset."""
    return (_START + timedelta(microseconds=micros)).isoformat()
