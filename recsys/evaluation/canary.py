"""The canary: a model trained on shuffled items must know no more of its devices than popularity does, or chance.

Every event of what a model and its devices may learn from gets the item of another event (of the same kind, so that
popularity stays what it was); what it is asked about stays true. A figure above popularity then comes from elsewhere:
the answers reach the model beside the events, or the measure is kind to it. What it cannot see is an answer that lies
among the shuffled events themselves, such as a purchase on both sides of a cut: permuting hides it with all the rest.
It knows no trainer; it is handed one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from data.errors import DataError
from data.interactions import Interactions
from data.split import Split
from recsys.evaluation.evaluation import Evaluation, evaluate
from recsys.evaluation.recommender import Recommender
from recsys.evaluation.statistics import RESAMPLES, PairedDifference, paired_difference

Floats = npt.NDArray[np.float64]
_SHUFFLE = 11
PERMUTATIONS = 4
"""Trainings on shuffled items. Fewer say little of how lucky a list can be."""


@dataclass(frozen=True, eq=False)
class Canary:
    """Figures of each device, nan where there is none, (n,) float64.

    permuted: of the model trained on shuffled items, a mean over permutations; popularity, chance: what it may reach.
    excess: permuted − the better of the two, paired over devices. luck: half-width of what one list more or less lucky
    than another makes of that, the same for all devices: a 95 % prediction interval for popularity's list, from the
    spread of the permutations.
    """

    permuted: Floats
    popularity: Floats
    chance: Floats
    excess: PairedDifference
    luck: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the excess over other devices and other permutations."""
        excess = self.excess
        low, high = excess.difference - excess.low, excess.high - excess.difference
        return excess.difference - float(np.hypot(low, self.luck)), excess.difference + float(np.hypot(high, self.luck))

    @property
    def alarm(self) -> bool:
        """Whether the model certainly knows more than it can: the interval is above 0."""
        return self.interval[0] > 0


@dataclass(frozen=True)
class Chance:
    """A new random order for every device."""

    seed: int
    name: str = "chance"

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        """Score at random in [0, 1), (len(users), n_items) float32."""
        rows = [np.random.default_rng([self.seed, int(user)]).random(histories.n_items, np.float32) for user in users]
        return np.stack(rows) if rows else np.empty((0, histories.n_items), dtype=np.float32)


def canary(
    split: Split,
    fit: Callable[[Interactions], Recommender],
    *,
    histories: Interactions | None = None,
    now: int | None = None,
    users: npt.NDArray[np.int64] | None = None,
    permutations: int = PERMUTATIONS,
    k: int = 20,
    part: str = "all",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Canary:
    """Train on shuffled items, ask about what truly followed, compare by NDCG@k.

    fit: from a log to a recommender, as it is done without the canary; called once a permutation. histories, now,
    users, part: as in evaluate; histories are shuffled too. Raises DataError for fewer than two permutations.
    """
    if permutations < 2:
        raise DataError(f"permutations={permutations}: must be 2 or more")
    figures: list[Evaluation] = []
    name = ""
    for number in range(permutations):
        rng = np.random.default_rng([seed, _SHUFFLE, number])
        train = shuffle_items(split.train, rng)
        known = train if histories is None or histories is split.train else shuffle_items(histories, rng)
        model = fit(train)
        name = model.name
        levels = [Chance(seed)] if number == 0 else []
        shuffled_split = replace(split, train=train)
        figures.append(
            evaluate(
                [model, *levels], shuffled_split, histories=known, users=users, k=k, now=now, bootstrap=2, seed=seed
            )
        )
    metric = f"ndcg@{k}"
    each = np.stack([number.column(name, metric, part) for number in figures])
    popularity, chance = (figures[0].column(level, metric, part) for level in ("popularity", "chance"))
    level = popularity if np.nanmean(popularity) >= np.nanmean(chance) else chance
    permuted = each.mean(axis=0)
    spread = float(np.nanmean(each, axis=1).std(ddof=1)) * np.sqrt(1 + 1 / permutations)
    luck = float(stdtrit(permutations - 1, 0.975)) * spread
    return Canary(
        permuted, popularity, chance, paired_difference(permuted, level, resamples=resamples, seed=seed), luck
    )


def shuffle_items(log: Interactions, rng: np.random.Generator) -> Interactions:
    """Deal the log's items out anew among the events of each kind; users, times, kinds and counts stay."""
    items = log.item_idx.copy()
    for kind in np.unique(log.kind):
        rows = np.flatnonzero(log.kind == kind)
        items[rows] = items[rng.permutation(rows)]
    return replace(log, item_idx=items)
