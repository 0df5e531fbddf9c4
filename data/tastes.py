"""The hidden side of the synthetic shop: who likes what, what things cost, which trend rises when.

Nothing here happens to anybody: data/synthetic.py lets people shop in this world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.interactions import MICROS_PER_DAY

TREND_STEPS = 64
"""Steps in which popularity moves over the whole log."""
TASTE_DIM = 16
STAPLES = 3
MAIN, SECOND, ANY = 0.60, 0.25, 0.15
"""Where a taste-led view looks: the two clusters of the taste, or the whole catalogue."""
SHARPNESS = 4.0
"""How sharply a taste chooses among the candidates of a view."""

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.int32]


@dataclass(frozen=True)
class GroundTruth:
    """The knowledge of a perfect model; nothing of it is in the events.

    item_vectors (n_items, TASTE_DIM) float32 of length 1; item_cluster (n_items,) int32; price (n_items,);
    consumable (n_items,) bool; base, peak, width (n_items,): usual popularity, middle and spread of the trend as
    fractions of the log, and boost how far it lifts.
    user_vectors (n_tastes, TASTE_DIM) float32 of length 1; main, second (n_tastes,) int32 clusters; staples
    (n_tastes, STAPLES) int32. taste (2, n_users) int32: the row of each user's taste before and from changed_at
    (µs) on; the same row twice for who does not change.
    group (n_users,) int32; activity (n_users,) relative number of sessions. start (µs) and days of the log.
    """

    item_vectors: Floats
    item_cluster: Index
    price: Doubles
    consumable: npt.NDArray[np.bool_]
    base: Doubles
    peak: Doubles
    width: Doubles
    boost: float
    user_vectors: Floats
    main: Index
    second: Index
    staples: Index
    taste: Index
    changed_at: int
    group: Index
    activity: Doubles
    start: int
    days: int

    def popularity(self, steps: Ints) -> Doubles:
        """Compute popularity in the given steps 0..TREND_STEPS − 1. (len(steps), n_items) float64, rows sum to 1."""
        now = (steps[:, None] + 0.5) / TREND_STEPS
        lift = np.exp(-0.5 * ((now - self.peak) / self.width) ** 2)
        share = self.base * (1 + self.boost * lift)
        return np.asarray(share / share.sum(axis=1, keepdims=True))

    def popularity_at(self, time: int) -> Doubles:
        """Compute popularity at a time (µs), (n_items,) float64 that sums to 1."""
        step = (time - self.start) * TREND_STEPS // (self.days * MICROS_PER_DAY)
        return np.asarray(self.popularity(np.array([min(max(step, 0), TREND_STEPS - 1)]))[0])

    def scores(self, users: Ints, time: int) -> Floats:
        """Score items by the log of the chance that a taste-led view at a time (µs) is of the item.

        (len(users), n_items) float32.

        Up to a constant per user; staples are left out, and the choice among candidates counts as a softmax.
        """
        share = self.popularity_at(time)
        taste = self.taste[int(time >= self.changed_at), users]
        mass = np.bincount(self.item_cluster, weights=share)[self.item_cluster]
        main = self.item_cluster == self.main[taste, None]
        second = self.item_cluster == self.second[taste, None]
        chance = share * ((MAIN * main + SECOND * second) / mass + ANY)
        fit = self.user_vectors[taste] @ self.item_vectors.T
        return np.asarray(np.log(chance) + SHARPNESS * fit, dtype=np.float32)


@dataclass(frozen=True)
class ClusterPopularity:
    """Cumulated popularity with each cluster's items side by side, so that a stretch of it is a cluster.

    order (n_items,) int32: items by cluster. cumulated (rows · n_items,): row r rises from r to r + 1.
    edges (rows, n_clusters + 1), 0..1: where each cluster begins in a row, and the end.
    """

    order: Index
    cumulated: Doubles
    edges: Doubles

    @staticmethod
    def of(share: Doubles, cluster: Index, n_clusters: int) -> ClusterPopularity:
        """Cumulate share (rows, n_items), each row at least 0."""
        order = np.argsort(cluster, kind="stable").astype(np.int32)
        cumulated = np.cumsum(share[:, order], axis=1)
        cumulated /= cumulated[:, -1:]
        begins = np.searchsorted(cluster[order], np.arange(n_clusters + 1))
        edges = np.concatenate((np.zeros((len(share), 1)), cumulated), axis=1)[:, begins]
        return ClusterPopularity(order, (cumulated + np.arange(len(share))[:, None]).ravel(), edges)

    def draw(self, chance: Doubles, row: Ints, cluster: Ints) -> Index:
        """Draw items (…) int32 for uniform chances (…) in 0..1, in the given rows and clusters (−1: any)."""
        low = np.where(cluster < 0, 0.0, self.edges[row, cluster])
        high = np.where(cluster < 0, 1.0, self.edges[row, cluster + 1])
        n = len(self.order)
        place = np.searchsorted(self.cumulated, row + low + (high - low) * chance, side="right") - row * n
        return np.asarray(self.order[np.clip(place, 0, n - 1)])


def draw_truth(
    seed: tuple[int, ...],
    *,
    n_users: int,
    n_items: int,
    n_clusters: int,
    start: int,
    days: int,
    drift: float,
    group_shares: tuple[float, ...],
    group_activity: tuple[float, ...],
    change_share: float,
    change_at: float,
) -> GroundTruth:
    """Draw a world from the arguments of SyntheticShop; seed is that of numpy.random.default_rng."""
    rng = np.random.default_rng(seed)
    n, k = n_items, n_clusters
    cluster = (rng.permutation(n) % k).astype(np.int32)
    centres = _unit(rng.standard_normal((k, TASTE_DIM)))
    group = rng.choice(len(group_shares), n_users, p=group_shares).astype(np.int32)
    leanings = 0.4 / k + 0.6 * rng.dirichlet(np.full(k, 0.5), len(group_shares))
    base = rng.permutation(np.arange(1.0, n + 1) ** -0.8)
    consumable = rng.random(n) < 0.2
    # A cluster without consumables still has staples: its other items.
    pantry = ClusterPopularity.of((base * (consumable + 1e-9))[None, :], cluster, k)
    before = _tastes(rng, _choose(rng, leanings, group), centres, pantry)
    # A stream of its own: people who change leave the world before their change as it is without them.
    later = np.random.default_rng((*seed, 1))
    changing = later.permutation(n_users)[: round(change_share * n_users)]
    elsewhere = (before[0][changing] + later.integers(1, k, len(changing))) % k
    after = _tastes(later, elsewhere, centres, pantry)
    taste = np.tile(np.arange(n_users, dtype=np.int32), (2, 1))
    taste[1, changing] = np.arange(n_users, n_users + len(changing))
    return GroundTruth(
        item_vectors=_unit(centres[cluster] + 0.15 * rng.standard_normal((n, TASTE_DIM))),
        item_cluster=cluster,
        price=np.asarray(np.round(np.exp(rng.normal(3.0, 0.8, n)), 2), dtype=np.float64),
        consumable=consumable,
        base=base,
        peak=rng.uniform(-0.2, 1.2, n),
        width=np.exp(rng.normal(np.log(0.08), 0.5, n)),
        boost=8.0 * drift,
        user_vectors=np.concatenate((before[3], after[3])),
        main=np.concatenate((before[0], after[0])).astype(np.int32),
        second=np.concatenate((before[1], after[1])).astype(np.int32),
        staples=np.concatenate((before[2], after[2])),
        taste=taste,
        changed_at=start + int(change_at * days * MICROS_PER_DAY),
        group=group,
        activity=np.array(group_activity)[group] * np.exp(rng.normal(0.0, 0.8, n_users)),
        start=start,
        days=days,
    )


def _tastes(
    rng: np.random.Generator, main: Ints, centres: Floats, pantry: ClusterPopularity
) -> tuple[Ints, Ints, Index, Floats]:
    """Draw tastes around main clusters.

    main, second (n,) clusters, staples (n, STAPLES) and unit vectors (n, TASTE_DIM) around main (n,) clusters.
    """
    second = (main + rng.integers(1, len(centres), len(main))) % len(centres)
    place = np.zeros((len(main), STAPLES), dtype=np.int64)
    staples = pantry.draw(rng.random(place.shape), place, place + main[:, None])
    noise = 0.1 * rng.standard_normal((len(main), TASTE_DIM))
    return main, second, staples, _unit(0.7 * centres[main] + 0.3 * centres[second] + noise)


def _choose(rng: np.random.Generator, chances: Doubles, row: Index) -> Ints:
    """Choose one column per entry of row, drawn with the chances of that row (rows, columns)."""
    cumulated = np.cumsum(chances, axis=1) / chances.sum(axis=1, keepdims=True)
    place = np.searchsorted((cumulated + np.arange(len(chances))[:, None]).ravel(), row + rng.random(len(row)))
    return np.asarray(np.clip(place - row * chances.shape[1], 0, chances.shape[1] - 1), dtype=np.int64)


def _unit(vectors: Doubles) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)
