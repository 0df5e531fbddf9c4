"""A live A/B by shipped commands alone, beside the central analysis of the same devices' outcomes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.fleet import Fleet
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.definition.definition_file import experiment_of
from tests.benchmarks.live_ab_world import central_sums, make_log, make_shop
from tests.end_to_end.deployment import ROOT, Deployment

ID = "for-you-test"
DEVICES, EPSILON = 2_000, 2.0


def run(
    seed: int = 0,
    say: Callable[[str], object] = lambda _: None,
    *,
    devices: int = DEVICES,
    epsilon: float | None = EPSILON,
) -> dict[str, Any]:
    """What the report says of each metric, and what an analyst would who could open every vault.

    apart: how far the two effects are from each other, as a share of half the live interval.
    """
    with tempfile.TemporaryDirectory() as place:
        live = play(Path(place), devices, epsilon, seed, say=say)
        central = analyse(
            live.experiment, [Look(1, central_sums(live.experiment, map(live.fleet.device, range(devices))))]
        )
    results = live.report["results"]
    found = {one["metric"]: one for one in results["analysis"]["effects"]}
    metrics = {}
    for effect in central.effects:
        shown = found[effect.metric]
        metrics[effect.metric] = {
            "live": [shown["effect"], shown["low"], shown["high"]],
            "central": [effect.effect, effect.low, effect.high],
            "apart": abs(shown["effect"] - (effect.effect or 0.0)) / ((shown["high"] - shown["low"]) / 2),
        }
    return {
        "devices": devices,
        "epsilon": epsilon,
        "reports": live.report["windows"][0]["reports"],
        "visits": live.played["experiments"]["visits"],
        "seconds": live.played["experiments"]["seconds"],
        "verdict": results["verdicts"][0]["state"],
        "metrics": metrics,
    }


@dataclass(frozen=True)
class LiveAb:
    """made, played, report: what `experiment quick`, `device --simulate` and `experiment report` said. more: of the
    caller's own, while the window was open."""

    made: dict[str, Any]
    played: dict[str, Any]
    report: dict[str, Any]
    more: Any
    experiment: Experiment
    fleet: Fleet


def play(
    folder: Path,
    devices: int,
    epsilon: float | None,
    seed: int,
    *,
    say: Callable[[str], object] = lambda _: None,
    meanwhile: Callable[[Deployment, tuple[str, ...]], Any] = lambda _, __: None,
    afterwards: Callable[[Deployment, LiveAb], None] = lambda _, __: None,
) -> LiveAb:
    """Both parties up, a test started, a fleet that lives through it, the test stopped at its first look, its report.

    The experiment began five days ago; its first window is open until it is stopped. meanwhile: gets the options with
    which the fleet was simulated. afterwards: once the report is there, the parties still up.
    """
    log, bundle = make_log(folder / "log", devices + 20, seed), make_shop(folder / "bundle")
    least = max(devices // 4, 3)
    terms = folder / "terms.json"
    terms.write_text(json.dumps({"max_epsilon": math.inf if epsilon is None else epsilon, "min_reports": least}))
    clips = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
    plan = PrivacyPlan.off(clips, max_participations=1, min_reports=3, max_reports=100)
    rounds = {"rounds": 1, "goal_reports": 100, "window_s": 3_600}
    begin = datetime.fromtimestamp(int(time.time()) - 5 * DAY_S, UTC).isoformat()
    with Deployment(folder / "running", bundle, plan, rounds, custodian_options=(f"--experiments={terms}",)) as live:
        here = f"--service={live.url}"
        made = command(
            "experiment", "quick", "--personalized-against-global", "--placement=for-you", f"--id={ID}", here,
            f"--starts-at={begin}", "--days=6", "--outcome-days=7", "--looks=2", f"--epsilon={epsilon or 0}",
            f"--min-reports={least}", f"--out={folder / 'test.yaml'}",
        )  # fmt: skip
        wait(lambda: httpx.get(f"{live.url}/v1/experiments/{ID}/task").status_code == 200)
        options = (
            "device", "--simulate", str(devices), "--experiments", f"--dataset={log}", "--until=2024-04-01", here,
            f"--custodian-key={live.custodian_key}", f"--plan={live.plan_file}", f"--home={folder / 'fleet'}",
            "--visits=0.5", "--buys-anyway=0.05", f"--seed={seed}",
        )  # fmt: skip
        say(f"{devices} devices live through five days")
        played = command(*options, OWNSHELF_API_KEY=live.api_key)
        more = meanwhile(live, options)
        command("experiment", "stop", ID, here)

        def is_over() -> bool:
            return command("experiment", "status", ID, here)["windows"][0]["state"] in ("summed", "failed")

        wait(is_over)
        report = command("experiment", "report", ID, here)
        experiment = experiment_of(httpx.get(f"{live.url}/v1/experiments/{ID}").json()["definition"])
        told = LiveAb(made, played, report, more, experiment, Fleet(folder / "fleet", devices))
        afterwards(live, told)
    return told


def command(*arguments: object, **env: str) -> dict[str, Any]:
    """Run `ownshelf` with --json, and read what it says."""
    made = subprocess.run(
        [sys.executable, "-m", "serving.cli.main", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | env,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return dict(json.loads(made.stdout))


def wait(until: Callable[[], bool], within_s: float = 300.0) -> None:
    """Until something holds."""
    give_up = time.monotonic() + within_s
    while not until():
        assert time.monotonic() < give_up
        time.sleep(0.3)
