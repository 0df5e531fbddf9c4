"""The publishable key (scope `device`) that a shop's app carries: it says which shop asks, and nothing about whom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import typer

from data.errors import ServingError
from federation.device.asking.client import service_client
from federation.device.asking.relayed import Relay, relayed_client
from federation.protocol.oblivious.encapsulation import GATEWAY_KEY_ID, KeyConfig
from federation.storage.key_files import read_public_key

Key = Annotated[
    str | None,
    typer.Option("--key", envvar="OWNSHELF_KEY", help="The shop's publishable key, if its service asks for one."),
]


RelayUrl = Annotated[
    str | None, typer.Option("--relay", help="Send what is private through this relay, which somebody else runs.")
]
RelayKey = Annotated[
    str | None,
    typer.Option(help="The gateway's public key (hex, or its file), not from the service: `ownshelf keys gateway`."),
]


@contextmanager
def keyed_client(
    service: str, key: str | None, ca: Path | None = None, relay: str | None = None, relay_key: str | None = None
) -> Iterator[httpx.Client]:
    """Open a client of a service, with the shop's key in every request. Raises ServingError as service_client does.

    relay, relay_key: both, for requests whose sender the service shall not see.
    """
    if (relay is None) is not (relay_key is None):
        raise ServingError("relay: --relay and --relay-key must be given together")
    if relay is None or relay_key is None:
        opened = service_client(service, ca)
    else:
        opened = relayed_client(service, Relay(relay, KeyConfig(GATEWAY_KEY_ID, read_public_key(relay_key))), ca)
    with opened as client:
        if key is not None:
            client.headers["authorization"] = f"Bearer {key}"
        yield client
