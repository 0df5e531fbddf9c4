"""Weights to start from, one set a recipe: what a log of that kind usually rewards, for fleets too small to learn more.

A prior over all kinds of logs is bad: what repeats on groceries never repeats among ratings. Learned weights are drawn
towards these with the strength of recsys/mix/fit.RIDGE. Below MIN_DEVICES they are served only where they judge better
than cautious ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from recsys.mix.features import FEATURES

ListName = Literal["all", "new"]
LISTS: tuple[ListName, ...] = get_args(ListName)
"""The two lists with weights of their own: of all items, and of those that are not in the own history."""

CAUTIOUS = "cautious"
"""MixModel.served of cautious_weights."""
MIN_DEVICES = 100
"""Devices with an example that a fit needs; of fewer a prior is served."""

_PURCHASES_NEW = {"taste": 0.3, "taste_rank": 0.4, "next": 0.1, "near": 0.2, "trend_7d": 0.6, "category": 0.3}
_SESSIONS_NEW = {
    "taste_rank": 0.2, "intent": 1.5, "intent_rank": 0.3, "next": 0.4, "near": 0.4, "trend_90d": 0.1, "category": 0.3,
}  # fmt: skip
_RATINGS_NEW = {"taste": 1.5, "taste_rank": 0.5, "next": 0.6, "near": 0.6}

_OWN_PURCHASES = {
    "own": 0.8, "own_2_events": 0.2, "own_20_events": 0.6, "bought_60d": 0.4, "bought_180d": 0.8,
    "bought_5_baskets": 1.0,
}  # fmt: skip
_OWN = {"purchases": _OWN_PURCHASES, "sessions": {"own_2_events": 1.0}, "ratings": {"own": -2.0}}

_PRIORS: Mapping[str, Mapping[ListName, Mapping[str, float]]] = MappingProxyType(
    {
        "purchases": {"all": _PURCHASES_NEW | _OWN["purchases"], "new": _PURCHASES_NEW},
        "sessions": {"all": _SESSIONS_NEW | _OWN["sessions"], "new": _SESSIONS_NEW},
        "ratings": {"all": _RATINGS_NEW | _OWN["ratings"], "new": _RATINGS_NEW},
    }
)

_TREND = {"trend_7d": 0.5, "trend_90d": 0.5}
_CAUTIOUS_NEW = _TREND | {"taste": 0.1, "taste_rank": 0.2, "next": 0.1, "near": 0.1, "category": 0.1}
_CAUTIOUS_OWN = _OWN_PURCHASES | {"own": 1.6}  # views that repeat are own items too
_OWN_FIRST = _OWN_PURCHASES | {"own": 4.0}

PRIORS: tuple[str, ...] = tuple(_PRIORS)
"""Names of the priors."""


def prior_weights(name: str, listed: ListName) -> npt.NDArray[np.float64]:
    """Return the prior of a recipe for a list, (F,); raises KeyError for another name."""
    return weights_of(_PRIORS[name][listed])


def cautious_weights(name: str, listed: ListName, *, seen: bool = True) -> npt.NDArray[np.float64]:
    """Return the weights (F,) served of a recipe for a list where nothing proved any; KeyError for another name.

    The trend, own items, and as much of the other signals as orders equals: a taste from a log in which hardly anybody
    came back may be noise, and would be shown to everybody. seen: whether anybody came back at all; where nobody did,
    it is the own counter: own items before all others, then the trend.
    """
    own_weights = _OWN[name] if name == "ratings" else _CAUTIOUS_OWN if seen else _OWN_FIRST
    return weights_of((_CAUTIOUS_NEW if seen else _TREND) | (own_weights if listed == "all" else {}))


def weights_of(named: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Order named weights into (F,), 0 for all others."""
    weights = np.zeros(len(FEATURES))
    for feature, weight in named.items():
        weights[FEATURES.index(feature)] = weight
    return weights
