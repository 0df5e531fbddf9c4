"""Who runs a command, for the change log."""

from __future__ import annotations

import getpass


def operator() -> str:
    """Name the user of this machine who runs the command; `unknown` where the machine has no name for it."""
    try:
        return getpass.getuser()[:64] or "unknown"
    except (KeyError, OSError, ImportError):  # a container's user may have no entry
        return "unknown"
