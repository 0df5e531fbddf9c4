"""The service's address and its API page: links lead somewhere, nothing is from elsewhere, text stays text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest
from markupsafe import escape
from playwright.sync_api import Browser

from recsys.catalogue.bundle import Bundle, save_bundle
from serving.http.app import create_app
from serving.http.guard import API_POLICY
from serving.http.site.front_pages import LINKS
from serving.http.web_pages import page_policy
from tests.browser import chromium, visit
from tests.listening import listening
from tests.serving.keyed import keyed_service
from tests.shop import make_bundle, service

HOSTILE = "</style><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a catalogue one of whose columns is named by an enemy, and so stands in the document."""
    folder = tmp_path_factory.mktemp("bundle")
    made = make_bundle(folder / "plain")
    catalogue = made.catalogue.with_columns(pl.lit("x").alias(HOSTILE))
    return save_bundle(folder / "b", name="shop", table=made.table, catalogue=catalogue, config=made.config, seed=0,
                       data_hash="test", privacy="none: random numbers")  # fmt: skip


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    with listening(create_app([bundle])) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def test_the_address_says_what_it_is_and_its_links_lead_somewhere(bundle: Bundle) -> None:
    client = service(bundle)
    answer = client.get("/")
    assert answer.json()["links"] == LINKS
    assert answer.headers["content-security-policy"] == API_POLICY
    for path in LINKS.values():
        assert client.get(path).status_code == 200, path
    page = client.get("/", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert set(re.findall(r'href="(?!data:)([^"]*)"', page.text)) == {path.lstrip("/") for path in LINKS.values()}
    assert client.head("/").status_code == client.head("/docs").status_code == 200


def test_the_front_pages_need_no_key_and_have_no_figure(tmp_path: Path) -> None:
    with keyed_service(tmp_path) as keyed, keyed.bare() as client:
        for path in ("/", "/docs"):
            answer = client.get(path)
            assert answer.status_code == 200
            assert keyed.bundle.version not in answer.text


def test_the_api_page_has_every_route_and_every_body_of_the_document(bundle: Bundle) -> None:
    client = service(bundle)
    document, page = client.get("/openapi.json").json(), client.get("/docs")
    assert page.headers["content-security-policy"] == page_policy(page.content)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f'<span class="method">{method.upper()}</span><code>{path}</code>' in page.text
            assert str(escape(operation["summary"])) in page.text
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in page.text
    assert set(re.findall(r'href="#(\w+)"', page.text)) <= set(document["components"]["schemas"])


def test_nothing_in_the_pages_is_from_elsewhere(bundle: Bundle) -> None:
    client = service(bundle)
    for text in (client.get("/docs").text, client.get("/", headers={"accept": "text/html"}).text):
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text)
        assert "<script" not in text


def test_a_hostile_name_stays_text(bundle: Bundle) -> None:
    page = service(bundle).get("/docs").text
    assert HOSTILE not in page
    assert "&lt;/style&gt;&lt;script&gt;" in page


def test_the_api_page_is_of_what_is_served_now(bundle: Bundle, tmp_path: Path) -> None:
    app = create_app([bundle])
    client = httpx.Client(transport=service(bundle)._transport, base_url="http://shop.test")
    client._transport.app = app  # type: ignore[attr-defined]
    before = client.get("/docs").text
    assert before == client.get("/docs").text
    app.state.apps.of("shop").replace([make_bundle(tmp_path / "other", dim=5)])
    after = client.get("/docs").text
    assert "&lt;/style&gt;" in before
    assert "&lt;/style&gt;" not in after


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_browser_shows_the_pages_without_a_complaint(browser: Browser, address: str, path: str) -> None:
    with visit(browser, f"{address}{path}") as seen:
        assert "Ownshelf" in seen.page.title()
        assert seen.page.locator("h1").inner_text().startswith("Ownshelf")
        assert seen.complaints == []
        if path == "/docs":
            seen.page.locator("summary", has_text="/v1/recommendations/batch").click()
            assert seen.page.locator("details[open] h3").first.inner_text() == "Body"
