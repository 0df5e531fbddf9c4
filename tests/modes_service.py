"""A service of modes cluster and noised, without a socket: the real one."""

from __future__ import annotations

import httpx

from recsys.catalogue.bundle import Bundle
from tests.shop import service


def modes_service(*bundles: Bundle) -> httpx.Client:
    """A client of a service of these bundles, the first one current."""
    return service(*bundles)
