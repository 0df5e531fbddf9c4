"""A small shop for tests: a bundle of seeded items, and its service without a socket."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import polars as pl

from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.model.items import ItemTable, Parts
from recsys.model.profile import ProfileConfig
from serving.http.app import ServiceSettings, create_app

N_ITEMS, DIM = 40, 8


def make_bundle(
    folder: Path,
    *,
    n_items: int = N_ITEMS,
    dim: int = DIM,
    seed: int = 0,
    unavailable: Sequence[int] = (),
    item_ids: Sequence[str] = (),
    categories: Sequence[str] = ("shelf 0", "shelf 1", "shelf 2", "shelf 3"),
    embeddings: npt.NDArray[np.float32] | None = None,
    trend: npt.NDArray[np.float32] | None = None,
    config: ProfileConfig | None = None,
    parts: Parts = (),
) -> Bundle:
    """A saved bundle: items sku-0, sku-1, … with random embeddings, unless they are given.

    item_ids: names of the first items; categories: dealt out to the items in turn.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, 0.5, (n_items, dim)).astype(np.float32)
    liked = rng.random(n_items).astype(np.float32)
    catalogue = pl.DataFrame(
        {
            "item_id": [*item_ids, *(f"sku-{item}" for item in range(len(item_ids), n_items))],
            "title": [f"Thing “{item}”" for item in range(n_items)],
            "category": [categories[item % len(categories)] for item in range(n_items)],
            "price": [None if item % 7 == 3 else 1.25 * item for item in range(n_items)],
            "available": [item not in unavailable for item in range(n_items)],
        }
    )
    return save_bundle(
        folder,
        name="shop",
        table=ItemTable(
            drawn if embeddings is None else embeddings,
            liked if trend is None else trend,
            rng.normal(0, 0.1, dim).astype(np.float32),
            parts,
        ),
        catalogue=catalogue,
        config=config or ProfileConfig(),
        seed=seed,
        data_hash="test",
        privacy="none: random numbers",
        overwrite=True,
    )


class InProcess(httpx.BaseTransport):
    """Answers requests with an ASGI application, in the calling thread; keeps what was sent."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.sent: list[tuple[httpx.Request, bytes]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = request.read()
        self.sent.append((request, body))
        return asyncio.run(self._answer(request, body))

    async def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        asked = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        answer = await httpx.ASGITransport(self.app).handle_async_request(asked)
        content = await answer.aread()  # unpacked
        for name in ("content-encoding", "content-length"):
            answer.headers.pop(name, None)
        return httpx.Response(answer.status_code, headers=answer.headers, content=content, request=request)


def service(*bundles: Bundle, settings: ServiceSettings | None = None) -> httpx.Client:
    """A client of a service of these bundles, the first one current."""
    return httpx.Client(transport=InProcess(create_app(bundles, settings)), base_url="http://shop.test")


def sent_by(client: httpx.Client) -> list[tuple[httpx.Request, bytes]]:
    """Every request a client of `service` has made, with its body."""
    transport = client._transport
    assert isinstance(transport, InProcess)
    return transport.sent


@contextmanager
def running_service(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """`ownshelf serve` in a process of its own, and what it says when it starts; stopped in the end."""
    program = "import typer; from serving.cli.serve import serve_command; typer.run(serve_command)"
    server = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with server:
        try:
            assert server.stdout is not None
            yield server, json.loads(server.stdout.readline())
        finally:
            server.terminate()
