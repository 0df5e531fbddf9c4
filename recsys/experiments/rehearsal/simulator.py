"""Shoppers who click, for rehearsing experiments: the synthetic shop's tastes and a model of attention.

Assumed, not measured: nothing found here says what real shoppers would do.

What is assumed of everybody:

- A shopper looks at position p of a list with chance p^(−decay), whatever stands there, and clicks what they looked at
  with the item's own chance (position-based model: Richardson, Dominowska and Ragno 2007; Craswell et al. 2008).
- That chance is known of every shopper and item: odds fall with the distance of the item's score, in the shop's true
  tastes, from the shopper's best one. Shoppers differ in how readily they click at all.
- Sessions are independent given the shopper; nobody learns, tires or remembers; a click says nothing of the next one.
- A click becomes a purchase with one chance for all, at the item's price.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.errors import DataError
from data.synthetic import SyntheticShop
from recsys.search.ranking import rank

Floats = npt.NDArray[np.float64]
Items = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ClickModel:
    """A model of clicks (position decay, then liking).

    decay: of attention by position. best_click: chance of a click on a shopper's best item, once seen, of the typical
    shopper. fall: how much the log-odds fall for one unit of score. eagerness: standard deviation of a shopper's own
    log-odds around that. buys: share of clicks that become purchases.
    """

    decay: float = 1.0
    best_click: float = 0.3
    fall: float = 0.5
    eagerness: float = 1.0
    buys: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.best_click < 1 and 0 <= self.buys <= 1 and min(self.decay, self.fall, self.eagerness) >= 0):
            raise DataError(f"{self}: best_click must be above 0 and below 1, buys 0..1, the others 0 or more")


@dataclass(frozen=True, eq=False)
class Responses:
    """The responses to lists: clicked, bought (batch, k) bool; revenue (batch,)."""

    clicked: Flags
    bought: Flags
    revenue: Floats


@dataclass(frozen=True, eq=False)
class Shoppers:
    """A crowd with known tastes. scores (n_shoppers, n_items) float32: the shop's truth, which no model is told.

    chance (n_shoppers, n_items) float32: of a click on an item that was looked at; price (n_items,).
    """

    scores: npt.NDArray[np.float32]
    chance: npt.NDArray[np.float32]
    price: Floats
    habits: ClickModel

    @staticmethod
    def of(shop: SyntheticShop, habits: ClickModel | None = None, *, seed: int = 0) -> Shoppers:
        """Take everybody in a synthetic shop, at the middle of its log."""
        habits = habits or ClickModel()
        truth = shop.truth()
        middle = truth.start + shop.days * 43_200_000_000
        scores = truth.scores(np.arange(shop.n_users), middle)
        log_odds = habits.eagerness * np.random.default_rng((seed, shop.seed)).standard_normal((shop.n_users, 1))
        odds = np.log(habits.best_click / (1 - habits.best_click)) + log_odds
        behind = scores.max(axis=1, keepdims=True) - scores
        chance = 1 / (1 + np.exp(habits.fall * behind - odds))
        return Shoppers(scores, chance.astype(np.float32), truth.price, habits)

    def attention(self, k: int) -> Floats:
        """Compute the chance that each position is looked at, (k,)."""
        return np.asarray(np.arange(1, k + 1) ** -self.habits.decay)

    def click_chances(self, shoppers: npt.NDArray[np.int64], lists: Items) -> Floats:
        """Compute the chance of a click on each position of lists (batch, k), for shoppers (batch,): (batch, k)."""
        return np.asarray(self.chance[shoppers[:, None], lists] * self.attention(lists.shape[1]))

    def respond(self, shoppers: npt.NDArray[np.int64], lists: Items, rng: np.random.Generator) -> Responses:
        """Draw what the shoppers of one session each do with their lists."""
        clicked = rng.random(lists.shape) < self.click_chances(shoppers, lists)
        bought = clicked & (rng.random(lists.shape) < self.habits.buys)
        return Responses(clicked, bought, (bought * self.price[lists]).sum(axis=1))

    def ranker(self, error: float, k: int, *, seed: int) -> Items:
        """Make the lists of a ranker that knows each score but for a normal error, (n_shoppers, k).

        The error is of this size.

        Of one size and two seeds: equally good, different lists. Of one seed and two sizes: a model and a better one of
        its kind, which err in the same way.
        """
        if error < 0 or not 1 <= k <= self.scores.shape[1]:
            raise DataError(f"error={error}, k={k}: must be 0 or more, and 1..{self.scores.shape[1]}")
        rng = np.random.default_rng((seed, 7))
        lists = np.empty((len(self.scores), k), dtype=np.int32)
        for start in range(0, len(lists), 512):
            part = self.scores[start : start + 512]
            noisy = part + np.float32(error) * rng.standard_normal(part.shape, dtype=np.float32)
            lists[start : start + 512] = rank(noisy, k)
        return lists
