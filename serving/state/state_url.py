"""Where a service keeps what outlives it beside bundles: the database of its API keys, named by a folder or a URL."""

from __future__ import annotations

from pathlib import Path

from federation.storage.database import sqlite_url

STATE_FILE, COPIES = "state.sqlite", "served-bundles"


def copies_folder(url: str) -> Path | None:
    """Name the folder of a state's own copies of bundles: beside its SQLite file; None for a state that has no folder.

    >>> copies_folder("sqlite:////srv/state/state.sqlite")
    PosixPath('/srv/state/served-bundles')
    """
    database = url.removeprefix("sqlite:///")
    return None if database == url or not database else Path(database).parent / COPIES


def url_of(state: str) -> str:
    """Resolve the URL of a state: itself, or that of the SQLite file in a folder."""
    return state if "://" in state else sqlite_url(Path(state) / STATE_FILE)
