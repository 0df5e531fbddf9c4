"""Our loggers on stderr, one JSON object a line. Exceptions are never formatted: their text may hold what was sent."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

EVERY_S, MAX_KINDS = 60.0, 1_000


class JsonLines(logging.Formatter):
    """A record as a line. A message that is a JSON object already is that line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
        message = record.getMessage()
        if record.name == "ownshelf.access":
            return message
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {"time": at, "level": record.levelname.lower(), "log": record.name, "message": message}, allow_nan=False
        )


class FewRepeats(logging.Filter):
    """Lets one line of a kind through each EVERY_S, which says how many were left out before it.

    Of a kind are lines with one text and one first value, such as the errors of one round, or of every request that
    needs a database that is down.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._lock = clock, threading.Lock()
        self._kinds: OrderedDict[tuple[str, int, str, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        if record.name == "ownshelf.access":  # has a rate of its own
            return True
        first = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
        kind, now = (record.name, record.levelno, str(record.msg), first), self._clock()
        with self._lock:
            written_at, left_out = self._kinds.get(kind, (-EVERY_S, 0))
            if now - written_at < EVERY_S:
                self._kinds[kind] = written_at, left_out + 1
                return False
            self._kinds[kind] = now, 0
            self._kinds.move_to_end(kind)
            if len(self._kinds) > MAX_KINDS:
                self._kinds.popitem(last=False)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like it in the last {now - written_at:.0f} s)"
            record.args = ()
        return True


def write_log_lines(level: str) -> None:
    """Log from now on. level: of everything but the access log, which has a setting of its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    handler.addFilter(FewRepeats())
    ours = logging.getLogger("ownshelf")
    ours.handlers = [handler]
    ours.setLevel(level.upper())
    ours.propagate = False
    logging.getLogger("ownshelf.access").setLevel(logging.INFO)
