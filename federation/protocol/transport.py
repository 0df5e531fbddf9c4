"""Where plain HTTP may go, and whose certificate is believed: the same rule for devices, service and custodian."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import ServingError

if TYPE_CHECKING:
    import httpx


def check_address(url: str) -> httpx.URL:
    """Parse and check an address. Raises ServingError unless it is https://, or http:// to this machine itself."""
    import httpx  # not for the custodian, which asks nobody and must start fast

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ServingError(f"address={url!r}: must be an https:// address") from None
    if parsed.scheme != "https" and not (parsed.scheme == "http" and is_loopback(parsed.host)):
        raise ServingError(f"address={url!r}: must be https://, or http:// on this machine only")
    return parsed


def is_loopback(host: str) -> bool:
    """Check if a host name or address is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def pinned_context(ca: Path | None) -> ssl.SSLContext | bool:
    """Choose what httpx is to verify servers by.

    The certificates of this file and no others, or without one the usual ones.

    Raises ServingError for a file without certificates.
    """
    if ca is None:
        return True
    try:
        context = ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ServingError(f"ca={ca}: not a file of PEM certificates ({type(error).__name__})") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
