"""Words that programs write where there is nothing, and ids that stand for guests rather than for one shopper."""

from __future__ import annotations

NULL_WORDS = frozenset(
    ["null", "none", "nan", "<na>", "(not set)", "not set", "\\n", "n/a", "na", "#n/a", "nil", "undefined", "(null)",
     "<null>", "(none)", "[null]", "nat", "<nat>"]
)  # fmt: skip
"""Folded: without case and surrounding blanks."""

SUSPECTS = frozenset(
    ["0", "-1", "guest", "anonymous", "anon", "unknown", "test", "default", "00000000-0000-0000-0000-000000000000"]
)
"""Ids that may be a shopper or everybody who has no account: never dropped unasked, named from a share on."""

SUSPECT_SHARE = 0.01
"""Share of all events from which a suspect id is named."""

GIANT_SHARE = 0.2
"""Share of all events from which any one shopper is named, in a log of at least GIANT_USERS shoppers."""

GIANT_USERS = 20


def is_nobody(word: str) -> bool:
    """Check if an id is a word for nothing."""
    folded = word.strip().lower()
    return not folded or folded in NULL_WORDS
