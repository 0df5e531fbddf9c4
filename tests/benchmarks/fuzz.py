"""Every route of every HTTP application against its own OpenAPI document: all checks of schemathesis, 500 examples."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from federation.protocol.oblivious.encapsulation import GatewayKey
from serving.access import OPEN_APP
from serving.http.app import create_app
from serving.http.custodian.custodian_app import create_custodian_app
from serving.http.oblivious.gateway import add_gateway
from serving.http.resources.key_routes import add_keys
from tests.federation.custodian.a_custodian import SERVICE, a_custodian, a_promise
from tests.fuzzing import EVERY_CHECK, Exempt, Fuzzed, Naming, fuzz
from tests.serving.http.custodian.test_custodian_app import Signing
from tests.serving.http.resources.test_experiment_routes import body, end, live_service, now
from tests.shop import make_bundle

EXAMPLES = 500
BYTES = "the body is bytes in a format of its own (docs/wire.md), of which OpenAPI can say no more than that"
LIVE = (
    Exempt(
        "positive_data_acceptance",
        ("POST /v1/federation/reports", "POST /v1/experiments/{experiment_id}/reports", "POST /ohttp"),
        BYTES,
    ),
    Exempt(
        "positive_data_acceptance",
        ("GET /v1/federation/log/clusters/{version}",),
        "a size beyond the log's is refused, and how long the log is no schema says",
    ),
    Exempt(
        "positive_data_acceptance",
        ("GET /v1/device-tokens", "POST /v1/device-tokens"),
        "a deadline is within days from now, and what is blinded is so for a key that was given out",
    ),
    Exempt(
        "positive_data_acceptance",
        ("PUT /v1/experiments",),
        "a definition has rules across its fields (weights that add up, arms that metrics name), which JSON schema "
        "cannot say; it is refused with the place of the mistake",
    ),
    Exempt(
        "positive_data_acceptance",
        ("PUT /v1/placements",),
        "settings depend on a placement's source and on the bundle's columns, which no schema says; each mistake is "
        "refused with its place",
    ),
    Exempt(
        "positive_data_acceptance",
        ("POST /v1/rank",),
        "a profile is as long as the bundle's table is wide, and there are as many scores as items",
    ),
)
SIGNED = (
    *("POST /v1/rounds", "POST /v1/batches", "POST /v1/clusters", "POST /v1/issuer-keys"),
    "POST /v1/rounds/{task_id}/close",
)
CUSTODIAN = (
    Exempt("positive_data_acceptance", SIGNED, BYTES),
    Exempt("missing_required_header", SIGNED, "the front that signs adds the header that the case left out"),
    Exempt("negative_data_rejection", SIGNED, "the front that signs replaces the header that the case broke"),
)
RICH = (
    "POST /v1/recommendations",
    "POST /v1/recommendations/batch",
    "POST /v1/items/{item_id}/similar",
    "PUT /v1/experiments",
)
"""Whose coverage phase takes hundreds or thousands of requests, nearly all for filters and definitions."""


def run(seed: int = 0, examples: int = EXAMPLES, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """By application: operations, cases sent and the least of one operation, failures (none is right), CPU seconds.

    examples: random requests of each operation, beside those of the coverage and the stateful phase; an operation that
    takes nothing has one request.
    """
    found: dict[str, Any] = {"schemathesis": version("schemathesis"), "checks": EVERY_CHECK, "examples": examples}
    found["exempt"] = [
        {"check": one.check, "routes": one.routes, "because": one.because} for one in (*LIVE, *CUSTODIAN)
    ]
    for name, asked in APPLICATIONS.items():
        say(f"{name}: {examples} examples of each operation")
        began = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            told = asked(Path(folder), examples, seed, ())
        found[name] = {
            "operations": len(told.cases),
            "cases": sum(told.cases.values()),
            "failures": {f"{check}, {route}": what for (check, route), what in told.failures.items()},
            "cpu_s": time.process_time() - began,
        }
    return found


def service(folder: Path, examples: int, seed: int | None, briefly: Sequence[str]) -> Fuzzed:
    """The service as it is without keys, two bundles."""
    bundles = [make_bundle(folder / "a", unavailable=(5, 6)), make_bundle(folder / "b", seed=1, n_items=60)]
    app = Naming(create_app(bundles), [one.version for one in bundles])
    return fuzz(app, examples, seed=seed, briefly=briefly)


def live(folder: Path, examples: int, seed: int | None, briefly: Sequence[str], only: str = "") -> Fuzzed:
    """The service with keys, an open training round, a running experiment and a draft."""
    made = live_service(folder, serves=(OPEN_APP,))
    try:
        add_keys(made.app, made.book)
        add_gateway(made.app, GatewayKey(bytes(range(32))), lambda: 100_000)
        key = made.book.keys.create("shop", ["app", "catalogue", "analyst", "admin"], now())
        made.book.refresh()
        made.line.open(now())
        for name in ("0", "1"):
            made.asks().put("/v1/experiments", json=body(id=name)).raise_for_status()
        made.asks().post("/v1/experiments/0/start").raise_for_status()
        made.advance(now())
        own = made.book.caller_of(key)
        assert own is not None
        app = Naming(
            Spared(made.app, f"/v1/keys/{own.key_id}"), [one.version for one in made.line.coordinator.bundles()]
        )
        return fuzz(app, examples, key=key, exempt=LIVE, only=only, seed=seed, briefly=briefly)
    finally:
        end(made)


def custodian(folder: Path, examples: int, seed: int | None, briefly: Sequence[str]) -> Fuzzed:
    """The custodian, asked by strangers."""
    with opened(folder) as app:
        return fuzz(app, examples, seed=seed, briefly=briefly)


def custodian_signed(folder: Path, examples: int, seed: int | None, briefly: Sequence[str]) -> Fuzzed:
    """The custodian, behind a front that signs whatever passes, as the service would."""
    with opened(folder) as app:
        return fuzz(Signing(app), examples, seed=seed, briefly=briefly, exempt=CUSTODIAN)


APPLICATIONS = {"service": service, "live": live, "custodian": custodian, "custodian_signed": custodian_signed}


@contextmanager
def opened(folder: Path) -> Iterator[Any]:
    """A custodian's application."""
    keeper = a_custodian(folder / "custodian", a_promise(max_rounds=3))
    try:
        yield create_custodian_app(keeper, SERVICE.public)
    finally:
        keeper.shut()


class Spared:
    """Asks for nothing instead of one path: the key that the requests themselves carry is not to be revoked by one."""

    def __init__(self, app: Any, path: str) -> None:
        self.app, self.path = app, path

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"] == self.path:
            scope = {**scope, "path": f"{self.path}x", "raw_path": f"{self.path}x".encode()}
        await self.app(scope, receive, send)
