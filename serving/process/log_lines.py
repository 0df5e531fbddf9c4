"""Our loggers on stderr, one JSON object a line. Exceptions are never formatted: their text may hold what was sent."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """A record as a line. A message that is a JSON object already is that line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
        message = record.getMessage()
        if record.name == "ownshelf.access":
            return message
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        return json.dumps(
            {"time": time, "level": record.levelname.lower(), "log": record.name, "message": message}, allow_nan=False
        )


def write_log_lines(level: str) -> None:
    """Log from now on. level: of everything but the access log, which has a setting of its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    ours = logging.getLogger("ownshelf")
    ours.handlers = [handler]
    ours.setLevel(level.upper())
    ours.propagate = False
    logging.getLogger("ownshelf.access").setLevel(logging.INFO)
