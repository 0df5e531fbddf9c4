"""The demo shop and the SDK it runs on, for trying out: a shop serves the SDK from its own host.

Whoever serves a page's code sees what the page sees, so a service that served it to shoppers would have to be trusted
with their profiles. `ownshelf sdk` writes the files for the shop's own host.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path
from starlette.responses import Response

from serving.browser.files import KINDS, browser_files, scripts
from serving.http.bodies import refusals
from serving.http.resources.bundle_routes import names, takes_gzip
from serving.refusal import Refusal

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DEMO_ONLY = {"ownshelf-demo": "for trying out; a shop serves these files from its own host: ownshelf sdk"}
_FILE = Annotated[str, Path(min_length=1, max_length=64)]
_TAG = Annotated[str | None, Header()]
_PACKING = Annotated[str, Header()]
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/javascript": {}, "text/css": {}, "image/svg+xml": {}}, "description": "The file"},
    304: {"description": "The one you have"},
}


def add_shop(app: FastAPI, *, on: bool) -> None:
    """Mount the demo shop; `on` only where whoever runs the service asked for it."""

    @app.get("/shop", summary="A demo shop that recommends in the page", response_class=Response,
             responses={200: {"content": {"text/html": {}}, "description": "The page"}, **refusals(404)})  # fmt: skip
    async def shop() -> Response:
        content = _found(on, browser_files("shop") if on else {}, "index.html")
        headers = {"content-security-policy": POLICY, "cache-control": "no-cache", **DEMO_ONLY}
        return Response(content, 200, headers, KINDS[".html"])

    @app.get("/shop/{file}", summary="A file of the demo shop's page", response_class=Response,
             responses={**_ANSWERS, **refusals(404, 422)})  # fmt: skip
    async def shop_file(file: _FILE, if_none_match: _TAG = None, accept_encoding: _PACKING = "") -> Response:
        return _answer(file, _found(on, browser_files("shop") if on else {}, file), if_none_match, accept_encoding)

    @app.get("/sdk/{file}", summary="A file of the browser SDK, for demos", response_class=Response,
             responses={**_ANSWERS, **refusals(404, 422)})  # fmt: skip
    async def sdk_file(file: _FILE, if_none_match: _TAG = None, accept_encoding: _PACKING = "") -> Response:
        return _answer(file, _found(on, scripts() if on else {}, file), if_none_match, accept_encoding)


def _found(on: bool, files: dict[str, bytes], name: str) -> bytes:
    if not on:
        raise Refusal("not_found", "the demo shop is off; `ownshelf serve --shop` switches it on")
    if name not in files:
        raise Refusal("not_found", "path: there is nothing here")
    return files[name]


def _answer(name: str, content: bytes, if_none_match: str | None, accept_encoding: str) -> Response:
    tag = hashlib.sha256(content).hexdigest()
    headers = {"etag": f'"{tag}"', "cache-control": "no-cache", "vary": "accept-encoding", **DEMO_ONLY}
    if if_none_match is not None and names(if_none_match, tag):
        return Response(None, 304, headers)
    if takes_gzip(accept_encoding):
        content, headers = gzip.compress(content, mtime=0), headers | {"content-encoding": "gzip"}
    return Response(content, 200, headers, KINDS[PurePath(name).suffix])
