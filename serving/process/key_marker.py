"""A mark beside the bundle that the service has had API keys: a state that is lost must not open it to everybody.

The state says that there are keys only while it is there. The mark is elsewhere, so that both are seldom lost together;
where it cannot be written, `--require-keys` says the same.
"""

from __future__ import annotations

import logging
from pathlib import Path

log = logging.getLogger("ownshelf.serving")

TEXT = """This service has had API keys. Without keys in its state it does not start, unless told --open.
Delete this file when it is to be open on this machine again.
"""


def marker_of(bundle: Path) -> Path:
    """Name the mark beside a bundle."""
    place = bundle.absolute()
    return place.with_name(f".{place.name}.needs-keys")


def mark(bundle: Path) -> None:
    """Leave the mark; a place that cannot be written is warned of."""
    path = marker_of(bundle)
    if path.exists():
        return
    try:
        path.write_text(TEXT)
    except OSError as error:
        log.warning("%s: cannot be written (%s); give --require-keys", path, type(error).__name__)
