"""Every surface beside trend and the best pooled method: search, category pages, complements, buying again; and CPU.

Search: on Online Retail after 2011-11-09 a query is a random word (at least six items have it) of the title of an item
bought later, at most 15 a shopper; the list is every item with that word in order of trend; MRR of the item bought.
Category page: on e-shop 2008 after 2008-07-01 the list is the category of an item clicked later in the session.
Complements: invoices of 4 to 60 items, half of one given or one item; NDCG@10 of the rest. Buying again: Complete
Journey's last 5 % of events, NDCG@10 among own items and of all.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from data.dataset import Dataset
from data.interactions import EventKind, Interactions, interactions
from data.split import parse_time
from federation.device.lists import own_arm, personal_scores
from federation.device.state import DeviceState, Event
from federation.device.surfaces.placement_list import PlacementRequest, list_placement, own_history
from federation.device.surfaces.ranked_items import rank_items, rank_signals
from federation.lab.defaults import fitted
from federation.lab.mixing import learn_mix
from federation.lab.questions import Question, question
from federation.simulation.training import train
from recsys.catalogue.bundle import save_bundle
from recsys.catalogue.catalogue import Catalogue, catalogue_of, decode_catalogue, encode_catalogue
from recsys.lists.placements.complements import complement_scores, complement_table, count_together
from recsys.lists.placements.history_lists import buy_again_scores
from recsys.lists.placements.queries import ListQuery, cart_direction
from recsys.lists.placements.surface_tables import build_surface_tables
from recsys.lists.rank_items import Surface, base_heights, rank_scores, reorder
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.model import MixModel
from recsys.mix.priors import LISTS, prior_weights
from recsys.model.items import ItemTable
from recsys.model.profile_config import ProfileConfig
from tests.benchmarks.zoo_members import logs_folder

Floats = npt.NDArray[np.float64]
LEAST_LIST, QUERIES, K = 6, 15, 10
_DISCOUNT = 1 / np.log2(np.arange(2, K + 2))


@dataclass(frozen=True, eq=False)
class World:
    """A trained catalogue as a device has it, and what came after it."""

    asked: Question
    catalogue: Catalogue

    def state(self, user: int) -> DeviceState:
        """The device of a user of the log, at the moment of the split."""
        log, rows = self.asked.histories, self.asked.histories.of(user)
        ids = self.catalogue.shown["item_id"].gather(log.item_idx[rows]).to_list()
        kinds, times = log.kind[rows].tolist(), log.time[rows].tolist()
        events = (Event(time, item, EventKind(kind)) for item, kind, time in zip(ids, kinds, times, strict=True))
        return DeviceState(consent="observe", events=tuple(events))


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, object]:
    """Every figure; about five minutes of CPU time."""
    tell = say or (lambda _: None)
    tell("Online Retail: training")
    retail = _retail(seed)
    tell("search")
    search = _search(retail, seed)
    tell("complements")
    complements = _complements(retail, seed)
    tell("e-shop: training, category pages")
    category = _category(_eshop(seed), seed)
    tell("costs")
    costs = {str(n): _costs(n, seed) for n in (10_000, 100_000)}
    figures: dict[str, Any] = {
        "search_mrr": search["medium"] | {"trend_all": search["trend"]["all"], "trend_new": search["trend"]["new"]},
        "search_by_impact": search,
        "category_mrr": category["medium"],
        "category_mrr_trend": category["trend"],
        "goes_with_half": complements["ours"]["half"],
        "goes_with_one": complements["ours"]["one"],
        "goes_with": complements,
        "rank_60_ms": costs["10000"]["rank_60_ms"],
        "cpu_ms": costs,
    }
    journey = logs_folder() / "complete_journey"
    if journey.exists():
        tell("Complete Journey: training, buying again")
        again = _buy_again(_journey(journey, seed))
        figures |= {"buy_again": again["buy_again"]["repeat"], "buy_again_by_arm": again}
    return figures


def _world(asked: Question, name: str, frame: pl.DataFrame, seed: int) -> World:
    recipe, _ = fitted(name, asked.split.train)
    table = train(asked.split.train, recipe.train, seed=seed, now=asked.now).table
    mix = learn_mix(asked, recipe, name, table, seed=seed, attributes=attributes_of(frame))
    surfaces = build_surface_tables(asked.split.train, frame["category"] if "category" in frame.columns else None)
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(
            Path(folder) / "b", name="bench", table=table, catalogue=frame, config=recipe.serve, seed=seed,
            data_hash="bench", privacy="off", mix=mix, surfaces=surfaces,
        )  # fmt: skip
        return World(asked, decode_catalogue(encode_catalogue(bundle)))


def _retail(seed: int) -> World:
    dataset = Dataset.open("sample:online-retail")
    asked = question(dataset.interactions(), "temporal", parse_time("2011-11-09"))
    return _world(asked, "purchases", dataset.catalogue, seed)


def _eshop(seed: int) -> World:
    dataset = Dataset.open("sample:eshop-2008")
    asked = question(dataset.interactions(), "sessions", parse_time("2008-07-01"))
    return _world(asked, "sessions", dataset.catalogue, seed)


def _journey(folder: Path, seed: int) -> World:
    lines = pl.read_parquet(folder / "purchases.parquet").filter(pl.len().over("item_id") >= 5)
    users, user_idx = np.unique(lines["user_id"].to_numpy(), return_inverse=True)
    ids, item_idx = np.unique(lines["item_id"].to_numpy(), return_inverse=True)
    time = lines["ts"].cast(pl.Datetime("us")).to_physical().to_numpy()
    kind = np.full(len(time), EventKind.PURCHASE)
    log = interactions(user_idx, item_idx, time, n_users=len(users), n_items=len(ids), kind=kind)
    known = pl.read_parquet(folder / "items.parquet").select(
        item_id=pl.col("item_id").cast(pl.String), category="product_category"
    )
    frame = pl.DataFrame({"item_id": ids.astype(str)}).join(
        known.unique("item_id"), on="item_id", how="left", maintain_order="left"
    )
    asked = question(log, "temporal", int(np.quantile(log.time, 0.95)))
    return _world(asked, "purchases", frame, seed)


def _search(world: World, seed: int) -> dict[str, dict[str, float]]:
    """MRR of what was bought, in every list with its word: {arm: {all, new, repeat}}."""
    words: dict[str, list[int]] = {}
    of_item = [
        sorted(set(re.findall(r"[a-z]{3,}", (title or "").lower())))
        for title in world.catalogue.shown["title"].to_list()
    ]
    for item, own in enumerate(of_item):
        for word in own:
            words.setdefault(word, []).append(item)
    rng = np.random.default_rng(seed)

    def lists_of(bought: list[int]) -> list[tuple[int, npt.NDArray[np.int32]]]:
        queries = []
        for item in rng.permutation(bought).tolist():
            usable = [word for word in of_item[item] if len(words[word]) >= LEAST_LIST]
            if usable:
                queries.append((item, np.array(words[usable[rng.integers(len(usable))]], dtype=np.int32)))
        return queries[:QUERIES]

    return _ranked(world, lists_of, "search", only=EventKind.PURCHASE)


def _category(world: World, seed: int) -> dict[str, float]:
    """MRR of what was clicked next, in its category's list without the items clicked before."""
    names = world.catalogue.shown["category"].fill_null("").to_numpy()

    def lists_of(clicked: list[int]) -> list[tuple[int, npt.NDArray[np.int32]]]:
        return [(item, np.flatnonzero(names == names[item]).astype(np.int32)) for item in clicked]

    figures = _ranked(world, lists_of, "category", unseen=True)
    return {arm: values["new"] for arm, values in figures.items()}


def _ranked(
    world: World,
    lists_of: Callable[[list[int]], list[tuple[int, npt.NDArray[np.int32]]]],
    surface: Surface,
    *,
    only: EventKind | None = None,
    unseen: bool = False,
) -> dict[str, dict[str, float]]:
    asked, catalogue = world.asked, world.catalogue
    test, trend = asked.split.test, catalogue.table.trend
    users = np.flatnonzero((asked.histories.counts > 0) & (test.counts > 0))
    gained: dict[str, list[float]] = {"trend": [], "low": [], "medium": [], "high": []}
    new: list[bool] = []
    for user in users.tolist():
        rows = test.of(user)
        later = test.item_idx[rows][test.kind[rows] == only] if only is not None else test.item_idx[rows]
        had = set(asked.histories.item_idx[asked.histories.of(user)].tolist())
        wanted = [item for item in dict.fromkeys(later.tolist()) if not (unseen and item in had)]
        queries = lists_of(wanted)
        if not queries:
            continue
        signals = rank_signals(world.state(user), catalogue, asked.now)
        assert signals is not None
        for item, listed in queries:
            if unseen:
                listed = listed[[place not in had for place in listed.tolist()]]
            listed = listed[np.argsort(-trend[listed], kind="stable")]
            if len(listed) < 2:
                continue
            place = int(np.flatnonzero(listed == item)[0])
            gained["trend"].append(1 / (place + 1))
            for impact in ("low", "medium", "high"):
                scores = rank_scores(signals, listed, base_heights(len(listed), None), impact, surface)
                gained[impact].append(1 / (1 + int(np.flatnonzero(reorder(scores, impact) == place)[0])))
            new.append(item not in had)
    is_new = np.array(new)
    parts = {"all": np.ones(len(is_new), dtype=np.bool_), "new": is_new, "repeat": ~is_new}
    return {
        arm: {part: float(np.mean(np.array(values)[rows])) for part, rows in parts.items() if rows.any()}
        | {"queries": float(len(values))}
        for arm, values in gained.items()
    }


def _complements(world: World, seed: int) -> dict[str, dict[str, float]]:
    """NDCG@10 of the rest of an invoice: {arm: {half, one}}."""
    dataset = Dataset.open("sample:online-retail")
    at = pl.col("time").dt.epoch("us")
    stands = (at >= parse_time("2011-11-09")) & pl.col("undone_time").is_null()
    invoices = (
        dataset.log.filter(stands).group_by("session_id").agg(pl.col("item_idx").unique().sort()).sort("session_id")
    )
    rng = np.random.default_rng(seed)
    items, table = world.catalogue.shop_items, world.catalogue.of_bundle.table
    counts = count_together(world.asked.split.train)
    pooled = complement_table(counts)
    nobody = ListQuery(None, items.config.trend_weight)
    arms: dict[str, Callable[[npt.NDArray[np.int32]], npt.NDArray[np.float32]]] = {
        "trend": lambda given: table.trend,
        "taste": lambda given: items.scores(cart_direction(items, given), items.config.trend_weight),
        "pooled_counts": lambda given: np.asarray(pooled[given].sum(axis=0)).ravel().astype(np.float32),
        "ours": lambda given: complement_scores(items, given, nobody),
    }
    figures: dict[str, dict[str, list[float]]] = {arm: {"half": [], "one": []} for arm in arms}
    for listed in invoices["item_idx"].to_list():
        if not 4 <= len(listed) <= 60:
            continue
        drawn = rng.permutation(np.array(listed, dtype=np.int32))
        for part, n in (("half", len(drawn) // 2), ("one", 1)):
            for arm, score in arms.items():
                scores = score(drawn[:n]).copy()
                scores[drawn[:n]] = -np.inf
                figures[arm][part].append(_ndcg(scores, drawn[n:]))
    return {arm: {part: float(np.mean(values)) for part, values in parts.items()} for arm, parts in figures.items()}


def _buy_again(world: World) -> dict[str, dict[str, float]]:
    """NDCG@10 of all later items, and of own ones among own items: {arm: {all, repeat}}."""
    asked, catalogue = world.asked, world.catalogue
    test, items = asked.split.test, catalogue.shop_items
    everything = np.ones(items.n_items, dtype=np.bool_)
    intervals = None if catalogue.surfaces is None else catalogue.surfaces.intervals
    figures: dict[str, dict[str, list[float]]] = {
        arm: {"all": [], "repeat": []} for arm in ("trend", "for_you", "buy_again", "up_cf_counter")
    }
    for user in np.flatnonzero((asked.histories.counts > 0) & (test.counts > 0)).tolist():
        state, wanted = world.state(user), np.unique(test.item_idx[test.of(user)])
        history = own_history(state, catalogue)
        by = own_arm(catalogue)
        plain = personal_scores(state, catalogue, asked.now, by=by, new=False, allowed=everything).scores
        own, lift = buy_again_scores(items, history, asked.now, intervals)
        again = plain.copy()
        again[own] += lift - lift.max(initial=0.0)
        counter = items.trend * np.float32(1e-3)
        baskets = np.unique(history.time)
        later = len(baskets) - 1 - np.searchsorted(baskets, history.time)
        np.add.at(counter, history.item_idx, np.exp2(-later / 15.0).astype(np.float32))
        for arm, scores in (
            ("trend", items.trend),
            ("for_you", plain),
            ("buy_again", again),
            ("up_cf_counter", counter),
        ):
            figures[arm]["all"].append(_ndcg(scores, wanted))
            repeat = np.intersect1d(wanted, own)
            if len(repeat):
                among = np.full(items.n_items, -np.inf, dtype=np.float32)
                among[own] = scores[own]
                figures[arm]["repeat"].append(_ndcg(among, repeat))
    return {arm: {part: float(np.mean(values)) for part, values in parts.items()} for arm, parts in figures.items()}


def _costs(n_items: int, seed: int) -> dict[str, float]:
    """CPU time of a call on a catalogue of that many items, ms, median of 15; 60 events."""
    rng = np.random.default_rng(seed)
    table = ItemTable(
        rng.normal(0, 0.1, (n_items, 64)).astype(np.float32),
        rng.random(n_items).astype(np.float32),
        np.zeros(64, np.float32),
    )
    frame = pl.DataFrame(
        {
            "item_id": [f"i{place}" for place in range(n_items)],
            "category": [f"c{place % 40}" for place in range(n_items)],
            "price": rng.gamma(2.0, 10.0, n_items),
        }
    )
    log = _random_log(n_items, rng)
    weights = {name: prior_weights("purchases", name) for name in LISTS}
    now = int(log.time.max())
    mix = MixModel(weights, dict.fromkeys(LISTS, "prior"), 0, build_tables(log, now, attributes_of(frame)))
    with tempfile.TemporaryDirectory() as folder:
        bundle = save_bundle(
            Path(folder) / "b", name="bench", table=table, catalogue=frame, config=ProfileConfig(), seed=seed,
            data_hash="bench", privacy="off", mix=mix, surfaces=build_surface_tables(log, frame["category"]),
        )  # fmt: skip
        catalogue = catalogue_of(bundle)
    day = 86_400_000_000
    events = tuple(
        Event(now - (60 - place) * day, f"i{item}", EventKind.PURCHASE if place % 3 else EventKind.VIEW, price=50.0)
        for place, item in enumerate(rng.integers(0, n_items, 60).tolist())
    )
    state = DeviceState(consent="observe", events=events)
    calls: dict[str, Callable[[], object]] = {
        f"{name}_ms": lambda name=name, more=more: list_placement(  # type: ignore[misc]
            state, catalogue, name, catalogue.placements.named(name), PlacementRequest(**more), now
        )
        for name, more in (
            ("for-you", {}), ("similar", {"context": "i7"}), ("goes-with", {"cart": ["i7", "i8"]}), ("trending", {}),
            ("rows", {}), ("recently-viewed", {}), ("buy-again", {}), ("because-you-viewed", {}),
        )
    }  # fmt: skip
    ids = [f"i{place}" for place in rng.permutation(n_items)[:60].tolist()]
    _, held = rank_items(state, catalogue, ids, None, "medium", "search", now, None)
    calls["rank_60_after_an_event_ms"] = lambda: rank_items(state, catalogue, ids, None, "medium", "search", now, None)
    calls["rank_60_ms"] = lambda: rank_items(state, catalogue, ids, None, "medium", "search", now, held)
    return {name: _median_ms(call) for name, call in calls.items()}


def _random_log(n_items: int, rng: np.random.Generator) -> Interactions:
    n = 40_000
    user, item = rng.integers(0, 2_000, n), (n_items * rng.random(n) ** 2).astype(np.int64)
    time = rng.integers(0, 200, n) * 86_400_000_000
    return interactions(user, item, time, n_users=2_000, n_items=n_items, kind=np.full(n, EventKind.PURCHASE))


def _median_ms(call: Callable[[], object]) -> float:
    call()
    spent = []
    for _ in range(15):
        start = process_time()
        for _ in range(4):
            call()
        spent.append((process_time() - start) / 4)
    return 1e3 * float(np.median(spent))


def _ndcg(scores: npt.NDArray[np.float32], wanted: npt.NDArray[np.integer[Any]]) -> float:
    top = np.argpartition(-scores, K)[:K]
    top = top[np.argsort(-scores[top], kind="stable")]
    top = top[np.isfinite(scores[top])]
    gained = float((np.isin(top, wanted) * _DISCOUNT[: len(top)]).sum())
    return gained / float(_DISCOUNT[: min(K, len(wanted))].sum())
