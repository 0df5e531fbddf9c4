"""Run by the benchmark off-policy in an environment of its own: obp's estimates of a case. Imports nothing of ours.

`python off_policy_oracle.py CASE.npz LAMBDA…` prints JSON.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def main(path: str, lambdas: list[float]) -> dict[str, float]:
    """Estimates by name, each a policy's mean reward."""
    from obp import ope

    case = dict(np.load(path))
    n, n_items = case["policy"].shape
    slots = int(case["slot"].max()) + 1
    places = (np.arange(n), slice(None), case["slot"])

    def spread(rows: np.ndarray) -> np.ndarray:
        """(n, n_items) of each round's own slot → (n, n_items, n_slots); what other slots hold is never read."""
        full = np.full((n, n_items, slots), 1 / n_items)
        full[places] = rows
        return full

    asked = {
        "reward": case["reward"],
        "action": case["item"].astype(np.int64),
        "position": case["slot"].astype(np.int64),
        "action_dist": spread(case["policy"]),
    }
    weighed = asked | {"pscore": case["propensity"]}
    model = {"estimated_rewards_by_reg_model": spread(case["rewards"])}
    found = {
        "ips": ope.InverseProbabilityWeighting().estimate_policy_value(**weighed),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**weighed),
        "dr": ope.DoublyRobust().estimate_policy_value(**weighed, **model),
        "replay": ope.ReplayMethod().estimate_policy_value(**asked | {"action_dist": spread(case["sure"])}),
    }
    for clip in lambdas:
        clipped = ope.InverseProbabilityWeighting(lambda_=clip)
        found[f"clipped_{clip:g}"] = clipped.estimate_policy_value(**weighed)
    tuned = ope.InverseProbabilityWeightingTuning(lambdas=lambdas, tuning_method="mse", use_bias_upper_bound=False)
    found["clipped_tuned"] = tuned.estimate_policy_value(**weighed)
    found["tuned_lambda"] = tuned.best_hyperparam
    return {name: float(value) for name, value in found.items()}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], [float(one) for one in sys.argv[2:]]), sys.stdout)
