"""Names of the moments between two durable writes, where a crash hurts most; production does nothing there.

A test replaces `react` with one that kills the process at a named point, and starts it again.
"""

from __future__ import annotations

from collections.abc import Callable


def _go_on(_: str) -> None:
    pass


react: Callable[[str], None] = _go_on


def crash_point(point: str) -> None:
    """Mark a place between two writes. point: what was just made durable."""
    react(point)
