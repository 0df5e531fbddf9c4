"""The SDK in Chromium: sizes of its chunks as they travel, and what its calls take in a page, medians in milliseconds.

Random catalogues with a mix, dim 64, a history of 60 events. `recommend` is the whole call: history, profile, pool,
features, list of ten. `first_load_kb`: all that the demo shop fetches until its first shelf, `catalogue_4k_kb` of that
the catalogue; packed, as they travel. `longest_task_ms`: of the page's main thread while the demo shop opens and a few
items are looked at, 0 where none took 50 ms. `bytes_of_shopper_sent`: bodies of all requests of that session.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from playwright.sync_api import Browser, Page
from scipy import sparse

from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import encode_catalogue
from recsys.mix.features import FEATURES, TREND_HALF_LIVES
from recsys.mix.mix_tables import MixTables, attributes_of, byte_scale, in_bytes, round_transitions
from recsys.mix.model import MixModel
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from serving.browser.files import HERE, scripts
from serving.http.app import ServiceSettings, create_app
from tests.browser import chromium
from tests.listening import listening

DIM, NEIGHBOURS, EVENTS, CALLS = 64, 50, 60, 40
BLANK = "<!doctype html><html lang=en><title>a shop</title><body></body></html>"
ORIGIN = "http://127.0.0.1:9"


def run(
    seed: int = 0, sizes: tuple[int, ...] = (10_000, 100_000), say: Callable[[str], None] = print
) -> dict[str, Any]:
    """See the module."""
    figures = _chunks()
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        for n_items in sizes:
            say(f"a catalogue of {n_items:,} items")
            measured = _calls(browser, random_bundle(n_items, seed))
            figures[f"recommend_{n_items // 1000}k_ms"] = measured["recommend"]
            if n_items == sizes[0]:
                figures |= {"observe_ms": measured["observe"], "open_ms": measured["open"]}
                figures |= {"report_ms": measured["report"], "rank_60_ms": measured["rank"]}
        say("a session in the demo shop")
        figures |= _session(browser, _saved(random_bundle(4_000, seed), Path(name) / "bundle"))
    return figures


def random_bundle(n_items: int, seed: int) -> Bundle:
    """A bundle with a mix, as large as a trained one: 50 neighbours an item."""
    rng = np.random.default_rng(seed)
    words = ("RED", "TEA", "MUG", "BAG", "HEART", "CANDLE", "GARDEN", "VINTAGE", "PAPER", "STAR", "BLUE", "BOX")
    titles = [" ".join(rng.choice(words, 3)) + f" {item}" for item in range(n_items)]
    shown = pl.DataFrame(
        {
            "item_id": [f"sku-{item}" for item in range(n_items)],
            "title": titles,
            "category": [f"shelf {item % 40}" for item in range(n_items)],
            "price": rng.gamma(2, 3, n_items).round(2),
            "available": [True] * n_items,
        }
    )
    near = rng.integers(0, n_items, (n_items, NEIGHBOURS))
    pulls = (rng.random(near.shape).astype(np.float32) + np.float32(0.01)).ravel()
    rows = np.repeat(np.arange(n_items), NEIGHBOURS)
    transitions = sparse.coo_array((pulls, (rows, near.ravel())), shape=(n_items, n_items)).tocsr()
    trends = np.log1p(rng.gamma(0.5, 2, (len(TREND_HALF_LIVES), n_items))).astype(np.float32)
    attributes = attributes_of(shown)
    tables = MixTables(
        round_transitions(transitions), in_bytes(trends, byte_scale(trends)), attributes.category, attributes.log_price
    )
    weights = {name: np.abs(rng.normal(0.3, 0.3, len(FEATURES))) for name in ("all", "new")}
    mix = MixModel(weights, {"all": "mix", "new": "mix"}, 1_000, tables)  # type: ignore[arg-type]
    table = ItemTable(
        rng.normal(0, 0.3, (n_items, DIM)).astype(np.float32), rng.random(n_items).astype(np.float32),
        np.zeros(DIM, dtype=np.float32),
    )  # fmt: skip
    manifest: dict[str, Any] = {"training": {}, "files": {}}
    return Bundle(f"{n_items:016x}", "random", table, shown, ProfileConfig(), manifest, Path(), 0, mix)


def _saved(bundle: Bundle, folder: Path) -> Bundle:
    return save_bundle(
        folder, name=bundle.name, table=bundle.table, catalogue=bundle.catalogue, config=bundle.config, seed=0,
        data_hash="random", privacy="none: random numbers", mix=bundle.mix,
    )  # fmt: skip


def _chunks() -> dict[str, float]:
    """Kilobytes of each chunk beside what is loaded already, by the very check that the build has."""
    done = subprocess.run(["node", "size.mjs", "--json"], cwd=HERE, capture_output=True, text=True, check=False)
    return {f"{'core' if name == 'index' else name}_gz_kb": size for name, size in json.loads(done.stdout).items()}


def _calls(browser: Browser, bundle: Bundle) -> dict[str, float]:
    """Medians of calls in a page whose service answers with this catalogue; nobody listens at its address."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    file = encode_catalogue(bundle)
    etag = f'"{hashlib.sha256(file).hexdigest()}"'
    page.route(f"{ORIGIN}/**", lambda route: route.fulfill(status=404, body="{}"))
    page.route(f"{ORIGIN}/blank", lambda route: route.fulfill(body=BLANK, content_type="text/html"))
    page.route(f"{ORIGIN}/v1/catalogue/current*", lambda route: route.fulfill(body=file, headers={"etag": etag}))
    for name, content in scripts().items():
        _serve(page, f"{ORIGIN}/sdk/{name}", content)
    sources = sorted((HERE / "src").rglob("*.js"))
    for path in sources:
        _serve(page, f"{ORIGIN}/src/{path.relative_to(HERE / 'src').as_posix()}", path.read_bytes())
    page.goto(f"{ORIGIN}/blank")
    measured = page.evaluate(_SCRIPT, [EVENTS, CALLS, bundle.table.n_items])
    context.close()
    return {name: statistics.median(times) for name, times in measured.items()}


def _serve(page: Page, address: str, content: bytes) -> None:
    page.route(address, lambda route: route.fulfill(body=content, content_type="text/javascript"))


_SCRIPT = """async ([events, calls, n]) => {
  const { open } = await import('/sdk/index.js');
  const times = { recommend: [], observe: [], open: [], report: [], rank: [] };
  const timed = async (name, work) => {
    const began = performance.now(), made = await work();
    times[name].push(performance.now() - began);
    return made;
  };
  const shelf = await open({ consent: 'observe' });
  await shelf.refresh();
  for (let at = 0; at < events; at++) {
    await shelf.observe({ item: `sku-${(at * 7919) % n}`, kind: at % 3 ? 'view' : 'purchase' });
  }
  for (let call = 0; call < calls + 10; call++) {
    await timed('recommend', () => shelf.recommend('for-you', { topK: 10 }));
  }
  times.recommend.splice(0, 10); // until the code is compiled
  const listed = Array.from({ length: 60 }, (_, at) => `sku-${(at * 31) % n}`);
  await shelf.rank(listed);
  for (let call = 0; call < calls; call++) await timed('rank', () => shelf.rank(listed));
  for (let call = 0; call < calls; call++) await timed('observe', () => shelf.observe({ item: `sku-${call}` }));
  for (let call = 0; call < 5; call++) {
    await timed('open', async () => (await open({})).recommend('for-you', { topK: 10 }));
  }
  const { encode, seal, serviceShare } = await import('/src/contribute/sealing.js');
  const { roundPlan } = await import('/src/contribute/plan.js');
  const privacy = { clips: { rows: 1, counts: 3, second: 0.4, first: 0.6 }, noise_multiplier: 1, max_participations: 6,
    min_reports: 50, max_reports: 1000, delta: 1e-6 };
  const plan = roundPlan(privacy, 2048, 64, 'taste');
  const vectors = Object.fromEntries(
    plan.parts.map(({ name, length }) => [name, Float64Array.from({ length }, Math.random)]));
  const pair = await crypto.subtle.generateKey({ name: 'X25519' }, true, ['deriveBits']);
  const key = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  for (let call = 0; call < 12; call++) {
    await timed('report', async () => {
      const seed = crypto.getRandomValues(new Uint8Array(32)), words = encode(plan, vectors);
      await Promise.all([serviceShare(words, seed), seal(key, new Uint8Array(100), seed)]);
    });
  }
  return times;
}"""


def _session(browser: Browser, bundle: Bundle) -> dict[str, float]:
    with listening(create_app([bundle], ServiceSettings(shop=True))) as url:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        sizes: dict[str, int] = {}
        bodies: list[int] = []
        page.on("request", lambda request: bodies.append(len(request.post_data_buffer or b"")))
        page.on("requestfinished", lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}))
        page.add_init_script(
            "globalThis.longest = 0; new PerformanceObserver((list) => { for (const { duration } of list.getEntries()) "
            "longest = Math.max(longest, duration); }).observe({ type: 'longtask', buffered: true });"
        )
        page.goto(f"{url}/shop")
        page.wait_for_selector("[data-shelf=for-you] .card")
        first = dict(sizes)
        page.evaluate("() => shelf.setConsent('observe')")
        for item in range(3):
            page.evaluate("(item) => { location.hash = `#/item/sku-${item}`; }", item)
            page.wait_for_timeout(300)
        figures = {
            "first_load_kb": sum(first.values()) / 1e3,
            "catalogue_4k_kb": max(size for address, size in first.items() if "/v1/catalogue/" in address) / 1e3,
            "longest_task_ms": float(page.evaluate("longest")),
            "bytes_of_shopper_sent": float(sum(bodies)),
        }
        context.close()
    return figures
