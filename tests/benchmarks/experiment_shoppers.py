"""Shoppers of an experiment with a true effect, as devices live it: exposures and purchases over days, by a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.experiments.definition.definition import DAY_S, Experiment, OutcomeEvent
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.assignment import assign
from recsys.experiments.device.outcomes import MICROS, OutcomeRecord

RATES = {"global": 0.20, "personal": 0.35}
"""Shoppers who buy within two days, by arm: the true effect is their difference."""
BUYS_WITHIN_S = 2 * DAY_S - 1
EFFECT = RATES["personal"] - RATES["global"]


@dataclass(frozen=True)
class Shopper:
    """One device's life. exposed_at: µs since 1970 UTC. returning: bought before."""

    secret: bytes
    arm: str
    exposed_at: int
    returning: bool
    notes: tuple[OutcomeRecord, ...]


def definition(start: int, days: int, **changes: Any) -> Experiment:
    """Two arms, conversion with its covariate, revenue, clicks a list; new and returning shoppers."""
    raw = {
        "id": "lists-of-home",
        "arms": [{"name": "global", "settings": {"model": "global"}}, {"name": "personal"}],
        "control": "global",
        "layer": {"name": "home"},
        "metrics": [
            {"name": "conversion", "kind": "proportion", "numerator": "bought", "role": "primary"},
            {"name": "revenue", "numerator": "spent", "cap": 200.0},
        ],
        "outcomes": [
            {"name": "bought", "event": "purchase", "measure": "any"},
            {"name": "spent", "event": "purchase", "measure": "value"},
        ],
        "segments": [{"name": "shopper", "fact": "purchases", "cuts": [1], "levels": ["new", "returning"]}],
        "starts_at": start,
        "ends_at": start + days * DAY_S,
        "outcome_days": 2,
    }
    return experiment_of(raw | changes)


def shoppers(experiment: Experiment, n: int, seed: int) -> Iterator[Shopper]:
    """n shoppers who come in at some moment of the experiment and buy, or not, within its outcome window."""
    rng = np.random.default_rng(seed)
    length = (experiment.ends_at - experiment.starts_at) * MICROS
    for i in range(n):
        secret = hashlib.sha256(f"{seed}/{i}".encode()).digest()
        arm = assign(experiment, secret).arm
        assert arm is not None
        at = experiment.starts_at * MICROS + int(rng.random() * (length - 1))
        later = at + 1 + int(rng.random() * BUYS_WITHIN_S * MICROS)
        value = round(float(np.minimum(rng.gamma(2.0, 20.0), 300.0)), 2)
        bought = rng.random() < RATES[arm]
        notes = (OutcomeRecord(later, OutcomeEvent.PURCHASE, value),) if bought else ()
        yield Shopper(secret, arm, at, bool(rng.random() < 0.5), (OutcomeRecord(at, OutcomeEvent.LIST), *notes))
