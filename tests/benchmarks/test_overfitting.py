"""The benchmark of overfitting at a tiny size: every planted leak is found, and none where there is none."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from federation.lab.recipes import Recipe
from federation.lab.tuning import Budget
from tests.benchmarks import overfitting
from tests.federation.learning.test_taste_update import NOW
from tests.federation.simulation.test_training import CONFIG, PROFILE, tastes


def test_its_figures_are_json_and_the_canary_sings_where_it_should() -> None:
    quick = Recipe(replace(CONFIG, measure_every=0, rounds=4, dim=4, cohort_size=60), PROFILE)
    log = tastes(n_users=120)
    late = log.time + np.where(log.user_idx < 4, NOW, 0)  # devices that had no history when the others were asked
    logs = {"tastes": (replace(log, time=late), quick)}
    found = overfitting.run(logs=logs, search=Budget(trials=2, settings=2), canaries=3)["tastes"]
    json.dumps(found, allow_nan=False)
    assert found["leaks"] == {"planted": 3, "found": 3, "clean": 3, "alarms": 0}
    assert not found["canary"]["alarm"]
    assert found["nested"]["trials"] == 2
    assert found["gap"]["last_basket"]["trained"]["devices"] > 100
