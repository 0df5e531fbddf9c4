"""A service with API keys, in process: two apps, and a key of each scope of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from federation.storage.database import open_engine, sqlite_url
from recsys.catalogue.bundle import Bundle
from serving.access import SCOPES, Access
from serving.http.app import ServiceSettings, create_app
from serving.http.resources.key_routes import add_keys
from serving.state.api_keys import ApiKeys
from serving.state.key_book import KeyBook
from tests.shop import InProcess, make_bundle

APPS = ("shop-a", "shop-b")
NOW = 1_800_000_000


@dataclass(frozen=True)
class Keyed:
    """keys: by app and scope."""

    app: FastAPI
    book: KeyBook
    bundle: Bundle
    keys: dict[tuple[str, str], str]

    def client(self, app: str = "shop-a", scope: str = "app", **headers: str) -> httpx.Client:
        """Asks with one key."""
        return self.bare(authorization=f"Bearer {self.keys[app, scope]}", **headers)

    def bare(self, **headers: str) -> httpx.Client:
        """Asks without a key."""
        return httpx.Client(transport=InProcess(self.app), base_url="http://shop.test", headers=headers)

    def ask(self, **changes: object) -> dict[str, Any]:
        """A body of the hot route."""
        return {"mode": "profile", "bundle_version": self.bundle.version, "profile": None} | changes


@contextmanager
def keyed_service(
    folder: Path, settings: ServiceSettings | None = None, scopes: Sequence[str] = SCOPES, **options: Any
) -> Iterator[Keyed]:
    """Closed when it is left."""
    engine = open_engine(sqlite_url(folder / "state.sqlite"))
    keys = ApiKeys(engine)
    made = {(app, scope): keys.create(app, [scope], NOW) for app in APPS for scope in scopes}
    book = KeyBook(keys)
    bundle = make_bundle(folder / "bundle")
    others = make_bundle(folder / "of-shop-b", n_items=30, seed=1)
    app = create_app(
        {"shop-a": [bundle], "shop-b": [others]}, settings, access=Access(book), state=keys.version, **options
    )
    add_keys(app, book)
    try:
        yield Keyed(app, book, bundle, made)
    finally:
        engine.dispose()
