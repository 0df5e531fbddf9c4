"""Rate limits per key, in the memory of one worker: each has an even share, so the whole is about what was set.

Requests without a key, and with the published device key, are not counted here: one shopper could use up what is
everybody's. Whatever stands before the service sees addresses, and limits those.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import limits

from data.errors import ServingError
from serving.refusal import Refusal


def parse_rate(text: str) -> limits.RateLimitItem:
    """Parse a rate such as ``100/second`` or ``6000 per minute``.

    Raises ServingError for anything else, and below 1.
    """
    try:
        rate = limits.parse(text)
    except ValueError:
        raise ServingError(f"rate_limit={text!r}: must be such as 100/second or 6000/minute") from None
    if rate.amount < 1:
        raise ServingError(f"rate_limit={text!r}: must be at least 1")
    return rate


class KeyRates:
    """So many requests a window for each key; a window begins with the first request after the last one.

    Counts as limits' FixedWindowRateLimiter does, in one dict of the event loop's thread: limits' own memory storage
    takes a lock a request and starts a thread a hundred times a second.
    """

    def __init__(self, rate: str, workers: int = 1, now: Callable[[], float] = time.monotonic) -> None:
        whole = parse_rate(rate)
        self._now = now
        self._most = max(1, math.ceil(whole.amount / workers))
        self._window_s = whole.get_expiry()
        self._windows: dict[str, tuple[int, float]] = {}  # count and end; as many as there are keys

    def take(self, key_id: str) -> None:
        """Count a request. Raises Refusal when there are too many."""
        now = self._now()
        count, end = self._windows.get(key_id, (0, 0.0))
        if end <= now:
            count, end = 0, now + self._window_s
        if count >= self._most:
            wait = max(1, math.ceil(end - now))
            raise Refusal(
                "rate_limited",
                f"requests: at most {self._most} in {self._window_s} s with this key",
                {"retry_after_s": wait},
                {"retry-after": str(wait)},
            )
        self._windows[key_id] = count + 1, end
