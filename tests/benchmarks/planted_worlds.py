"""Logs as an analyst holds them (a pandas frame), and the careful way from one to a set-up: no leak in here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import polars as pl

from data.dataset import Dataset
from data.interactions import Interactions, interactions
from data.leakage import CoreFilter
from data.split import known_at
from data.synthetic import SyntheticShop
from recsys.evaluation.baselines import item_knn, popularity, recent_popularity
from recsys.leakage import Features, FittedStatistics, PropertyJoin, ScoringProtocol, Setup

DAY = 86_400_000_000
HOUR = DAY // 24
N_NEGATIVES, K = 99, 10


@dataclass(frozen=True, eq=False)
class World:
    """rows: user, item, kind, time (µs), session, amount; sorted by user and time. dated: times are whole days."""

    name: str
    rows: pd.DataFrame
    n_users: int
    n_items: int
    dated: bool = False
    by_session: bool = False  # a user is one session, never seen again

    def events(self, rows: pd.DataFrame, n_users: int | None = None) -> Interactions:
        """Interactions of some of the rows, on the world's axes."""
        return interactions(
            rows["user"], rows["item"], rows["time"], n_users=n_users or self.n_users, n_items=self.n_items,
            kind=rows["kind"],
        )  # fmt: skip


def synthetic(seed: int) -> World:
    """A small synthetic shop of random size, trend and strength of taste."""
    rng = np.random.default_rng(seed)
    users, items = int(rng.integers(250, 600)), int(rng.integers(150, 350))
    shop = SyntheticShop(
        users, items, int(rng.integers(15_000, 30_000)), seed=seed, signal=float(rng.uniform(0.2, 1)),
        drift=float(rng.uniform(0, 1.5)), days=int(rng.integers(60, 150)), n_clusters=8,
    )  # fmt: skip
    parts = [pd.DataFrame({
        "user": block.user_idx, "item": block.item_idx, "kind": block.kind, "time": block.time,
        "session": block.session,
    }) for block in shop.blocks()]  # fmt: skip
    return _world("synthetic", pd.concat(parts), users, items, rng)


def online_retail(seed: int) -> World:
    """Some hundred customers of the bundled purchases, some hundred of their items."""
    rng = np.random.default_rng(seed)
    rows = _sample("online-retail", "session_id")
    customers = rng.choice(rows["user"].unique(), 700, replace=False)
    rows = rows[rows["user"].isin(customers)]
    common = rows["item"].value_counts().index[:600]
    return _dense("online-retail", rows[rows["item"].isin(common)], rng)


def eshop(seed: int) -> World:
    """Some thousand sessions of the bundled browsing log: each its own user, dates without time."""
    rng = np.random.default_rng(seed)
    rows = _sample("eshop-2008", None)
    sessions = rng.choice(rows["user"].unique(), 6_000, replace=False)
    return _dense("eshop-2008", rows[rows["user"].isin(sessions)], rng, dated=True, by_session=True)


def _sample(name: str, session: str | None) -> pd.DataFrame:
    log = Dataset.open(f"sample:{name}").log.filter(pl.col("undone_time").is_null())
    code = pl.col("user_idx") if session is None else pl.col(session).cast(pl.String).rank("dense")
    return log.select(
        user="user_idx", item="item_idx", kind="kind", time=pl.col("time").to_physical(), session=code.cast(pl.Int64)
    ).to_pandas()


def _dense(name: str, rows: pd.DataFrame, rng: np.random.Generator, **options: bool) -> World:
    rows = rows.assign(user=pd.factorize(rows["user"])[0], item=pd.factorize(rows["item"])[0])
    return _world(name, rows, rows["user"].nunique(), rows["item"].nunique(), rng, **options)


def _world(
    name: str, rows: pd.DataFrame, n_users: int, n_items: int, rng: np.random.Generator, **options: bool
) -> World:
    """Ids shuffled, one item in eight launched late, an amount for every event."""
    rows = rows.assign(
        user=rng.permutation(n_users)[rows["user"]], item=rng.permutation(n_items)[rows["item"]],
        amount=np.exp(rng.normal(3, 0.8, len(rows))),
    )  # fmt: skip
    start, end = rows["time"].min(), rows["time"].max()
    launch = np.where(rng.random(n_items) < 1 / 8, rng.uniform(0.4, 0.95, n_items), 0.0)
    rows = rows[rows["time"] >= start + (end - start) * launch[rows["item"]]]
    rows = rows.sort_values(["user", "time"], kind="stable").reset_index(drop=True)
    return World(name, rows, n_users, n_items, **options)


def a_cut(world: World, rng: np.random.Generator, hour: float = 4.0) -> int:
    """A random day of the log's third quarter, at an hour when shops sleep."""
    start, end = int(world.rows["time"].min()), int(world.rows["time"].max())
    day = int(start + (end - start) * rng.uniform(0.55, 0.8)) // DAY * DAY
    return day + (0 if world.dated else int(hour * HOUR))


def sides(world: World, at: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows before the cut, and rows of sessions that begin after it."""
    rows = world.rows
    train = rows[rows["time"] < at]
    begun = rows.groupby(["user", "session"])["time"].transform("min")
    return train, rows[(rows["time"] >= at) & (begun >= at)]


def setup(world: World, at: int | None, train: pd.DataFrame, test: pd.DataFrame, **declared: object) -> Setup:
    """A set-up of two frames; the log is the world's."""
    return Setup(
        world.events(train), world.events(test), at, log=world.events(world.rows),
        train_session=train["session"].to_numpy(), test_session=test["session"].to_numpy(), **declared,  # type: ignore[arg-type]
    )  # fmt: skip


def careful(world: World, rng: np.random.Generator) -> Setup:
    """Everything an analyst can declare, done right."""
    at = a_cut(world, rng)
    train, test = sides(world, at)
    core = CoreFilter(int(rng.integers(0, 4)), int(rng.integers(0, 6)))
    train = k_core(train, core)
    test = test[test["item"].isin(train["item"])]
    if not world.by_session:
        test = test[test["user"].isin(train["user"])]
    made = setup(world, at, train, test, core=core)
    log = known_at(made.train, at)
    arms = [popularity(log), recent_popularity(log, at, float(rng.uniform(2, 40)))]
    scores = arms[rng.integers(2)].item_scores
    record, joined = prices(world, rng), test[["item", "time"]]
    late = train[train["time"] >= train["time"].quantile(0.8)]
    return replace(
        made,
        popularity=np.log1p(scores) if rng.random() < 0.5 else scores,
        joins=(join(pd.merge_asof(joined.sort_values("time"), record, on="time", by="item"), record),),
        fitted=(
            FittedStatistics(
                "amount", train["amount"].to_numpy(), test["amount"].to_numpy(), mean=float(train["amount"].mean()),
                std=float(train["amount"].std()), low=float(train["amount"].min()), high=float(train["amount"].max()),
            ),
            FittedStatistics(
                "item", train["item"].to_numpy(), test["item"].to_numpy(), vocabulary=frozenset(train["item"].tolist())
            ),
        ),
        features=(labelled(world, train, test, rng), next_item(world, test, rng)),
        candidates=np.bincount(made.train.item_idx, minlength=world.n_items) > 0,
        training_negatives=negatives(train, world.n_items, rng, avoid=train),
        tuned_on=world.events(late),
        fit=(lambda whole, now: recent_popularity(known_at(whole, now), now))
        if rng.random() < 0.5
        else (lambda whole, now: item_knn(known_at(whole, now), 20)),
        protocol=ScoringProtocol(lambda model: hits(model, made, rng_of(at)), K / (N_NEGATIVES + 1), asked(made)),
    )  # fmt: skip


def k_core(rows: pd.DataFrame, core: CoreFilter) -> pd.DataFrame:
    """Rows of users and items with enough events, again and again until nothing changes."""
    while True:
        users, items = rows["user"].value_counts(), rows["item"].value_counts()
        keep = rows["user"].map(users).ge(core.min_user_events) & rows["item"].map(items).ge(core.min_item_events)
        if keep.all():
            return rows
        rows = rows[keep]


def prices(world: World, rng: np.random.Generator) -> pd.DataFrame:
    """item, time, value: each item's price at the start of the log and at one to six random changes."""
    start, end = int(world.rows["time"].min()), int(world.rows["time"].max())
    item = np.repeat(np.arange(world.n_items), rng.integers(1, 7, world.n_items))
    time = rng.integers(start, end, len(item))
    first = pd.Series(item).duplicated().to_numpy()
    time[~first] = start - DAY
    value = np.round(np.exp(rng.normal(3, 1, len(item))), 2)
    table = pd.DataFrame({"item": item, "time": time, "value": value})
    return table.sort_values("time", kind="stable").reset_index(drop=True)


def join(joined: pd.DataFrame, record: pd.DataFrame) -> PropertyJoin:
    """What an analyst declares of a join."""
    return PropertyJoin(
        "price",
        pl.from_pandas(joined[["item", "time", "value"]]).rename({"item": "item_id"}),
        pl.from_pandas(record).rename({"item": "item_id", "time": "valid_from"}),
    )


def labelled(world: World, train: pd.DataFrame, test: pd.DataFrame, rng: np.random.Generator) -> Features:
    """Test events as ones beside random pairs as zeros; columns: the item's and the user's events in train."""
    pairs = one_zero(world, test, rng)
    items, users = train["item"].value_counts(), train["user"].value_counts()
    columns = {
        "item_events": pairs["item"].map(items).fillna(0).to_numpy(float),
        "user_events": pairs["user"].map(users).fillna(0).to_numpy(float),
    }
    return Features(columns, pairs["label"].to_numpy())


def one_zero(world: World, test: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """user, item, label: what was done, and as many random pairs that were not."""
    ones = test[["user", "item"]].drop_duplicates().sample(frac=1, random_state=int(rng.integers(2**31)))[:3000]
    zeros = ones.assign(item=rng.integers(0, world.n_items, len(ones)))
    key = zeros["user"] * world.n_items + zeros["item"]
    zeros = zeros[~key.isin(world.rows["user"] * world.n_items + world.rows["item"])]
    return pd.concat([ones.assign(label=1), zeros.assign(label=0)], ignore_index=True)


def next_item(world: World, test: pd.DataFrame, rng: np.random.Generator) -> Features:
    """The item to be found at each test event; columns: the hour, and the item the user had before."""
    del world, rng
    before = test.groupby("user")["item"].shift(1).fillna(-1).to_numpy(float)
    hour = (test["time"] % DAY / HOUR).to_numpy(float)
    return Features({"hour": hour, "item_before": before}, test["item"].to_numpy(), item_target=True)


def negatives(rows: pd.DataFrame, n_items: int, rng: np.random.Generator, *, avoid: pd.DataFrame) -> np.ndarray:
    """(n, 2): four items a train event, uniform or by popularity, none that the user has in `avoid`."""
    users = np.repeat(rows["user"].to_numpy(np.int64), 4)
    if rng.random() < 0.5:
        items = rng.integers(0, n_items, len(users))
    else:
        share = (np.bincount(rows["item"], minlength=n_items) + 1.0) ** 0.75
        items = rng.choice(n_items, len(users), p=share / share.sum())
    had = (avoid["user"].to_numpy(np.int64) * n_items + avoid["item"].to_numpy(np.int64)).astype(np.int64)
    free = ~np.isin(users * n_items + items, had)
    return np.stack([users[free], items[free]], axis=1)


def asked(made: Setup) -> int:
    """Users that the sampled protocol asks."""
    return min(400, int((made.test.counts > 0).sum()))


def rng_of(seed: int) -> np.random.Generator:
    """The same draws whatever model is scored."""
    return np.random.default_rng(seed % 2**32)


def hits(model: object, made: Setup, rng: np.random.Generator) -> float:
    """hit@10 of each user's first test item among 99 random others, ties at random."""
    users = np.flatnonzero(made.test.counts > 0)[: asked(made)]
    scores = model.scores(made.train, users, made.at or 0)  # type: ignore[attr-defined]
    target = made.test.item_idx[made.test.offsets[users]]
    others = rng.integers(0, made.train.n_items - 1, (len(users), N_NEGATIVES))
    others += others >= target[:, None]
    own = np.take_along_axis(scores, target[:, None].astype(np.int64), axis=1)
    rivals = np.take_along_axis(scores, others, axis=1)
    above, equal = (rivals > own).sum(axis=1), (rivals == own).sum(axis=1)
    return float((above + np.floor(rng.random(len(users)) * (equal + 1)) < K).mean())


WORLDS = {"synthetic": synthetic, "online-retail": online_retail, "eshop-2008": eshop}
