"""The files that browsers get: the SDK's bundles with their integrity hashes, and the demo shop's pages."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from data.errors import ServingError

HERE = Path(__file__).parent
PAGES = HERE / "pages"
KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",
}


@cache
def browser_files(folder: str) -> dict[str, bytes]:
    """Read all files of a folder, `dist` or `shop`, by path. Raises ServingError for a wheel that lacks them."""
    paths = [path for path in sorted((HERE / folder).rglob("*")) if path.suffix in KINDS]
    files = {path.relative_to(HERE / folder).as_posix(): path.read_bytes() for path in paths}
    if not files:
        raise ServingError(f"{HERE / folder}: is missing; in a checkout, `npm ci && npm run build` beside it makes it")
    return files


def scripts() -> dict[str, bytes]:
    """Select what a page loads of the SDK, by name."""
    return {name: content for name, content in browser_files("dist").items() if name.endswith(".js")}


def integrity(content: bytes) -> str:
    """Compute the subresource-integrity hash of a file, as `integrity=` of a script takes it."""
    return "sha384-" + base64.b64encode(hashlib.sha384(content).digest()).decode()
