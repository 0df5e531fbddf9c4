"""A device chooses the half-life and λ of its profile by its own last baskets; nothing about the choice leaves it.

The last baskets are held out one after the other, each foretold from what came before it. A candidate is taken only
where it clearly beat the bundle's own settings, so a short history keeps those.

An option, off unless asked for. Criterion and margin were chosen on windows before the test windows; there, seeds 0-2,
NDCG@20 changed on Online Retail by −.0004 [−.0012, +.0003], on new items by −.0013 [−.0023, −.0005], without the
repeat counter by +.0009 [−.0004, +.0022], and on e-shop 2008 by +.0003 [−.0002, +.0007]: which settings suit one
basket of a shopper says next to nothing of which will suit the next (correlation of the gains −.06 to +.07).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.interactions import EventKind, Interactions
from recsys.evaluation.arms import Personalized
from recsys.evaluation.holdout import basket_ndcg, hold_out_last
from recsys.evaluation.metrics import ndcg
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig, make_profile, repeat_counts, repeat_score
from recsys.model.scoring import score, score_without_profile
from recsys.search.ranking import rank

BASKETS = 4
"""Last baskets that are held out."""
AT_LEAST = 2
"""Fewer baskets than this say nothing of the next one."""
CLEARLY = 1.0
"""Standard errors by which a candidate's mean gain must exceed zero."""
K = 20
"""A basket is foretold well when its items are among the first K: NDCG@K of the whole list, repeat counter included."""


def neighbours(default: ProfileConfig) -> tuple[ProfileConfig, ...]:
    """List candidates around the default, itself left out: half_life × {1/3, 1, 3} with reg × {1/2, 1, 2}."""
    around = (
        replace(default, half_life=default.half_life * longer, reg=default.reg * stronger)
        for longer in (1 / 3, 1.0, 3.0)
        for stronger in (0.5, 1.0, 2.0)
    )
    return tuple(dict.fromkeys(config for config in around if config != default))


def choose_config(
    table: ItemTable,
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    default: ProfileConfig,
    candidates: Sequence[ProfileConfig],
) -> ProfileConfig:
    """Choose the settings for ONE history, oldest event first (all arrays (n,)): a candidate, or the default.

    Each of len(candidates) + 1 settings is folded in and scored BASKETS times: 13 ms of CPU for 8 candidates and 4,000
    items of 64 columns, 130 ms for 100,000; so a device does this when its history has grown, not for every list.
    """
    configs = (default, *candidates)
    figures: list[list[float]] = []
    end = len(time)
    for _ in range(BASKETS):
        start = _last_basket(time[:end])
        if start == 0:
            break
        before, basket = (item_idx[:start], kind[:start], time[:start]), slice(start, end)
        wanted = np.unique(item_idx[basket][kind[basket] != EventKind.DISLIKE])
        if len(wanted):
            moment = int(time[start])
            hits = [
                np.isin(rank(own_scores(table, *before, moment, candidate)[None], K), wanted) for candidate in configs
            ]
            figures.append([ndcg(hit, np.array([len(wanted)]), K).item() for hit in hits])
        end = start
    return configs[choose(np.array(figures).reshape(-1, len(configs)))]


def own_scores(
    table: ItemTable,
    item_idx: npt.NDArray[np.int32],
    kind: npt.NDArray[np.uint8],
    time: npt.NDArray[np.int64],
    now: int,
    config: ProfileConfig,
) -> npt.NDArray[np.float32]:
    """Score all items on one device, (n_items,) float32: profile, trend and repeat counter."""
    vector = make_profile(table, item_idx, kind, time, now, config, "").vector
    if not vector.any():
        return score_without_profile(table).copy()
    scores: npt.NDArray[np.float32] = score(table, vector[None], config.trend_weight)[0]
    if config.repeat_weight > 0:
        repeated, counts = repeat_counts(item_idx, kind, time, now, config.repeat_half_life)
        scores[repeated] += config.repeat_weight * repeat_score(counts)
    return scores


def choose(figures: npt.NDArray[np.float64]) -> int:
    """Choose a column of figures (baskets, settings); nan rows apart.

    It is 0, the default, unless another clearly has more.

    Of several that clearly do, the one with the largest lower bound, mean gain − CLEARLY standard errors.
    """
    figures = figures[~np.isnan(figures).any(axis=1)]
    if len(figures) < AT_LEAST:
        return 0
    gain = figures - figures[:, :1]
    error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
    return int((gain.mean(axis=0) - CLEARLY * error).argmax())


def _last_basket(time: npt.NDArray[np.int64]) -> int:
    """Find the first row of the last basket, as hold_out_last has it; 0 where nothing is before it."""
    if len(time) < 2:
        return 0
    start = int(np.searchsorted(time, time[-1]))
    return start if start > 0 else len(time) - 1


@dataclass(frozen=True, eq=False)
class DeviceTunedArm:
    """A personalized arm whose every user has chosen its own settings by choose_config; for evaluation.

    arm: the default settings, and the name. candidates: the others to choose from.
    """

    arm: Personalized
    candidates: tuple[ProfileConfig, ...]

    @property
    def name(self) -> str:
        """Name of the arm, with what is added to it."""
        return f"{self.arm.name}_chosen"

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        """Score items, (len(users), n_items) float32."""
        chosen = self.choices(histories, users)
        scores = np.empty((len(users), self.arm.table.n_items), dtype=np.float32)
        for place, arm in enumerate(self._arms()):
            rows = np.flatnonzero(chosen == place)
            if len(rows):
                scores[rows] = arm.scores(histories, users[rows], now)
        return scores

    def choices(self, histories: Interactions, users: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Choose settings for each user, (len(users),) int64: 0 for the default, 1 + i for candidate i."""
        arms = self._arms()
        left = histories.users(users)
        figures = np.full((len(users), BASKETS, len(arms)), np.nan)
        for back in range(BASKETS):
            hold_out = hold_out_last(left)
            devices = np.flatnonzero(hold_out.basket.counts > 0)
            for place, arm in enumerate(arms):
                scores = arm.scores(hold_out.before, devices, hold_out.moments[devices])
                figures[devices, back, place] = basket_ndcg(scores, hold_out.basket.users(devices), K)
            left = hold_out.before
        return np.array([choose(user_figures) for user_figures in figures], dtype=np.int64)

    def _arms(self) -> list[Personalized]:
        return [replace(self.arm, config=config) for config in (self.arm.config, *self.candidates)]
