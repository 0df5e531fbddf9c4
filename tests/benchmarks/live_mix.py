"""The mix learned live: a fleet over HTTP against the same fit in one process, without noise and with a plan's."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Dataset
from data.split import known_at
from federation.lab.recipes import recipe
from federation.learning.mix_sum import NOISE_OF_MIX
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import PRIVATE_CLIPS
from federation.simulation.mix_training import cautious_mix
from federation.simulation.training import train
from recsys.catalogue.bundle import Bundle
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.priors import LISTS, prior_weights
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.live_mix import MixFleet, central_fit, furthest, mix_bundle, play_mix

N_DEVICES, EPSILON = 400, 100.0
AS_OF = 1_317_427_200_000_000
"""2011-10-01 UTC, in µs: tables and taste are of before, examples of after."""


def run(seed: int = 0, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """Learn the mix of Online Retail with a fleet of N_DEVICES, twice.

    furthest: largest difference of a weight to the fit from exact sums; moved: how far that fit is from its prior.
    noise_rms: root mean square of (weight − mean) / standard deviation over fits in one process with the plan's noise:
    about 1 where the noise is what the plan says. report_bytes: of the first step, the longest.
    """
    dataset = Dataset.open("sample:online-retail")
    log, chosen = dataset.interactions(), recipe("purchases")
    known = known_at(log, AS_OF)
    later = log.where(log.time >= AS_OF).counts > 0
    both = np.flatnonzero((known.where(known.time < AS_OF).counts > 0) & later)
    users = np.sort(np.random.default_rng(seed).choice(both, N_DEVICES, replace=False))
    say("training the taste that the examples are scored by")
    table = train(known, replace(chosen.train, rounds=20, measure_every=0, patience=0), seed=seed, now=AS_OF).table
    fleet = MixFleet(log.users(users), dataset.items, AS_OF, int(log.time.max()) + 1, seed)
    mix = cautious_mix(build_tables(known, AS_OF, attributes_of(dataset.catalogue)), "purchases")
    settings = {"rounds": 0, "goal_reports": N_DEVICES, "window_s": 3_600, "pause_s": 0, "keep_bundles": 10}
    figures: dict[str, Any] = {"devices": N_DEVICES}
    with tempfile.TemporaryDirectory() as folder:
        ids = dataset.items.ids.to_list()
        first = mix_bundle(Path(folder) / "first", ids, table, chosen.serve, mix, dataset.catalogue)
        examples, judges = fleet.examples(first)
        fitting = examples.devices(~judges)
        exact, _ = central_fit(fitting, "purchases")
        figures |= {"fitting": int((~judges).sum()), "judging": int(judges.sum())}
        figures["moved"] = furthest(exact.weights, {name: prior_weights("purchases", name) for name in LISTS})
        off = PrivacyPlan.off(PRIVATE_CLIPS, max_participations=1, min_reports=50, max_reports=1_000)
        noised = PrivacyPlan.calibrated(EPSILON, 1e-6, 1, PRIVATE_CLIPS, min_reports=50, max_reports=1_000)
        for name, plan in (("no_noise", off), ("noise", noised)):
            say(f"{N_DEVICES} devices, six rounds over HTTP, {name}")
            home = Path(folder) / name
            with Deployment(home, Path(folder) / "first", plan, settings) as deployment:
                rounds = play_mix(deployment, fleet, plan)
                last = Bundle.load(deployment.folder_of(rounds[-1].record["bundle"]))
            assert last.mix is not None
            assert last.mix.fit is not None
            live = last.mix.fit.weights
            figures[name] = {
                "furthest": furthest(live, exact.weights),
                "served": dict(last.mix.served),
                "epsilon": rounds[-1].record["privacy"]["epsilon"],
            }
            if plan.private:
                z = plan.noise_multiplier * NOISE_OF_MIX
                fits = [central_fit(fitting, "purchases", z, np.random.default_rng([seed, n]))[0] for n in range(60)]
                scores = [
                    (live[name] - np.mean([fit.weights[name] for fit in fits], axis=0))
                    / np.maximum(np.std([fit.weights[name] for fit in fits], axis=0), 1e-9)
                    for name in LISTS
                ]
                figures["noise"]["noise_rms"] = math.sqrt(float(np.mean(np.concatenate(scores) ** 2)))
    return figures
