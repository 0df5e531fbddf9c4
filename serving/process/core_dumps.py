"""No core file of a process that holds keys, shares or a history: a crash must not write its memory to a disk."""

from __future__ import annotations

import resource


def forbid_core_dumps() -> None:
    """Forbid core files for this process and those it starts, for good: the hard limit cannot be raised again."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
