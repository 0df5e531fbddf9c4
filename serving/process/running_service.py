"""One process of the service: its app, what follows the state beside it, and how all of it ends."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from data.errors import ServingError
from federation.protocol.transport import is_loopback
from federation.storage.bundle_copies import BundleCopies
from federation.storage.change_log import UNSIGNED, Reason
from federation.storage.objects import open_objects
from recsys.catalogue.bundle import Bundle
from serving.access import OPEN_APP, Access
from serving.http.app import create_app
from serving.http.request_record import Observer
from serving.http.resources.key_routes import add_keys
from serving.process.key_marker import mark, marker_of
from serving.process.settings import Settings
from serving.state.bundle_store import BundleInUse
from serving.state.health import StateHealth
from serving.state.key_book import KeyBook, open_book
from serving.state.stores import Stores

if TYPE_CHECKING:
    from federation.service.coordinator import Coordinator
    from federation.service.experiment_windows import ExperimentRounds
    from serving.http.resources.federation_routes import TokenDesk
    from serving.process.federation_file import FederationFile


@dataclass(frozen=True)
class Job:
    """The bundles and settings to be served; goes to worker processes as it is.

    copies: the folder that bundles are copied into and served from; None for the state's own.
    """

    bundle: Path
    older: tuple[Path, ...]
    settings: Settings
    copies: Path | None = None

    def check(self) -> None:
        """Check the job; raises ServingError for what would be open to others by mistake."""
        settings = self.settings
        if len(self.older) > settings.keep_bundles:
            raise ServingError(
                f"older bundles: {len(self.older)} given, keep_bundles={settings.keep_bundles}; give fewer, or raise it"
            )
        if settings.federation is not None and self.older:
            raise ServingError("older bundles: are those of earlier rounds with --federation; give none")
        url = settings.state_url()
        if settings.open:
            if settings.require_keys:
                raise ServingError("--open and --require-keys: contradict each other; give one of them")
            return
        if url is not None and _has_good_keys(url):
            mark(self.bundle)
            return
        if settings.require_keys:
            raise ServingError(
                "--require-keys: there is no good API key; restore the state, or make one "
                "(`ownshelf keys create --state FOLDER`)"
            )
        if marker_of(self.bundle).exists():
            raise ServingError(
                f"state: has no good API key, but this bundle was served with some ({marker_of(self.bundle)}); "
                "restore the state, or make a key (`ownshelf keys create`), or delete that file"
            )
        if not is_loopback(settings.host):
            raise ServingError(
                f"host={settings.host}: needs API keys beyond this machine (`ownshelf keys create --state FOLDER`, "
                "then serve with the same --state), or --open if whatever stands before it checks who asks"
            )

    @property
    def is_open(self) -> bool:
        """Requests need no key."""
        url = self.settings.state_url()
        return self.settings.open or url is None or not _has_good_keys(url)


@contextmanager
def live(job: Job, *, advances: bool = True) -> Iterator[tuple[FastAPI, list[Bundle]]]:
    """Run the app and what runs beside it, until the end; yields it and what it serves first.

    advances: with a federation file, whether this process may advance rounds.
    """
    settings = job.settings
    url = settings.state_url()
    with ExitStack() as stack:
        book = None if url is None else _followed(open_book(url), stack)
        if book is not None:
            book.on_first_key(lambda: mark(job.bundle))
        stores = _stores(job, url, stack)
        options: dict[str, Any] = {
            "stores": stores,
            "access": Access(book, needs_no_key=settings.open),
            "state": None if url is None else StateHealth(stores.engine).probe,
            "observers": _observers(settings, stack),
        }
        if settings.federation is None:
            bundles = [_copied(folder, stores) for folder in (job.bundle, *job.older)]
            if url is not None:
                _added(stores, bundles)
            app = create_app(bundles, settings.service(), **options)
        else:
            app, bundles = _federated(job, options, advances, stack)
        if book is not None:
            add_keys(app, book)
        bundles = [
            bundle.bundle for bundle in app.state.apps.of(OPEN_APP).all()
        ]  # mapped: let go of those that were read
        give_back()
        app.state.watcher.start()
        stack.callback(app.state.watcher.stop)
        yield app, bundles


def worker_app(job: Job) -> FastAPI:
    """Make the app of one of several workers.

    What runs beside it ends when the server has let go of its last request.
    """
    stack = ExitStack()
    app, _ = stack.enter_context(live(job, advances=False))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        stack.close()

    app.router.lifespan_context = lifespan
    return app


@contextmanager
def rounds_advanced(settings: Settings, bundle: Path) -> Iterator[list[Bundle]]:
    """Advance rounds in this process, which answers nobody. Yields the bundles that they start from."""
    from federation.service.round_loop import RoundLoop

    coordinator, _, experiments, file = _started(settings, bundle)
    loop = RoundLoop(
        coordinator,
        lambda _: None,
        advances=file.advances,
        experiments=experiments,
        clocks=file.clocks(coordinator),
    )
    loop.start()
    try:
        yield coordinator.bundles()
    finally:
        loop.stop()
        experiments.stop()
        coordinator.stop()


def _federated(job: Job, options: dict[str, Any], advances: bool, stack: ExitStack) -> tuple[FastAPI, list[Bundle]]:
    from federation.service.round_loop import RoundLoop
    from serving.http.oblivious.gateway import add_gateway
    from serving.http.resources.experiment_routes import add_experiments
    from serving.http.resources.federation_routes import add_federation

    coordinator, desk, experiments, file = _started(job.settings, job.bundle)
    bundles, clocks, probe = coordinator.bundles(), file.clocks(coordinator), options["state"]

    def usable() -> None:
        probe()
        clocks.check()

    options["state"] = usable
    app = create_app(bundles, job.settings.service(), releases=_Rounds(coordinator), coordinator=coordinator, **options)
    add_federation(app, coordinator, desk, file.intake)
    add_experiments(app, experiments)

    def largest() -> int:
        return max(coordinator.max_report_bytes(), experiments.max_report_bytes(), job.settings.max_body_bytes)

    add_gateway(app, file.gateway_key(), largest)
    shelf = app.state.apps.of(OPEN_APP)
    loop = RoundLoop(
        coordinator, shelf.replace, advances=advances and file.advances, experiments=experiments, clocks=clocks
    )
    loop.start()
    stack.callback(coordinator.stop)
    stack.callback(experiments.stop)
    stack.callback(loop.stop)
    return app, bundles


def _started(settings: Settings, bundle: Path) -> tuple[Coordinator, TokenDesk, ExperimentRounds, FederationFile]:
    from serving.process.federation_file import FederationFile

    assert settings.federation is not None
    file = FederationFile.read(settings.federation)
    file.check_host(settings.host)
    coordinator, desk = file.start(bundle, int(time.time()))
    return coordinator, desk, file.experiments(coordinator, desk), file


@dataclass(frozen=True)
class _Rounds:
    """Live training decides which bundle is current."""

    coordinator: Coordinator

    def activate(self, app: str, version: str, now: int, reason: Reason = UNSIGNED) -> str:
        """Serve and train on another release, which was current before: a way back needs no gate.

        There is one line of bundles: of the app `shop`.
        """
        if app != OPEN_APP:
            raise ServingError(f"app={app}: has no line of bundles here")
        return self.coordinator.activate(version, now, reason)

    def retire(self, app: str, version: str) -> None:
        """Refuse to retire by hand. Raises ServingError, BundleInUse for a release that training keeps."""
        if app != OPEN_APP or version not in {release.version for release in self.coordinator.store.releases.all()}:
            raise ServingError(f"version={version}: app {app} has no such bundle")
        raise BundleInUse(f"version={version}: live training decides which bundles are kept")


def _added(stores: Stores, bundles: list[Bundle]) -> None:
    """Add the bundles of the command line.

    The first becomes current unless it was here before and another was chosen.
    """
    known = {stored.version for stored in stores.bundles.all(OPEN_APP)}
    for bundle in reversed(bundles):
        fresh = bundle.version not in known
        stores.bundles.add(
            OPEN_APP, bundle.folder, int(time.time()), activate=fresh or not known, reason=Reason("ownshelf serve")
        )


def _copied(folder: Path, stores: Stores) -> Bundle:
    """Map the copy of a bundle, made if there is none: nobody who overwrites the folder shortens what is mapped."""
    bundle = Bundle.load(folder)
    if stores.copies is not None:
        stores.copies.add(bundle.version, folder, bundle.version)
    return stores.bundles.load(bundle.version, str(folder))


def _stores(job: Job, url: str | None, stack: ExitStack) -> Stores:
    objects = None if job.settings.objects is None else open_objects(job.settings.objects)
    copies = None if job.copies is None else BundleCopies(job.copies, objects)
    stores = Stores.passing(copies) if url is None else Stores.open(url, copies)
    stack.callback(stores.close)
    return stores


def _has_good_keys(url: str) -> bool:
    with closing(open_book(url)) as book:
        return bool(book.keys.good())


def _followed(book: KeyBook, stack: ExitStack) -> KeyBook:
    book.start()
    stack.callback(book.close)
    return book


def _observers(settings: Settings, stack: ExitStack) -> tuple[Observer, ...]:
    if settings.otel_endpoint is None:
        return ()
    from serving.http.tracing import Traces

    traces = Traces.exported(settings.otel_endpoint)
    stack.callback(traces.close)
    return (traces.observe,)


def give_back() -> None:
    """Return to the system what loading has used and freed, and never look through what stays for garbage again."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # not every C library has it
        ctypes.CDLL(None).malloc_trim(0)
