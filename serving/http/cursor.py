"""A cursor: which items of a bundle were shown, so that the next page repeats none even if scores moved meanwhile.

It is all the state there is of a list; the service keeps nothing. Whoever forges one hides items from themselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from serving.refusal import Refusal

MARK_BYTES = 6
MAX_ITEM_IDX = 2**31 - 1
MANY = 256
"""From so many items on bits are thought of: a first page is not to wait for it."""
MAX_CURSOR_CHARS = 2**18
"""Half of what a body may be. Enough for every list of 1.5 million items, and for 49,000 shown items of any number."""


def encode_cursor(bundle_version: str, shown: npt.NDArray[np.int32]) -> str | None:
    """Encode the cursor after these item_idx (n,), of all pages so far.

    None where it would be too long to be sent.

    The items by their numbers, or one bit for each item up to the last one where that is shorter.
    """
    kind, content = b"", shown.astype("<u4").tobytes()
    if len(shown) >= MANY and int(shown.max()) < 8 * len(content):
        bits = np.zeros(int(shown.max()) + 1, dtype=np.bool_)
        bits[shown] = True
        kind, content = b"bits", np.packbits(bits).tobytes()
    cursor = base64.urlsafe_b64encode(_mark(bundle_version, kind) + content).decode()
    return cursor if len(cursor) <= MAX_CURSOR_CHARS else None


def decode_cursor(cursor: str, bundle_version: str) -> npt.NDArray[np.int32]:
    """Decode the item_idx (n,) int32 ≥ 0 shown before, in any order.

    Raises Refusal for what encode_cursor did not make of it.

    Some may be of items so new that this worker has not heard of them: another one showed them.
    """
    try:
        content = base64.b64decode(cursor, b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    mark, rest = content[:MARK_BYTES], content[MARK_BYTES:]
    if mark == _mark(bundle_version, b"bits"):
        return np.flatnonzero(np.unpackbits(np.frombuffer(rest, dtype=np.uint8))).astype(np.int32)
    if mark != _mark(bundle_version, b"") or len(rest) % 4:
        raise _refused()
    shown = np.frombuffer(rest, dtype="<u4")
    if len(shown) and shown.max() > MAX_ITEM_IDX:
        raise _refused()
    return shown.astype(np.int32)


@lru_cache(maxsize=64)
def _mark(bundle_version: str, kind: bytes) -> bytes:
    return hashlib.sha256(bundle_version.encode() + kind).digest()[:MARK_BYTES]


def _refused() -> Refusal:
    problem = "must be the cursor of an answer for this bundle_version"
    return Refusal("invalid_request", f"cursor: {problem}", {"problems": [{"at": "cursor", "problem": problem}]})
