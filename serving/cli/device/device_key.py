"""The publishable key (scope `device`) that a shop's app carries: it says which shop asks, and nothing about whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from federation.device.asking.client import service_client

Key = Annotated[
    str | None,
    typer.Option("--key", envvar="OWNSHELF_KEY", help="The shop's publishable key, if its service asks for one."),
]


@contextmanager
def keyed_client(service: str, key: str | None, ca: Path | None = None) -> Iterator[httpx.Client]:
    """Open a client of a service, with the shop's key in every request. Raises ServingError as service_client does."""
    with service_client(service, ca) as client:
        if key is not None:
            client.headers["authorization"] = f"Bearer {key}"
        yield client
