"""An experiment from end to end: 2,000 devices over HTTP against a service and a custodian in processes of their own.

Then the same path of sums in this process, for 200 seeds: how often the final interval covers the true effect.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from data.interactions import MICROS_PER_DAY
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.experiments.enrolment import expose, increments_at, note
from federation.device.experiments.window_report import fetch_definitions, report_window
from federation.device.outcome_log import Enrolment, ExperimentLog
from federation.device.report import DevicePolicy
from federation.device.reporting import Outcome
from federation.device.state import DeviceState
from federation.device.tokens.issuing import ShopIssuer
from federation.learning.experiment_sum import experiment_plan, looks_of
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.simulated_noise import both_parties_noise
from recsys.experiments.analysis.analysis import analyse
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.definition.definition_file import to_dict
from recsys.experiments.device.outcomes import MICROS
from tests.benchmarks.experiment_shoppers import EFFECT, Shopper, definition, shoppers
from tests.end_to_end.deployment import Deployment
from tests.shop import make_bundle

DEVICES, SEEDS, SHOPPERS = 2_000, 200, 1_000
EPSILON = 2.0
START = 1_764_547_200


def run(
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
    *,
    devices: int = DEVICES,
    seeds: int = SEEDS,
    in_process: int = SHOPPERS,
) -> dict[str, Any]:
    """Figures: over HTTP the effect found, its interval and the true one, reports, seconds; in process the coverage."""
    with tempfile.TemporaryDirectory() as place:
        live = over_http(Path(place), devices, seed, EPSILON, say)
    say(f"{seeds} seeds of {in_process} shoppers in this process")
    return {"http": live, "in_process": coverage(seeds, in_process, seed, EPSILON)}


def over_http(
    folder: Path, n: int, seed: int, epsilon: float | None, say: Callable[[str], object] = lambda _: None
) -> dict[str, Any]:
    """What a tester reads in the end, and what was true of these very devices."""
    with LiveExperiment.deploy(folder, epsilon, n) as live:
        began, used = time.perf_counter(), time.process_time()
        people = list(shoppers(live.experiment, n, seed))
        for number, shopper in enumerate(people):
            found = live.report(number, shopper)
            assert found.status == "accepted", found
            if number % 250 == 249:
                say(f"{number + 1} of {n} devices have reported")
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        shown = live.finish()
    (effect,) = (one for one in shown["analysis"]["effects"] if one["metric"] == "conversion")
    return {
        "devices": n,
        "epsilon": epsilon,
        "reports": shown["windows"][0]["reports"],
        "effect": effect["effect"],
        "interval": [effect["low"], effect["high"]],
        "true_effect": EFFECT,
        "covers": effect["low"] <= EFFECT <= effect["high"],
        "p_value": effect["p_value"],
        "verdict": shown["verdicts"][0]["state"],
        "noise_share": effect["noise_share"],
        "seconds": seconds,
        "device_cpu_ms": 1e3 * cpu / n,
    }


@dataclass
class LiveExperiment:
    """A running experiment in a deployment, whose devices live in this process."""

    deployment: Deployment
    experiment: Experiment
    client: httpx.Client
    issuer: ShopIssuer
    policy: DevicePolicy

    @staticmethod
    def deploy(folder: Path, epsilon: float | None, n: int) -> LiveExperiment:
        """Both parties up, the experiment started. Its one window is open until it is stopped."""
        folder.mkdir(parents=True, exist_ok=True)
        make_bundle(folder / "bundle")
        least = max(n // 4, 3)
        terms = {"max_epsilon": math.inf if epsilon is None else epsilon, "min_reports": least}
        (folder / "terms.json").write_text(json.dumps(terms))
        clips = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
        plan = PrivacyPlan.off(clips, max_participations=1, min_reports=3, max_reports=100)
        now = int(time.time())
        deployment = Deployment(
            folder / "running",
            folder / "bundle",
            plan,
            {"rounds": 1, "goal_reports": 100, "window_s": 3_600},
            custodian_options=(f"--experiments={folder / 'terms.json'}",),
        )
        experiment = definition(
            now - 9 * DAY_S,
            4,
            outcome_days=4,
            looks={"count": 1},
            privacy={"epsilon": epsilon, "min_reports": least, "max_reports": max(n, 100)},
        )
        deployment.__enter__()
        client = httpx.Client(base_url=deployment.url, timeout=60.0)
        client.put("/v1/experiments", json=to_dict(experiment)).raise_for_status()
        client.post(f"/v1/experiments/{experiment.id}/start").raise_for_status()
        policy = DevicePolicy(
            bytes.fromhex(deployment.custodian_key),
            min_noise_multiplier=0.0,
            min_reports=least,
            max_wait_s=7 * DAY_S,
            max_epsilon=math.inf if epsilon is None else epsilon,
        )
        live = LiveExperiment(deployment, experiment, client, ShopIssuer(client, deployment.api_key), policy)
        live.wait(lambda: client.get(f"/v1/experiments/{experiment.id}/task").status_code == 200)
        return live

    def __enter__(self) -> LiveExperiment:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.deployment.__exit__()

    def device(self, number: int, shopper: Shopper) -> Device:
        """The shopper's device after all that happened, its secret the shopper's own."""
        device = Device.create(self.deployment.folder / f"device-{number}", consent="contribute", key_store="file")
        fetch_definitions(device, self.client)

        def with_secret(state: DeviceState) -> DeviceState:
            return replace(state, experiments=replace(state.experiments, secret=shopper.secret))

        device.change(with_secret)
        if shopper.returning:
            device.observe("sku-1", "purchase", shopper.exposed_at - MICROS_PER_DAY)
        assert expose(device, "list_shown", "home", shopper.exposed_at) == (self.experiment.id,)
        for one in shopper.notes:
            note(device, one.event, one.time, one.value)
        return device

    def report(self, number: int, shopper: Shopper) -> Outcome:
        """One device's report to the open window."""
        return report_window(
            self.device(number, shopper),
            self.client,
            self.policy,
            self.experiment.id,
            self.issuer,
            retry=RetryPolicy(spread_s=0.0),
        )

    def finish(self) -> dict[str, Any]:
        """Stop, wait for the sum, and read the results."""
        path = f"/v1/experiments/{self.experiment.id}"
        self.client.post(f"{path}/stop").raise_for_status()
        self.wait(lambda: self.client.get(path).json()["windows"][0]["state"] in ("summed", "failed"))
        shown: dict[str, Any] = self.client.get(f"{path}/results").json()
        assert shown["windows"][0]["state"] == "summed", shown["windows"]
        return shown

    @staticmethod
    def wait(until: Callable[[], bool], within_s: float = 120.0) -> None:
        """Until something holds."""
        give_up = time.monotonic() + within_s
        while not until():
            assert time.monotonic() < give_up
            time.sleep(0.2)


def coverage(seeds: int, n: int, seed: int, epsilon: float | None) -> dict[str, Any]:
    """How often intervals of three looks cover the true effect: at the last look, and at all of them."""
    privacy = {"epsilon": epsilon, "min_reports": 20, "max_reports": max(n, 100)}
    experiment = definition(START, 10, looks={"count": 3}, privacy=privacy)
    last = every = 0
    shares = []
    for one in range(seeds):
        analysis = analyse(experiment, looks_of(experiment, windows_of(experiment, n, 1_000 * seed + one)))
        points = [point for point in analysis.history if point.metric == "conversion"]
        covers = [point.low <= EFFECT <= point.high for point in points if point.low is not None]
        last += covers[-1]
        every += all(covers)
        shares.append(points[-1].noise_share)
    return {
        "seeds": seeds,
        "shoppers": n,
        "epsilon": epsilon,
        "looks": 3,
        "covered_at_the_last_look": last / seeds,
        "covered_at_every_look": every / seeds,
        "noise_share": float(np.mean(shares)),
    }


def windows_of(experiment: Experiment, n: int, seed: int) -> dict[int, np.ndarray]:
    """The sums of all windows with both parties' noise: devices' own increments, added up in this process."""
    layout, plan, rng = layout_of(experiment), experiment_plan(experiment), np.random.default_rng(seed)
    count = experiment.looks.count
    sums = {window: np.zeros(layout.length, dtype=np.int64) for window in range(count)}
    for shopper in shoppers(experiment, n, seed):
        log = ExperimentLog(shopper.secret, (experiment,), shopper.notes)
        own: Enrolment = log.enrolment(experiment)
        for window in range(count):
            start, end = experiment.window(window)
            at = (start + rng.random() * (end - start)) * MICROS  # devices report when it suits them
            if own.exposed_at is None and shopper.exposed_at <= at:
                own = replace(own, exposed_at=shopper.exposed_at, cell=int(shopper.returning))
            seen = ExperimentLog(shopper.secret, (experiment,), tuple(n for n in shopper.notes if n.time <= at))
            own, increments = increments_at(seen, experiment, own, int(at))
            sums[window][layout.where(shopper.arm, own.cell)] += increments[0] - increments[1]
    noise = {w: both_parties_noise(plan, rng) if plan.private else 0 for w in range(count)}
    return {window: total + noise[window] for window, total in sums.items()}
