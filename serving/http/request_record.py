"""What may be known of a request afterwards, as a complete list; and the log line that is made of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

log = logging.getLogger("ownshelf.access")

LINES_A_SECOND = 5
"""Of one process: 100 MB a day at most, whatever is refused."""
AccessLogKind = Literal["off", "errors", "all"]


class RequestRecord(NamedTuple):
    """One answered request. No path, query, header, body, address or item: route is the table's pattern, mode one of
    ours, code one of our errors', app and key_id those of the key's owner.

    n_bytes: of the answer. status: 499 when nobody waited for it.
    """

    request_id: str
    method: str
    route: str
    mode: str
    status: int
    code: str
    seconds: float
    n_bytes: int
    app: str
    key_id: str | None


Observer = Callable[[RequestRecord], None]
"""Is told of every request, in the event loop: it must not wait."""


def access_log(kind: AccessLogKind) -> Observer | None:
    """Make a writer of one line of JSON a request: of all, of those that failed, or none (None).

    Of those that failed it writes so many a second, refusals and our own errors apart: LINES_A_SECOND. The next line
    says how many were left out, `left_out`; how many there were at all is counted in /metrics.
    """
    if kind == "off":
        return None
    if kind == "all":
        return lambda seen: log.info("%s", line(seen))
    rates = {True: _Rate(), False: _Rate()}

    def write(seen: RequestRecord) -> None:
        if seen.status >= 400:
            left_out = rates[seen.status >= 500].take()
            if left_out is not None:
                log.info("%s", line(seen, left_out))

    return write


class _Rate:
    """So many a second, from one second to the next."""

    def __init__(self) -> None:
        self._second, self._written, self._left_out = 0, 0, 0

    def take(self) -> int | None:
        """Count a line: how many were left out before it, or None when it is left out too."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written == LINES_A_SECOND:
            self._left_out += 1
            return None
        self._written += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def line(seen: RequestRecord, left_out: int = 0) -> str:
    """Format the log line of a request. left_out: lines before it that were not written."""
    row = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": seen.request_id,
        "method": seen.method,
        "route": seen.route,
        "mode": seen.mode,
        "status": seen.status,
        "code": seen.code,
        "ms": round(seen.seconds * 1000, 3),
        "bytes": seen.n_bytes,
        "app": seen.app,
        "key_id": seen.key_id,
        "left_out": left_out or None,
    }
    return json.dumps({name: value for name, value in row.items() if value not in ("", None)}, allow_nan=False)
