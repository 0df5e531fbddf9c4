"""Chromium tabs take part in a live round: each is counted once, and the service publishes what came of it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from playwright.sync_api import Browser, Page

from federation.device.tokens.issuing import ShopIssuer, fetch_token
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.protocol.messages import Task
from tests.browser import chromium
from tests.end_to_end.deployment import Deployment
from tests.serving.browser.a_shop import gift_shop
from tests.serving.browser.pages import blank_page, open_shelf, visit_blank

TABS = 5
PLAN = PrivacyPlan.off(Clips(1.0, 8.0, 0.4, 0.6), max_participations=2, min_reports=3, max_reports=1000)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("live")
    bundle = gift_shop(folder / "bundle")
    rounds = {"rounds": 2, "block_items": 200, "goal_reports": TABS, "window_s": 600, "pause_s": 0}
    with Deployment(folder / "d", bundle.folder, PLAN, rounds, serve_options=("--open", "--shop")) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


def token_of(deployment: Deployment) -> str:
    """One token for the open task, made as a device makes it; base64."""
    with deployment.client() as client:
        task = Task.from_bytes(client.get("/v1/federation/task").content)
        issuer = ShopIssuer(client, deployment.api_key)
        return b64encode(fetch_token(issuer, task, "shop", lambda key: None)).decode()


def contributing_page(browser: Browser, deployment: Deployment, **terms: object) -> Page:
    """A shopper of three views who agreed to contribute, in a browser of their own; the shelf is in `shelf`."""
    page = blank_page(browser.new_context(), deployment.url)
    page.expose_function("tokenOf", lambda task: token_of(deployment))
    agreed = {"custodianKey": deployment.custodian_key, "plan": asdict(PLAN), "minReports": 3, "maxEpsilon": None}
    page.evaluate(
        """async (terms) => {
            terms.maxEpsilon ??= Infinity;
            const token = async (task) => Uint8Array.from(atob(await tokenOf(task)), (letter) => letter.charCodeAt(0));
            globalThis.opened = { consent: 'contribute', terms, token };
            globalThis.shelf = await sdk.open(opened);
            for (const item of ['sku-0', 'sku-6', 'sku-12']) await shelf.observe({ item });
        }""",
        agreed | terms,
    )
    return page


def contribute(page: Page) -> dict[str, object]:
    answer = page.evaluate("() => shelf.contribute({ spreadS: 0 })")
    assert isinstance(answer, dict)
    return answer


def refusal(page: Page) -> list[str]:
    answer = page.evaluate(
        "async () => { try { return ['sent', await shelf.contribute({ spreadS: 0 })]; } "
        "catch (error) { return [error.code, error.message]; } }"
    )
    assert isinstance(answer, list)
    return answer


def test_tabs_close_a_round(browser: Browser, deployment: Deployment) -> None:
    first = contributing_page(browser, deployment)
    sent: list[bytes] = []
    first.on("request", lambda request: sent.append(request.post_data_buffer or b""))
    outcome = contribute(first)
    assert outcome["status"] == "accepted", outcome
    (report,) = [body for body in sent if body]
    assert len(report) == outcome["reportBytes"]
    assert report[:4] == b"OSR1"
    assert not any(f"sku-{item}".encode() in report for item in range(120))
    account = first.evaluate("async () => (await shelf.profile()).account")
    assert (len(account["entries"]), account["pending"]) == (1, None)

    assert contribute(first)["status"] in ("took_part", "too_early")  # by its own ledger
    visit_blank(first, deployment.url)
    first.evaluate("async () => { globalThis.shelf = await sdk.open({ consent: 'nothing' }); }")
    assert first.evaluate("async () => (await shelf.profile()).account.entries.length") == 1
    assert refusal(first)[0] == "terms"

    pinned = contributing_page(browser, deployment, custodianKey="11" * 32)
    assert refusal(pinned) == ["task", "signature: must be the pinned custodian's"]
    fewer = contributing_page(browser, deployment, minReports=50)
    assert refusal(fewer)[1].startswith("min_reports=3")
    other = asdict(PLAN) | {"clips": asdict(PLAN.clips) | {"rows": 0.5}}
    tilted = contributing_page(browser, deployment, plan=other)
    assert refusal(tilted) == ["task", "plan: must be the privacy plan's own"]
    observing = contributing_page(browser, deployment)
    observing.evaluate("() => shelf.setConsent('observe')")
    assert contribute(observing)["status"] == "no_consent"

    for _ in range(1, TABS):
        assert contribute(contributing_page(browser, deployment))["status"] == "accepted"
    published = deployment.until_published(0)
    with deployment.client() as client:
        (round_,) = [one for one in client.get("/v1/federation/rounds").json()["rounds"] if one["round"] == 0]
    assert json.dumps(round_).count(str(TABS)) >= 1
    assert published.state.final


def test_a_report_that_nobody_answered_is_the_same_when_it_is_sent_again(
    browser: Browser, deployment: Deployment
) -> None:
    page = contributing_page(browser, deployment)
    bodies: list[bytes] = []

    def lost(route: object) -> None:
        bodies.append(route.request.post_data_buffer)  # type: ignore[attr-defined]
        if len(bodies) == 1:
            route.abort()  # type: ignore[attr-defined]
        else:
            route.continue_()  # type: ignore[attr-defined]

    page.route("**/v1/federation/reports", lost)
    assert contribute(page)["status"] == "unsent"
    visit_blank(page, deployment.url)
    open_shelf(page, "contribute")
    assert page.evaluate("async () => (await shelf.profile()).account.pending !== null")
    agreed = {"custodianKey": deployment.custodian_key, "plan": asdict(PLAN), "minReports": 3}
    page.evaluate(
        "async (terms) => { globalThis.shelf = await sdk.open({ consent: 'contribute', "
        "terms: { ...terms, maxEpsilon: Infinity }, token: async () => { throw new Error('no second token'); } }); }",
        agreed,
    )
    assert contribute(page)["status"] == "accepted"
    assert bodies[0] == bodies[1]
    assert page.evaluate("async () => (await shelf.profile()).account.entries.length") == 1
