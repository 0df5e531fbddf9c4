"""Where a service keeps what outlives it beside bundles: the database of its API keys, named by a folder or a URL."""

from __future__ import annotations

from pathlib import Path

from federation.storage.database import sqlite_url

STATE_FILE = "state.sqlite"


def url_of(state: str) -> str:
    """Resolve the URL of a state: itself, or that of the SQLite file in a folder."""
    return state if "://" in state else sqlite_url(Path(state) / STATE_FILE)
