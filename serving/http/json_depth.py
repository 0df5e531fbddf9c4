"""How deep a body's JSON is nested, before any parser sees it."""

from __future__ import annotations

import re

import numpy as np

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)  # an unfinished one too, so that it never goes back
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


def deeper_than(body: bytes, depth: int) -> bool:
    """Check if brackets outside of strings are nested deeper than that.

    A body with no more opening brackets than that cannot be, which two counts tell: the usual case.
    """
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    bare = np.frombuffer(_STRING.sub(b"", body), dtype=np.uint8)
    return bool((np.cumsum(_STEP[bare], dtype=np.int64) > depth).any())
