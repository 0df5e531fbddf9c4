"""A running demo shop and a browser to visit it with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from recsys.catalogue.bundle import Bundle
from serving.http.app import ServiceSettings, create_app
from tests.browser import chromium
from tests.listening import listening
from tests.serving.browser.a_shop import gift_shop
from tests.serving.browser.pages import blank_page


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return gift_shop(tmp_path_factory.mktemp("gifts") / "bundle")


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    with listening(create_app([bundle], ServiceSettings(shop=True))) as url:
        yield url


@pytest.fixture(scope="module")  # Playwright keeps a loop running, under which other tests could not start theirs
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A shopper's browser: nothing stored yet."""
    made = browser.new_context()
    made.set_default_timeout(20_000)
    yield made
    made.close()


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    """A page of the shop's own, empty but for the SDK in `sdk`."""
    return blank_page(context, address)
