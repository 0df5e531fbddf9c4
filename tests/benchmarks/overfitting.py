"""Does the federated table overfit? Gap, canary, and what a search for settings promises and holds, on bundled logs.

Everything before the last fifth of each log, which stays unseen: `ownshelf validate` with a nested search. Then the
canary's own figures: alarms on models that were told one answer in six, and on models that were told none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from data.dataset import Dataset
from data.interactions import Interactions
from data.split import Split
from federation.lab.defaults import protocol_for, settle
from federation.lab.folds import set_apart
from federation.lab.questions import Question, question
from federation.lab.recipes import Recipe
from federation.lab.tuning import Budget
from federation.lab.validation import validate
from recsys.evaluation.baselines import item_knn, item_matrix
from recsys.evaluation.canary import canary

SAMPLES = ("online-retail", "eshop-2008")
SEARCH = Budget(trials=10, settings=4)
CANARIES = 10


@dataclass(frozen=True, eq=False)
class Told:
    """Item-kNN that was told the answers of a share of the devices; of one without a history it says nothing."""

    split: Split
    log: Interactions
    share: float
    name: str = "told"

    def scores(self, histories: Interactions, users: npt.NDArray[np.int64], now: int) -> npt.NDArray[np.float32]:
        """(len(users), n_items) float32."""
        scores = item_knn(self.log).scores(histories, users, now)
        answers = item_matrix(self.split.test)[users].toarray() > 0
        told = np.random.default_rng(0).random(self.split.test.n_users)[users] < self.share
        scores[answers & told[:, None] & ~np.isnan(scores)] = 1e6
        return scores


def run(
    *,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
    samples: Sequence[str] = SAMPLES,
    logs: dict[str, tuple[Interactions, Recipe]] | None = None,
    search: Budget = SEARCH,
    canaries: int = CANARIES,
) -> dict[str, Any]:
    """`{sample: {"gap", "canary", "nested", "over_devices", "over_time", "leaks": {"planted", "found", "clean",
    "alarms"}}}`; more than twenty minutes of CPU time, most of them for e-shop's nested search, whose tables have an
    intent. What is known of a log is told when it is. logs: others than the bundled ones, for tests."""
    tell = say or (lambda _: None)
    figures: dict[str, Any] = {}
    for name in logs or samples:
        if logs is None:
            log, _ = set_apart(Dataset.open(f"sample:{name}").interactions(), "auto")
            chosen = settle(log, seed=seed).recipe
        else:
            log, chosen = logs[name]
        protocol = protocol_for(log)
        tell(f"{name}: folds, gap, canary, curves, nested search")
        found = validate(log, protocol, chosen, search=search, seed=seed).to_dict()
        tell(f"{name}: canaries that should sing, and that should not")
        asked = question(log, protocol)
        told, clean = (_alarms(asked, share, canaries, seed) for share in (1 / 6, 0.0))
        figures[name] = {
            "gap": found["gap"],
            "canary": found["canary"],
            "nested": found["nested"],
            "over_devices": {key: found["over_devices"][key] for key in ("personalized", "popularity")},
            "over_time": {key: found["over_time"][key] for key in ("personalized", "popularity")},
            "leaks": {"planted": canaries, "found": told, "clean": canaries, "alarms": clean},
        }
        tell(f"{name}: {json.dumps(figures[name])}")
    return figures


def _alarms(asked: Question, share: float, draws: int, seed: int) -> int:
    """How often the canary sings on a model that was told the answers of a share of the devices."""

    def fit(train: Interactions) -> Told:
        return Told(asked.split, train, share)

    return sum(
        canary(asked.split, fit, histories=asked.histories, now=asked.now, seed=seed + draw).alarm
        for draw in range(draws)
    )
