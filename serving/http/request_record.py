"""What may be known of a request afterwards, as a complete list; and the log line that is made of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, NamedTuple

log = logging.getLogger("ownshelf.access")

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
    """Make a writer of one line of JSON a request: of all, of those that failed, or none (None)."""
    if kind == "off":
        return None
    least = 400 if kind == "errors" else 0

    def write(seen: RequestRecord) -> None:
        if seen.status >= least:
            log.info("%s", line(seen))

    return write


def line(seen: RequestRecord) -> str:
    """Format the log line of a request."""
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
    }
    return json.dumps({name: value for name, value in row.items() if value not in ("", None)}, allow_nan=False)
