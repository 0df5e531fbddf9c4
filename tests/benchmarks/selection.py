"""What a cart, a product page and the diversity dial bring and cost on Online Retail, on what was bought afterwards.

The federated table is trained as `ownshelf evaluate` does, on what was known at the cut. Invoices after it of at least
three items: for a cart, up to five of them are left out, one at a time (hit@20, mean over invoices); for a product page
one item is the page's, and the others are to be found (recall@20). Twice: on the month where the two weights were
chosen, and on the one after it, whose figures stand in recsys/model/fold_in.py and recsys/lists/diversity.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from data.dataset import Dataset
from data.split import parse_time
from federation.lab.questions import Question, question
from federation.lab.recipes import recipe
from federation.simulation.training import train
from recsys.evaluation.arms import Personalized
from recsys.lists.diversity import diversify, intra_list_similarity, pool_size
from recsys.model.fold_in import blend, cart_query, context_query
from recsys.model.histories import merge_histories
from recsys.model.items import ItemTable
from recsys.model.log_profiles import closed_form
from recsys.model.profile_config import ProfileConfig

WINDOWS = {"chosen_on": ("2011-10-09", "2011-11-09"), "measured_on": ("2011-11-09", "2011-12-31")}
WEIGHTS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
DIALS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)
K, INVOICES, LEFT_OUT = 20, 1000, 5

Floats = npt.NDArray[np.float32]
Items = npt.NDArray[np.int32]
Score = Callable[[Items, int], Floats]


@dataclass(frozen=True, eq=False)
class Window:
    """A trained table and what followed: invoices as (distinct items, user), `known` of users with a profile `own`."""

    asked: Question
    table: ItemTable
    config: ProfileConfig
    together: Floats
    own: dict[int, Floats]
    invoices: list[tuple[Items, int]]
    known: list[tuple[Items, int]]


def run(*, seed: int = 0, say: Callable[[str], None] | None = None) -> dict[str, object]:
    """`{window: {"cart", "cart_and_profile", "context", "diversity"}}`; about a minute of CPU time."""
    tell = say or (lambda _: None)
    figures: dict[str, object] = {}
    for name, (start, end) in WINDOWS.items():
        tell(f"{start}: training")
        window = _window(start, end, seed)
        tell(f"{start}: carts, product pages, diversity")
        figures[name] = {
            "cart": _carts(window, seed),
            "cart_and_profile": _blended_carts(window, seed),
            "context": _contexts(window, seed),
            "diversity": _dials(window),
        }
    return figures


def _window(start: str, end: str, seed: int) -> Window:
    dataset, at, settings = Dataset.open("sample:online-retail"), parse_time(start), recipe("purchases")
    asked = question(dataset.interactions(), "temporal", at)
    table = train(asked.split.train, settings.train, seed=seed, now=asked.now).table
    users = np.flatnonzero(asked.histories.counts > 0)
    histories = merge_histories(asked.histories, settings.serve, asked.now)
    profiles = closed_form(table, settings.serve).profiles(histories, users)
    log = dataset.log.with_columns(at=pl.col("time").dt.epoch("us"))
    stands = (pl.col("at") >= at) & (pl.col("at") < parse_time(end)) & pl.col("undone_time").is_null()
    baskets = (
        log.filter(stands).group_by("session_id").agg(pl.col("item_idx").unique().sort(), pl.col("user_idx").first())
    )
    baskets = baskets.filter(pl.col("item_idx").list.len() >= 3).sort("session_id")
    every = [(np.array(items, np.int32), user) for _, items, user in baskets.iter_rows()]
    own = dict(zip(users.tolist(), profiles, strict=True))
    draw = np.random.default_rng(seed)
    known = [invoice for invoice in every if invoice[1] in own]
    drawn = [[some[place] for place in draw.permutation(len(some))[:INVOICES]] for some in (every, known)]
    together = _together(log.filter(pl.col("at") < at), table.n_items)
    return Window(asked, table, settings.serve, together, own, drawn[0], drawn[1])


def _together(log: pl.DataFrame, n_items: int, neighbours: int = 100, shrink: float = 10.0) -> Floats:
    """Item-kNN over invoices, (n_items, n_items): what pooled carts would say."""
    once = log.select("session_id", "item_idx").unique().with_columns(pl.col("session_id").rank("dense"))
    cells = (once["session_id"].to_numpy(), once["item_idx"].to_numpy())
    had = sparse.coo_array((np.ones(once.height, np.float32), cells), shape=(once.height + 1, n_items)).tocsr()
    counts = (had.T @ had).toarray()
    root = np.sqrt(np.diag(counts)).copy()
    np.fill_diagonal(counts, 0)
    similar = counts / (root[:, None] * root + shrink)
    bound = np.partition(similar, n_items - neighbours, axis=0)[n_items - neighbours]
    return np.where(similar < bound, 0, similar).astype(np.float32)


def _carts(window: Window, seed: int) -> dict[str, dict[str, float]]:
    V, table = window.table.item_embeddings, window.table
    unit = V / np.maximum(np.linalg.norm(V, axis=1, keepdims=True), 1e-12)
    ways: dict[str, Score] = {
        "fold_in": lambda items, _: V @ cart_query(table, items, window.config),
        "mean": lambda items, _: V @ unit[items].mean(axis=0),
        "mean_by_cosine": lambda items, _: unit @ unit[items].mean(axis=0),
        "item_knn": lambda items, _: window.together[items].sum(axis=0),
        "trend": lambda items, _: table.trend,
    }
    return {name: _left_out(way, window.invoices, seed) for name, way in ways.items()}


def _blended_carts(window: Window, seed: int) -> dict[str, dict[str, float]]:
    def way(weight: float) -> Score:
        return lambda items, user: (
            window.table.item_embeddings
            @ blend(cart_query(window.table, items, window.config), window.own[user], weight)
        )

    return {str(weight): _left_out(way(weight), window.known, seed) for weight in WEIGHTS}


def _left_out(way: Score, invoices: list[tuple[Items, int]], seed: int) -> dict[str, float]:
    draw = np.random.default_rng(seed)
    hits = np.zeros(len(invoices))
    for place, (items, user) in enumerate(invoices):
        gone = draw.permutation(len(items))[:LEFT_OUT]
        for out in gone:
            given = np.delete(items, out)
            scores = way(given, user).copy()
            scores[given] = -np.inf
            hits[place] += (np.count_nonzero(scores > scores[items[out]]) < K) / len(gone)
    return {"hit@20": float(hits.mean()), "ci95": 1.96 * float(hits.std() / np.sqrt(len(hits)))}


def _contexts(window: Window, seed: int) -> dict[str, dict[str, float]]:
    histories, table = window.asked.histories, window.table
    had = {user: np.unique(histories.item_idx[histories.of(user)]) for _, user in window.known}
    trend = np.float32(window.config.trend_weight) * table.trend
    figures = {}
    for weight in WEIGHTS:
        draw = np.random.default_rng(seed)
        found: dict[str, list[float]] = {"recall@20": [], "new": []}
        for items, user in window.known:
            page = int(items[draw.integers(len(items))])
            scores = (
                table.item_embeddings @ context_query(table, table.item_embeddings[page], window.own[user], weight)
                + trend
            )
            for part, hidden in (("recall@20", [page]), ("new", [page, *had[user]])):
                wanted = np.setdiff1d(items, hidden)
                scores[hidden] = -np.inf
                if len(wanted):
                    top = np.argpartition(-scores, K)[:K]
                    found[part].append(np.isin(top, wanted).sum() / min(K, len(wanted)))
        figures[str(weight)] = {part: float(np.mean(values)) for part, values in found.items()}
    return figures


def _dials(window: Window) -> dict[str, dict[str, float]]:
    asked, V = window.asked, window.table.item_embeddings
    users = np.flatnonzero((asked.histories.counts > 0) & (asked.split.test.counts > 0))
    scores = Personalized("own", window.table, window.config).scores(asked.histories, users, asked.now)
    trained, test = np.unique(asked.split.train.item_idx), asked.split.test
    scores = scores[:, trained]
    discount = 1 / np.log2(np.arange(2, K + 2))
    figures = {}
    for dial in DIALS:
        ndcg, alike, spent = [], [], 0.0
        for row, user in zip(scores, users.tolist(), strict=True):
            pool = np.argsort(-row, kind="stable")[: pool_size(K)]
            start = process_time()
            order = pool[diversify(row[pool], V[trained[pool]], K, dial)]
            spent += process_time() - start
            relevant = np.intersect1d(test.item_idx[test.of(user)], trained)
            alike.append(intra_list_similarity(V[trained[order]]))
            if len(relevant):
                gained = float((np.isin(trained[order], relevant) * discount).sum())
                ndcg.append(gained / float(discount[: len(relevant)].sum()))
        figures[str(dial)] = {
            "ndcg@20": float(np.mean(ndcg)),
            "similarity": float(np.mean(alike)),
            "ms": 1e3 * spent / len(users),
        }
    return figures
