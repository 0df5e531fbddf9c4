"""Where a device lives on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def default_home() -> Path:
    """Locate a device unless told: OWNSHELF_HOME, else the XDG data folder."""
    if home := os.environ.get("OWNSHELF_HOME"):
        return Path(home)
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "ownshelf"
