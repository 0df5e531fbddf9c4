"""Where a visitor begins: the address itself, and the API as a page that is made of its document."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from serving.http.bodies import Strict, refusals
from serving.http.guard import API_POLICY
from serving.http.web_pages import WebPage, web_page

LINKS = {
    "the API, for people": "/docs",
    "the API, for machines": "/openapi.json",
    "figures of this service, for a key that may read them": "/dashboard",
    "the process answers": "/healthz",
    "lists are answered": "/readyz",
}
"""What a link is for → its path."""


class Home(Strict):
    """What this address is, and where to go on."""

    service: str
    description: str
    links: dict[str, str]


def add_front_pages(app: FastAPI) -> None:
    """Mount them."""
    described: dict[int, tuple[dict[str, Any], WebPage]] = {}
    home_page = web_page("home.html", title=app.title, description=app.description, links=LINKS)
    home_body = Home(service=app.title, description=app.description, links=LINKS).model_dump()

    @app.get(
        "/",
        summary="What this address is: JSON, or a page for browsers",
        response_model=Home,
        responses={200: {"content": {"text/html": {}}}, **refusals()},
    )
    async def home(request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return home_page.response()
        headers = {"content-security-policy": API_POLICY, "vary": "accept"}
        return Response(json.dumps(home_body, allow_nan=False), 200, headers, "application/json")

    @app.get(
        "/docs",
        summary="The API for people: this document as a page",
        response_class=Response,
        responses={200: {"content": {"text/html": {}}, "description": "The page; it needs nothing else"}, **refusals()},
    )
    async def docs() -> Response:
        document = app.openapi()
        known = described.get(0)
        if known is None or known[0] is not document:  # it is written anew when other bundles are served
            known = described[0] = document, web_page("docs.html", document=document)
        return known[1].response()
