"""Weights of the inner product's columns, for lists that are made without the mix: intent's share and the trend.

A service in mode profile, and a device that asks by cluster and holds no catalogue, rank by the plain score: they have
no transitions and no counters. What its columns weigh is judged here, before a bundle says it, by devices that never
trained. Where the mix ranks, it weighs its own features (recsys/mix).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from data.interactions import Interactions
from federation.simulation.cohort import holdout_devices
from federation.simulation.strategy import solver_of
from federation.simulation.training import Training
from recsys.evaluation.holdout import HoldOut, basket_ndcg, hold_out_last
from recsys.model.intent import intent_share
from recsys.model.log_profiles import profiles_of
from recsys.model.profile_config import ProfileConfig
from recsys.model.scoring import score
from recsys.model.trend import trend

SHARES = (0.0, 0.5)
"""Of the intent, tried beside the share that a recipe has: taste alone, and both alike."""
TREND_WEIGHTS = (0.0, 0.01, 0.05, 0.15, 0.5, 1.5)
"""Tried beside the recipe's: in units of the score, where an item of the own history has about 1."""
JUDGED_AT_MOST = 1_000
"""Devices; the mean of so many NDCGs has a standard error of about .008."""
FEWEST = 30
ERRORS = 2.0
"""Standard errors by which other weights must be better on the same devices: the best of twenty is easily one."""
MOMENTS = 8
"""Moments in the later half of a log whose trends judge the baskets until the next: no trend has seen what it ranks."""


@dataclass(frozen=True)
class ColumnWeights:
    """The choice. config: to serve with; figures: mean NDCG@20 by (share, trend weight), the recipe's first."""

    config: ProfileConfig
    figures: dict[tuple[float, float], float]
    devices: int

    @property
    def reason(self) -> str:
        """Why the weights are others than the recipe's, "" where they are not or nothing was judged."""
        usual = next(iter(self.figures), _weights(self.config))
        chosen = _weights(self.config)
        if chosen == usual:
            return ""
        names = ("intent's share", "trend's weight")
        changes = [f"{name} {a:g} → {b:g}" for name, a, b in zip(names, usual, chosen, strict=True) if a != b]
        return (
            f"{', '.join(changes)} in lists without the mix: foretells new items of last baskets of {self.devices:,} "
            f"held-out devices with NDCG@20 {self.figures[chosen]:.3f}, before {self.figures[usual]:.3f}"
        )


def choose_column_weights(training: Training, serve: ProfileConfig, log: Interactions) -> ColumnWeights:
    """Choose the plain score's weights by the last baskets of the hold-out devices of a training.

    log: what was trained on. Counted are items that are new to the device: own items get its own counter on top.
    Each device's figures are in [0, 1], so a live shop learns their sums as a private sum.
    """
    if training.config.strategy == "global":  # the same list for everybody: nobody's history weighs a column
        return ColumnWeights(serve, {}, 0)
    hold_out = hold_out_last(log)
    judging = holdout_devices(log.n_users, training.config.holdout_share, training.seed)
    late = hold_out.moments >= (np.median(log.time) if log.n_events else 0)
    asked = judging & late & (hold_out.basket.counts > 0) & (hold_out.before.counts > 0)
    users = np.flatnonzero(asked)[:JUDGED_AT_MOST]
    if len(users) < FEWEST:
        return ColumnWeights(serve, {}, len(users))
    figures = _figures(training, serve, hold_out, users)
    counted = ~np.isnan(figures[_weights(serve)])
    if np.count_nonzero(counted) < FEWEST:
        return ColumnWeights(serve, {}, int(np.count_nonzero(counted)))
    usual = figures[_weights(serve)][counted]
    means = {weights: float(values[counted].mean()) for weights, values in figures.items()}
    best = max(means, key=lambda weights: means[weights])
    gain = figures[best][counted] - usual
    clear = gain.mean() > ERRORS * gain.std() / np.sqrt(len(gain))
    share, trend_weight = best if clear else _weights(serve)
    config = replace(serve, intent_share=share, trend_weight=trend_weight)
    return ColumnWeights(config, means, len(usual))


def _weights(config: ProfileConfig) -> tuple[float, float]:
    return config.intent_share, config.trend_weight


def _figures(
    training: Training, serve: ProfileConfig, hold_out: HoldOut, users: npt.NDArray[np.int64]
) -> dict[tuple[float, float], npt.NDArray[np.float64]]:
    """Measure NDCG@20 of the new items of each user's last basket under all weights, (len(users),) float64 each.

    nan for a user whose basket has nothing new.
    """
    table, make = training.table, solver_of(training.config.strategy)
    shares = SHARES if intent_share(table.parts, serve) > 0 else ()
    tried_shares = dict.fromkeys((serve.intent_share, *shares))
    tried_trends = dict.fromkeys((serve.trend_weight, *TREND_WEIGHTS))
    figures = {(share, weight): np.full(len(users), np.nan) for share in tried_shares for weight in tried_trends}
    moments = hold_out.moments[users]
    edges = np.unique(np.quantile(moments, np.linspace(0, 1, MOMENTS + 1)[:-1], method="lower"))
    of_edge = np.searchsorted(edges, moments, side="right") - 1
    for number, edge in enumerate(edges.tolist()):
        rows = np.flatnonzero(of_edge == number)
        before, basket = hold_out.before.users(users[rows]), hold_out.basket.users(users[rows])
        new = _without_own(basket, before)
        past = hold_out.before.where(hold_out.before.time < edge)
        known = replace(table, trend=trend(past, edge, training.config.trend_half_life))
        for share in tried_shares:
            profiles = profiles_of(known, replace(serve, intent_share=share), before, moments[rows], make)
            plain = score(known, profiles, 0.0)
            plain[before.user_idx, before.item_idx] = -np.inf
            for weight in tried_trends:
                ranked = plain + np.float32(weight) * known.trend
                figures[share, weight][rows] = basket_ndcg(ranked, new)
    return figures


def _without_own(basket: Interactions, before: Interactions) -> Interactions:
    """Leave out of a basket what its device had before."""
    had = before.user_idx.astype(np.int64) * before.n_items + before.item_idx
    return basket.where(~np.isin(basket.user_idx.astype(np.int64) * basket.n_items + basket.item_idx, had))
