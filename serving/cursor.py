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
MAX_SHOWN = 3_000
"""After so many items a list ends."""


def encode_cursor(bundle_version: str, shown: npt.NDArray[np.int32]) -> str | None:
    """The cursor after these item_idx (n,), of all pages so far; None when the list has been long enough."""
    if len(shown) >= MAX_SHOWN:
        return None
    return base64.urlsafe_b64encode(_mark(bundle_version) + shown.astype("<u4").tobytes()).decode()


def decode_cursor(cursor: str, bundle_version: str) -> npt.NDArray[np.int32]:
    """The item_idx (n,) int32 ≥ 0 shown before. Raises Refusal for anything that encode_cursor did not make of it.

    Some may be of items so new that this worker has not heard of them: another one showed them.
    """
    try:
        content = base64.b64decode(cursor, b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _refused() from None
    mark, rest = content[:MARK_BYTES], content[MARK_BYTES:]
    if mark != _mark(bundle_version) or len(rest) % 4 or len(rest) > 4 * MAX_SHOWN:
        raise _refused()
    shown = np.frombuffer(rest, dtype="<u4")
    if len(shown) and shown.max() > MAX_ITEM_IDX:
        raise _refused()
    return shown.astype(np.int32)


@lru_cache(maxsize=64)
def _mark(bundle_version: str) -> bytes:
    return hashlib.sha256(bundle_version.encode()).digest()[:MARK_BYTES]


def _refused() -> Refusal:
    problem = "must be the cursor of an answer for this bundle_version"
    return Refusal("invalid_request", f"cursor: {problem}", {"problems": [{"at": "cursor", "problem": problem}]})
