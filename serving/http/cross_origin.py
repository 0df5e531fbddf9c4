"""Which pages' scripts may ask the service: CORS for the browser SDK. No cookies, so never with credentials."""

from __future__ import annotations

from collections.abc import Sequence

from data.errors import ServingError

Headers = tuple[tuple[bytes, bytes], ...]
_EXPOSED = (b"access-control-expose-headers", b"etag, location, ownshelf-delta-from, retry-after, x-request-id")
_PREFLIGHT: Headers = (
    (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, DELETE"),
    (b"access-control-allow-headers", b"authorization, content-type, if-none-match"),
    (b"access-control-max-age", b"600"),
)
_VARY: Headers = ((b"vary", b"origin"),)


class CrossOrigin:
    """Origins such as https://shop.example, each exactly; or `*` alone for any."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Check every origin; raises ServingError for what is none."""
        for origin in origins:
            if origin != "*" and not is_origin(origin):
                raise ServingError(f"cors_origins={origin!r}: must be such as https://shop.example, or * alone")
        if "*" in origins and len(origins) > 1:
            raise ServingError("cors_origins: * must be alone")
        self._any = "*" in origins
        self._allowed = frozenset(origin.encode() for origin in origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Make the headers of an answer.

        A cache must know that they depend on the origin, so that is said without one too.
        """
        if self._any:
            return ((b"access-control-allow-origin", b"*"), _EXPOSED)
        if origin is None or origin not in self._allowed:
            return _VARY
        return ((b"access-control-allow-origin", origin), _EXPOSED, *_VARY)

    def preflight(self, origin: bytes) -> Headers:
        """Make more headers of the answer to a browser that asks whether it may ask; none for a page that may not."""
        return _PREFLIGHT if self._any or origin in self._allowed else ()


def is_origin(text: str) -> bool:
    """Check for scheme, host and port, nothing after them."""
    scheme, slashes, rest = text.partition("://")
    return scheme in ("http", "https") and bool(slashes) and bool(rest) and not set(rest) & set("/?#@ ,*")
