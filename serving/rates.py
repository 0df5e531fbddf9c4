"""Rate limits per key, in the memory of one worker: each has an even share, so the whole is about what was set.

Requests without a key are not counted here, and neither are addresses: whatever stands before the service sees those.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import limits
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from data.errors import ServingError
from serving.refusal import Refusal


def parse_rate(text: str) -> limits.RateLimitItem:
    """A rate such as ``100/second`` or ``6000 per minute``. Raises ServingError for anything else, and below 1."""
    try:
        rate = limits.parse(text)
    except ValueError:
        raise ServingError(f"rate_limit={text!r}: must be such as 100/second or 6000/minute") from None
    if rate.amount < 1:
        raise ServingError(f"rate_limit={text!r}: must be at least 1")
    return rate


class KeyRates:
    """So many requests a window for each key; the windows begin with a key's first request."""

    def __init__(self, rate: str, workers: int = 1, now: Callable[[], float] = time.monotonic) -> None:
        whole = parse_rate(rate)
        self._now = now
        self._counts = _Counts(now)
        self._limiter = FixedWindowRateLimiter(self._counts)
        self._share = type(whole)(max(1, math.ceil(whole.amount / workers)), whole.multiples)

    def take(self, key_id: str) -> None:
        """Count a request. Raises Refusal when there are too many."""
        if not self._limiter.hit(self._share, key_id):
            wait = max(1, math.ceil(self._counts.get_expiry(self._share.key_for(key_id)) - self._now()))
            raise Refusal(
                "rate_limited",
                f"requests: at most {self._share.amount} in {self._share.get_expiry()} s with this key",
                {"retry_after_s": wait},
                {"retry-after": str(wait)},
            )


class _Counts(Storage):
    """Counters of one thread, the event loop's: limits' own memory storage starts a thread a hundred times a second."""

    STORAGE_SCHEME = None

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._windows: dict[str, tuple[int, float]] = {}  # count and end; as many as there are keys

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        now = self._now()
        count, end = self._windows.get(key, (0, 0.0))
        if end <= now:
            count, end = 0, now + expiry
        self._windows[key] = count + amount, end
        return count + amount

    def get(self, key: str) -> int:
        count, end = self._windows.get(key, (0, 0.0))
        return count if end > self._now() else 0

    def get_expiry(self, key: str) -> float:
        return self._windows.get(key, (0, self._now()))[1]

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        n = len(self._windows)
        self._windows.clear()
        return n

    def clear(self, key: str) -> None:
        self._windows.pop(key, None)
