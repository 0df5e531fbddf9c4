"""Bundles over HTTP: what devices download, which versions are answered, and switching between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Header, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from data.errors import FederationError, ModelError, ServingError
from federation.storage.activations import NoEarlierVersion
from federation.storage.change_log import MAX_WHY, UNSIGNED, Reason
from recsys.catalogue.delta import encode_delta
from recsys.lists.placements.placements_file import to_dict
from serving.access import caller
from serving.http.bodies import refusals
from serving.http.resources.bundle_bodies import Activated, BundleDescription, BundleList
from serving.http.resources.item_bodies import ChangesAnswer, ItemChangeEntry
from serving.http.resources.item_json import plain, row_text
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundle, ServedBundles, ServedFile
from serving.state.bundle_store import BundleInUse, GateRefused

OCTETS = "application/octet-stream"
FOREVER = "public, max-age=31536000, immutable"
DELTA_HEADER = "ownshelf-delta-from"
_VERSION = Annotated[str, Path(min_length=1, max_length=64)]
_OVERRIDE = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MAX_WHY,
        pattern=r"\S",
        description="Why it is served although it has not passed the gate; the change log keeps it.",
    ),
]
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {OCTETS: {}}, "description": "A safetensors file, see docs/api.md"},
    304: {"description": "The one you have"},
    307: {"description": "`current`: to the current version"},
}


class Releases(Protocol):
    """The authority on which bundle of an app is current."""

    def activate(self, app: str, version: str, now: int, reason: Reason = UNSIGNED) -> str:
        """Make a bundle current, by version or `previous`; its version. Raises ServingError or ModelError."""
        ...

    def retire(self, app: str, version: str) -> None:
        """Serve a bundle no more. Raises ServingError for an unknown one, BundleInUse for one that must stay."""
        ...


def add_bundles(app: FastAPI, apps: Apps, releases: Releases, look: Callable[[], None]) -> None:
    """Mount the routes. look: takes over what the store has, in this process, at once."""
    deltas: dict[tuple[str, str], ServedFile] = {}

    @app.get("/v1/catalogue/{version}", summary="The catalogue that a device recommends from",
             response_class=Response, responses={**_FILES, **refusals(404, 422)})  # fmt: skip
    async def catalogue(
        version: _VERSION,
        request: Request,
        since: Annotated[str | None, Query(min_length=1, max_length=64)] = None,
        if_none_match: Annotated[str | None, Header()] = None,
        accept_encoding: Annotated[str, Header()] = "",
    ) -> Response:
        shelf = _shelf(apps, request)
        if version == "current":
            return _redirect(shelf, since)
        bundle = _bundle(shelf, version, "catalogue")
        older = None if since is None or since == version else shelf.get(since)
        if older is not None and (if_none_match is None or not names(if_none_match, bundle.catalogue.etag)):
            delta = deltas.get((older.version, version))
            if delta is None:
                content = await run_in_threadpool(encode_delta, older.catalogue.read(), bundle.catalogue.read())
                delta = ServedFile(content, bundle.catalogue.etag)
                if len(deltas) >= 8:
                    deltas.pop(next(iter(deltas)))
                deltas[older.version, version] = delta
            if len(delta.content) < len(bundle.catalogue.content):
                return _file(delta, None, {DELTA_HEADER: older.version})
        return await run_in_threadpool(_file, bundle.catalogue, if_none_match, None, takes_gzip(accept_encoding))

    @app.get("/v1/catalogue/{version}/changes", summary="What changed about items since", responses=refusals(404, 422))
    async def changes(
        version: _VERSION, request: Request, since: Annotated[int, Query(ge=0, le=2**53)] = 0
    ) -> ChangesAnswer:
        shelf = _shelf(apps, request)
        bundle = _bundle(shelf, version, "catalogue")
        changes = shelf.changed_since(since)
        changes.sort(
            key=lambda change: bundle.live.places.get(change.item_id, -1)
        )  # new items in the order of their places
        return ChangesAnswer(
            bundle_version=bundle.version,
            epoch=shelf.epoch,
            sequence=shelf.sequence,
            changes=[_entry(bundle, change.item_id, change.fields) for change in changes],
            placements=None if shelf.placements is None else to_dict(shelf.placements),
        )

    @app.get("/v1/clusters/{version}", summary="Public centroids, for devices without the catalogue",
             response_class=Response, responses={**_FILES, **refusals(404, 422)})  # fmt: skip
    async def clusters(
        version: _VERSION, request: Request, if_none_match: Annotated[str | None, Header()] = None
    ) -> Response:
        shelf = _shelf(apps, request)
        if version == "current":
            return _redirect(shelf, None)
        bundle = _bundle(shelf, version, "clusters")
        return _file(bundle.clusters_file, if_none_match)

    @app.get("/v1/bundles", summary="The served bundles", responses=refusals())
    async def bundles(request: Request) -> BundleList:
        shelf = _shelf(apps, request)
        return BundleList(bundles=[_described(bundle, current=at == 0) for at, bundle in enumerate(shelf.all())])

    @app.post("/v1/bundles/{version}/activate", summary="Make a bundle current, by version or `previous`",
              responses=refusals(404, 409, 422))  # fmt: skip
    async def activate(version: _VERSION, request: Request, override: _OVERRIDE = None) -> Activated:
        who = caller(request.scope)
        owner, key = who.app, who.key_id or "no key"
        reason = Reason(key) if override is None else Reason(key, override, override=True)

        def switch() -> str:
            chosen = releases.activate(owner, version, int(time.time()), reason)
            look()
            return chosen

        try:
            return Activated(version=await run_in_threadpool(switch))
        except GateRefused as error:
            raise Refusal("gate_not_passed", str(error)) from None
        except NoEarlierVersion as error:
            raise unknown_bundle(_shelf(apps, request), "catalogue", str(error)) from None
        except (ServingError, FederationError, ModelError):
            raise unknown_bundle(_shelf(apps, request), "catalogue") from None

    @app.delete("/v1/bundles/{version}", summary="Serve a bundle no more; its folder stays", status_code=204,
                response_class=Response, responses=refusals(404, 409, 422))  # fmt: skip
    async def retire(version: _VERSION, request: Request) -> Response:
        owner = caller(request.scope).app

        def end() -> None:
            releases.retire(owner, version)
            look()

        try:
            await run_in_threadpool(end)
        except BundleInUse as error:
            raise Refusal("bundle_in_use", str(error)) from None
        except (ServingError, FederationError, ModelError):
            raise unknown_bundle(_shelf(apps, request), "catalogue") from None
        return Response(None, 204)


def _shelf(apps: Apps, request: Request) -> ServedBundles:
    return apps.of(caller(request.scope).app)


def _bundle(shelf: ServedBundles, version: str, kind: str) -> ServedBundle:
    bundle = shelf.get(version)
    if bundle is None:
        raise unknown_bundle(shelf, kind)
    return bundle


def unknown_bundle(shelf: ServedBundles, kind: str, why: str = "version: not served") -> Refusal:
    """Refuse a version that is not served; kind: catalogue or clusters, which is to be fetched."""
    current = shelf.current.version
    return Refusal(
        "unknown_bundle",
        f"{why}; the current one is {current}",
        {"current": current, "fetch": f"/v1/{kind}/{current}"},
    )


def _redirect(shelf: ServedBundles, since: str | None) -> Response:
    known = since is not None and shelf.get(since) is not None
    location = shelf.current.version + (f"?since={since}" if known else "")  # beside this one, whatever is before it
    return Response(None, 307, {"location": location, "cache-control": "no-cache"})


def _file(
    file: ServedFile, if_none_match: str | None, more: dict[str, str] | None = None, packed: bool = False
) -> Response:
    """Answer with a file. Its ETag is the hash of what it unpacks to, by which devices check it."""
    headers = {"etag": f'"{file.etag}"', "cache-control": FOREVER, "vary": "accept-encoding", **(more or {})}
    if if_none_match is not None and names(if_none_match, file.etag):
        return Response(None, 304, headers)
    if packed:
        return Response(file.packed, 200, headers | {"content-encoding": "gzip"}, OCTETS)
    return Response(file.read(), 200, headers, OCTETS)


def takes_gzip(accept_encoding: str) -> bool:
    """Check if whoever asks unpacks gzip."""
    offered = [part.partition(";") for part in accept_encoding.lower().split(",")]
    return any(
        name.strip() == "gzip" and quality.replace(" ", "") not in ("q=0", "q=0.0") for name, _, quality in offered
    )


def names(if_none_match: str, etag: str) -> bool:
    """Check if a header `if-none-match` names an ETag."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")]
    return etag in tags or "*" in tags


def _described(bundle: ServedBundle, *, current: bool) -> BundleDescription:
    return BundleDescription(
        version=bundle.version,
        name=bundle.bundle.name,
        current=current,
        n_items=bundle.bundle.table.n_items,
        dim=bundle.bundle.table.dim,
        made_at=bundle.bundle.made_at,
        recall=bundle.recall,
        catalogue=f"/v1/catalogue/{bundle.version}",
        catalogue_bytes=len(bundle.catalogue.content),
    )


def _entry(bundle: ServedBundle, item_id: str, fields: Any) -> ItemChangeEntry:
    (place,) = bundle.live.index_of([item_id]).tolist()
    if fields is None or place < 0:
        return ItemChangeEntry(item_id=item_id, fields=None, row=None)
    row = bundle.live.catalogue.row(place, named=True)
    held = (name for name in bundle.bundle.placements.carried if name in row)
    shown = {name: plain(row.get(name)) for name in ("title", "category", "price", "available", *held)}
    return ItemChangeEntry(
        item_id=item_id, fields=shown, row=row_text(bundle, place) if place >= bundle.live.n_known else None
    )
