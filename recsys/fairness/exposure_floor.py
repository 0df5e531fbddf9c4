"""A floor under the tail's exposure, held by one price that reads nothing but aggregate exposure; and what it costs.

The price is the dual variable of the constraint "the tail has at least `floor` of all list places", followed online
(Balseiro, Lu and Mirrokni 2021): it is added to the score of tail items, rises while the tail is listed too rarely and
falls to 0 while it is listed enough. Only tail items that somebody chose lately have it: a price cannot make a list of
what nobody wants any good. It buys a place in the list, not a position: the list is then ordered without it.
Lists without a profile have none, since they are all one list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import ModelError
from data.interactions import Interactions
from recsys.evaluation.metrics import ndcg, ranked_hits
from recsys.evaluation.recommender import Recommender, model_scores
from recsys.evaluation.targets import Targets
from recsys.search.ranking import NEVER, best, sort_keys

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ExposureFloor:
    """The controller's constants. floor: least share of list places, 0..1.

    step: units of score that the price moves by a share of 1; most: that it never rises above, so that a floor that no
    price can reach stays a bounded cost. On Online Retail a price of .1 moves the share by .11, so each step makes up a
    quarter of what is missing. period: shoppers between two steps.
    """

    floor: float
    step: float = 0.25
    most: float = 2.0
    period: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.floor <= 1:
            raise ModelError(f"floor={self.floor}: must be 0..1")
        if not (self.step > 0 and self.most > 0 and self.period >= 1):
            raise ModelError(f"step={self.step}, most={self.most}, period={self.period}: must be above 0")

    def next_price(self, price: float, share: float) -> float:
        """Take one step of dual ascent. share: of the tail in the lists that were served at `price`, nan for none.

        >>> round(ExposureFloor(0.15).next_price(0.2, share=0.05), 3)
        0.225
        """
        if not np.isfinite(share):
            return price
        return float(np.clip(price + self.step * (self.floor - share), 0.0, self.most))


@dataclass(frozen=True)
class FloorCost:
    """A floor as it was held. share, share_before: of the tail with and without it, over the periods after the start.

    price: mean of those periods. ndcg, ndcg_before: means over their shoppers; loss: of the mean, as a share of it.
    prices, shares: of every period.
    """

    floor: float
    share: float
    share_before: float
    price: float
    ndcg: float
    ndcg_before: float
    prices: tuple[float, ...]
    shares: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Share of the mean NDCG that the floor costs; negative where it brings some."""
        return 1.0 - self.ndcg / self.ndcg_before

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, without the periods."""
        names = ("floor", "share", "share_before", "price", "ndcg", "ndcg_before", "loss")
        return {name: getattr(self, name) for name in names}


def priced_items(tail: npt.NDArray[np.bool_], trend: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Mark the tail items that have the price, (n_items,) bool: those with at least the tail's median trend."""
    if not tail.any():
        return tail
    return np.asarray(tail & (trend >= np.median(trend[tail])))


def hold_floor(
    model: Recommender,
    targets: Targets,
    histories: Interactions,
    now: int,
    *,
    tail: npt.NDArray[np.bool_],
    priced: npt.NDArray[np.bool_],
    control: ExposureFloor,
    k: int = 20,
    passes: int = 2,
    seed: int = 0,
) -> FloorCost:
    """Serve the warm shoppers in random order, period by period, and let the controller follow their exposure.

    tail: whose share is held; priced: that the price is added to, both (n_items,) bool. now: µs since 1970 UTC.
    passes: over all shoppers; figures are of the second half of the periods. Raises ModelError for fewer than two
    periods of shoppers with a history.
    """
    warm = np.flatnonzero(targets.warm)
    order = np.concatenate([np.random.default_rng([seed, at]).permutation(warm) for at in range(passes)])
    periods = [np.sort(order[at : at + control.period]) for at in range(0, len(order), control.period)]
    if len(periods) < 2:
        raise ModelError(f"floor: {len(warm)} shoppers with a history, must fill two periods of {control.period}")
    price, prices, rows = 0.0, [], []
    for period in periods:
        scores = model_scores(model, histories, targets.users[period], now, histories.n_items)
        keys = sort_keys(scores)
        keys[:, ~targets.candidates] = NEVER
        before = _served(best(keys, k), targets, period, tail)
        held = _served(priced_lists(scores, keys, priced, price, k), targets, period, tail)
        rows.append((held[0].mean(), before[0].mean(), held[1].mean(), before[1].mean()))
        prices.append(price)
        price = control.next_price(price, float(held[0].mean()))
    later = slice(len(periods) // 2, None)
    share, share_before, gain, gain_before = np.average(rows[later], axis=0, weights=[len(p) for p in periods[later]])
    return FloorCost(
        control.floor, float(share), float(share_before), float(np.mean(prices[later])), float(gain),
        float(gain_before), tuple(prices), tuple(float(row[0]) for row in rows),
    )  # fmt: skip


def cost_curve(costs: Sequence[FloorCost]) -> list[dict[str, Any]]:
    """List floors and what each costs, lowest first."""
    return [cost.to_dict() for cost in sorted(costs, key=lambda cost: cost.floor)]


def priced_lists(
    scores: npt.NDArray[np.float32],
    keys: npt.NDArray[np.int64],
    priced: npt.NDArray[np.bool_],
    price: float,
    k: int,
) -> npt.NDArray[np.int32]:
    """List the best k with the price added, in the order without it, (batch, k) int32, −1 where a list ends early.

    The price buys an item its place in the list, not a position: what the shopper wants most still comes first.
    keys: sort_keys of the scores, NEVER where an item must not be listed.
    """
    raised = sort_keys(scores + np.where(priced, np.float32(price), np.float32(0.0)))
    raised[keys == NEVER] = NEVER
    listed = best(raised, k)
    own = np.where(listed >= 0, np.take_along_axis(keys, np.maximum(listed, 0), axis=1), NEVER)
    return np.asarray(np.take_along_axis(listed, np.argsort(own, axis=1)[:, ::-1], axis=1))


def _served(
    listed: npt.NDArray[np.int32], targets: Targets, rows: npt.NDArray[np.int64], tail: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Measure the tail's share of each list, and its NDCG."""
    k = listed.shape[1]
    wanted = [targets.items[targets.offsets[row] : targets.offsets[row + 1]] for row in rows]
    sizes = np.array([len(items) for items in wanted])
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    marks = ranked_hits(listed, offsets, np.concatenate(wanted))
    there = listed >= 0
    share = (tail[np.maximum(listed, 0)] & there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.asarray(share), ndcg(marks, sizes, k)
