"""Mistakes in what is computed, as an analyst makes them: joins, counts, statistics, negatives, candidates, protocols.

Each takes a careful set-up and does one thing wrongly. Nothing here knows how a guard looks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from data.interactions import Interactions
from data.split import known_at
from recsys.evaluation.baselines import FixedList, item_knn, popularity, recent_popularity
from recsys.leakage import Features, FittedStatistics, ScoringProtocol, Setup
from tests.benchmarks.planted_leaks import PLANTS_OF_TIME, Plant
from tests.benchmarks.planted_worlds import (
    DAY,
    HOUR,
    N_NEGATIVES,
    K,
    World,
    asked,
    careful,
    join,
    negatives,
    one_zero,
    prices,
    rng_of,
    sides,
)


def joined_by_item_alone(world: World, rng: np.random.Generator) -> Setup | None:
    """Each event gets its item's latest price, the nearest in time, the next one, or that of a clock that is ahead."""
    made, test = _clean(world, rng)
    record = prices(world, rng)
    rows = test[["item", "time"]].sort_values("time")
    form = rng.integers(4)
    if form == 0:
        joined = rows.merge(record.drop_duplicates("item", keep="last")[["item", "value"]], on="item")
    elif form == 3:
        ahead = rows.assign(time=rows["time"] + int(rng.uniform(0.5, 10) * DAY))
        joined = pd.merge_asof(ahead, record, on="time", by="item").assign(time=rows["time"].to_numpy())
    else:
        direction = ("nearest", "forward")[form - 1]
        joined = pd.merge_asof(rows, record, on="time", by="item", direction=direction)
    right = pd.merge_asof(rows, record, on="time", by="item")
    wrong = (
        joined.sort_values(["time", "item"])["value"].to_numpy()
        != right.sort_values(["time", "item"])["value"].to_numpy()
    )
    return replace(made, joins=(join(joined, record),)) if wrong.sum() >= 3 else None


def popularity_of_the_whole_log(world: World, rng: np.random.Generator) -> Setup | None:
    """Counts of everything, of recent days as of today, or up to some days after the cut; as counts, logs or roots."""
    made, _ = _clean(world, rng)
    whole, at = _log(made), _at(made)
    end = int(whole.time.max())
    form = rng.integers(3)
    if form == 0:
        scores = popularity(whole).item_scores
    elif form == 1:
        scores = recent_popularity(whole, end, float(rng.uniform(5, 60))).item_scores
    else:
        until = at + int(rng.uniform(0.1, 1.0) * (end - at))
        scores = recent_popularity(whole.where(whole.time < until), until, float(rng.uniform(5, 60))).item_scores
    shape = (np.asarray, np.log1p, np.sqrt)[rng.integers(3)]
    return replace(made, popularity=shape(scores.astype(np.float64)))


def negatives_outside_train_and_test(world: World, rng: np.random.Generator) -> Setup | None:
    """Training negatives are items the user never touched in the whole log (as PFedRec and FedRAP draw them)."""
    if world.by_session:
        return None
    made, _ = _clean(world, rng)
    train = _frame(made.train)
    return replace(made, training_negatives=negatives(train, world.n_items, rng, avoid=_frame(_log(made))))


def tuned_on_what_is_tested(world: World, rng: np.random.Generator) -> Setup | None:
    """The settings are those that did best on the test, on a part of it, or on a validation window that overlaps it."""
    made, _ = _clean(world, rng)
    whole, at = _log(made), _at(made)
    form = rng.integers(3)
    if form == 0:
        used = made.test
    elif form == 1:
        used = made.test.where(rng.random(made.test.n_events) < 10 ** rng.uniform(-2, 0))
    else:
        used = whole.where((whole.time >= at - 7 * DAY) & (whole.time < at + int(rng.uniform(0.5, 5) * DAY)))
    return replace(made, tuned_on=used) if used.n_events and int(used.time.max()) >= at else None


def scaled_by_the_whole_log(world: World, rng: np.random.Generator) -> Setup | None:
    """Mean and spread, bounds, or the vocabulary are those of all rows, or of the test's own."""
    made, test = _clean(world, rng)
    train, _ = sides(world, _at(made))
    inside, outside = train["amount"].to_numpy(), test["amount"].to_numpy()
    every = (np.concatenate([inside, outside]), outside)[rng.integers(2)]
    form = rng.integers(3)
    if form == 0:
        fitted = FittedStatistics("amount", inside, outside, mean=float(every.mean()), std=float(every.std()))
    elif form == 1:
        if every.max() == inside.max() and every.min() == inside.min():
            return None
        fitted = FittedStatistics("amount", inside, outside, low=float(every.min()), high=float(every.max()))
    else:
        known, new = set(train["item"].tolist()), set(world.rows["item"].tolist())
        words = new - known
        if not words & set(test["item"].tolist()):
            return None
        fitted = FittedStatistics(
            "item", train["item"].to_numpy(), test["item"].to_numpy(), vocabulary=frozenset(known | words)
        )
    return replace(made, fitted=(*made.fitted, fitted))


def target_among_the_columns(world: World, rng: np.random.Generator) -> Setup | None:
    """A column counts the event it should predict, is filled for what was done only, or describes the next item."""
    made, test = _clean(world, rng)
    form = rng.integers(4)
    if form < 2:
        pairs = one_zero(world, test, rng)
        if form == 0:  # how often the user had the item, in the whole log
            counts = world.rows.groupby(["user", "item"]).size()
            column = (
                pd.Series(list(zip(pairs["user"], pairs["item"], strict=True))).map(counts).fillna(0).to_numpy(float)
            )
        else:  # the amount paid, which only those who bought have
            paid = np.exp(rng.normal(3, 1, len(pairs)))
            column = np.where(pairs["label"] == 1, paid, 0.0)
        noise = rng.normal(size=len(pairs))
        return replace(made, features=(Features({"noise": noise, "column": column}, pairs["label"].to_numpy()),))
    item = test["item"].to_numpy()
    described = np.exp(rng.normal(3, 1, world.n_items))[item]
    if form == 3:  # rounded, and now and then missing
        described = np.where(rng.random(len(item)) < 0.1, np.nan, np.round(described, 1))
    return replace(made, features=(*made.features, Features({"price": described}, item, item_target=True)))


def model_of_the_whole_log(world: World, rng: np.random.Generator) -> Setup | None:
    """The pipeline forgets the cut somewhere: in its trend, its similarities or its weights."""
    made, _ = _clean(world, rng)

    def trend(whole: Interactions, now: int) -> FixedList:
        return recent_popularity(whole, int(whole.time.max()))

    def blurred(whole: Interactions, now: int) -> FixedList:  # up to a day too many
        return recent_popularity(whole.where(whole.time < now + 2 * DAY), now)

    def weighted(whole: Interactions, now: int) -> FixedList:
        known = popularity(known_at(whole, now)).item_scores
        rarity = 1 / np.log(2 + np.bincount(whole.item_idx, minlength=whole.n_items))
        return FixedList("weighted", (known * rarity).astype(np.float32))

    def similar(whole: Interactions, now: int) -> object:
        return item_knn(whole, 20)

    return replace(made, fit=(trend, blurred, weighted, similar)[rng.integers(4)])  # type: ignore[arg-type]


def only_what_the_test_has(world: World, rng: np.random.Generator) -> Setup | None:
    """Only items that sell in the test's days can be listed."""
    made, _ = _clean(world, rng)
    soon = made.test.time < _at(made) + int(rng.uniform(0.5, 5) * DAY)
    made = replace(made, test=made.test.where(soon), train_session=None, test_session=None)
    sold = np.bincount(made.test.item_idx, minlength=world.n_items)
    known = np.bincount(made.train.item_idx, minlength=world.n_items) > 0
    listed = (sold > 0) | (known & (rng.random(world.n_items) < rng.uniform(0, 0.3)))
    lost = known & (sold == 0)
    return replace(made, candidates=listed) if lost.sum() >= 10 else None


def candidates_without_the_answer(world: World, rng: np.random.Generator) -> Setup | None:
    """A hundred random items that the user never had, and the user's own test item is forgotten, for some or all."""
    made, _ = _clean(world, rng)
    users = np.flatnonzero(made.test.counts > 0)
    rows = []
    for user in users:
        target = made.test.item_idx[made.test.of(int(user))]
        drawn = rng.choice(np.setdiff1d(np.arange(world.n_items), target), 50, replace=False)
        rows.append(drawn)
    sampled = np.stack(rows)
    right = rng.random(len(users)) < rng.uniform(0, 0.4)
    sampled[right, -1] = made.test.item_idx[made.test.offsets[users[right]]]
    return replace(made, candidates=sampled, candidate_users=users)


def protocol_that_helps_the_target(world: World, rng: np.random.Generator) -> Setup | None:
    """Ties go to the target, the target stands first, or negatives drawn twice are dropped from the list."""
    made, _ = _clean(world, rng)
    seed, form = _at(made), int(rng.integers(3))

    def score(model: object) -> float:
        draws = rng_of(seed)
        users = np.flatnonzero(made.test.counts > 0)[: asked(made)]
        scores = model.scores(made.train, users, seed)  # type: ignore[attr-defined]
        found = 0
        for row, user in enumerate(users):
            target = int(made.test.item_idx[made.test.offsets[user]])
            if form == 2:
                few = draws.permutation(world.n_items)[:40]
                others = [i for i in dict.fromkeys(draws.choice(few, N_NEGATIVES).tolist()) if i != target]
            else:
                others = [i for i in draws.permutation(world.n_items)[: N_NEGATIVES + 1].tolist() if i != target]
            if form == 0:
                found += int((scores[row, others] > scores[row, target]).sum() < K)
            else:
                listed = [target, *others]
                best = sorted(listed, key=lambda i: -float(scores[row, i]))[:K]
                found += target in best
        return found / len(users)

    return replace(made, protocol=ScoringProtocol(score, K / (N_NEGATIVES + 1), asked(made)))


def _clean(world: World, rng: np.random.Generator) -> tuple[Setup, pd.DataFrame]:
    made = careful(world, rng)
    _, test = sides(world, _at(made))
    return made, test


def _at(made: Setup) -> int:
    assert made.at is not None
    return made.at


def _log(made: Setup) -> Interactions:
    assert made.log is not None
    return made.log


def _frame(events: Interactions) -> pd.DataFrame:
    return pd.DataFrame({"user": events.user_idx, "item": events.item_idx, "hour": events.time // HOUR})


PLANTS_OF_COMPUTING: dict[str, Plant] = {
    "stale_property": joined_by_item_alone,
    "future_popularity": popularity_of_the_whole_log,
    "negatives_know_test": negatives_outside_train_and_test,
    "tuned_on_test": tuned_on_what_is_tested,
    "fitted_on_test": scaled_by_the_whole_log,
    "target_in_feature": target_among_the_columns,
    "model_reads_future": model_of_the_whole_log,
    "candidates_from_test": only_what_the_test_has,
    "positives_left_out": candidates_without_the_answer,
    "above_chance": protocol_that_helps_the_target,
}
PLANTS: dict[str, Callable[[World, np.random.Generator], Setup | None]] = PLANTS_OF_TIME | PLANTS_OF_COMPUTING
