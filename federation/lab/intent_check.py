"""Is the current intent worth serving? Judged by devices that never trained, before a bundle says so.

Where the intent is one signal of the mix, the mix weighs it (recsys/mix). This is of the plain score, whose share of it
is fixed: on a log whose next events do not follow from the last ones it hurts.
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

SHARES = (0.0, 0.5)
"""Tried beside the share that a recipe has: taste alone, and both alike."""
JUDGED_AT_MOST = 2_000
"""Devices; the mean of so many NDCGs has a standard error of about .006."""
FEWEST = 30
ERRORS = 1.0
"""Standard errors by which another share must be better on the same devices to replace the recipe's."""
_BATCH = 512


@dataclass(frozen=True)
class IntentCheck:
    """The result of the check. config: to serve with; figures: mean NDCG@20 by share; devices: that were summed."""

    config: ProfileConfig
    figures: dict[float, float]
    devices: int

    @property
    def reason(self) -> str:
        """Why the share is another than the recipe's, "" where it is not or nothing was judged."""
        share = self.config.intent_share
        usual = next(iter(self.figures), share)
        if share == usual:
            return ""
        return (
            f"intent's share {usual:g} → {share:g}: foretells last baskets of {self.devices:,} held-out devices with "
            f"NDCG@20 {self.figures[share]:.3f}, {usual:g} {self.figures[usual]:.3f}"
        )


def check_intent(training: Training, serve: ProfileConfig, log: Interactions) -> IntentCheck:
    """Choose the intent's share of the plain score by the last baskets of the hold-out devices of a training.

    log: what was trained on. Each device's figures are in [0, 1], so a live shop learns their sums as a private sum.
    """
    table, seed = training.table, training.seed
    if intent_share(table.parts, serve) == 0:
        return IntentCheck(serve, {}, 0)
    hold_out = hold_out_last(log)
    judging = holdout_devices(log.n_users, training.config.holdout_share, seed) & (hold_out.basket.counts > 0)
    users = np.flatnonzero(judging & (hold_out.before.counts > 0))[:JUDGED_AT_MOST]
    if len(users) < FEWEST:
        return IntentCheck(serve, {}, len(users))
    configs = {share: replace(serve, intent_share=share) for share in (serve.intent_share, *SHARES)}
    figures = {share: _figures(training, config, hold_out, users) for share, config in configs.items()}
    usual = figures[serve.intent_share]
    best = max(figures, key=lambda share: float(figures[share].mean()))
    gain = figures[best] - usual
    clear = gain.mean() > ERRORS * gain.std() / np.sqrt(len(gain))
    means = {share: float(values.mean()) for share, values in figures.items()}
    return IntentCheck(configs[best] if clear else serve, means, len(users))


def _figures(
    training: Training, config: ProfileConfig, hold_out: HoldOut, users: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Measure NDCG@20 of the last basket of each of the users, (len(users),) float64, some users at a time."""
    figures = []
    for start in range(0, len(users), _BATCH):
        batch = users[start : start + _BATCH]
        make = solver_of(training.config.strategy)
        profiles = profiles_of(training.table, config, hold_out.before.users(batch), hold_out.moments[batch], make)
        figures.append(basket_ndcg(score(training.table, profiles, config.trend_weight), hold_out.basket.users(batch)))
    return np.concatenate(figures)
