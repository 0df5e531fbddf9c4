"""What a Content-Length header says, whatever it holds: Python refuses to read more than 4,300 digits as a number."""

from __future__ import annotations

import re

MAX_DIGITS = 18
FAR_TOO_LONG = 2**63
_NUMBER = re.compile(r"[0-9]+", re.ASCII)


def declared_length(value: str | bytes) -> int | None:
    """Bytes that a Content-Length declares; None for what is no number, FAR_TOO_LONG for more digits than any body."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not _NUMBER.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    return int(digits) if len(digits) <= MAX_DIGITS else FAR_TOO_LONG
