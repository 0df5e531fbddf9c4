"""A live A/B by shipped commands alone: service, custodian, `experiment quick`, `device --simulate`, `experiment report`.

What the report says is compared with the central analysis of the same outcomes, which nobody but this test has: it
opens the devices' vaults.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.fleet import Fleet
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.assignment import assign
from tests.benchmarks.live_ab_world import central_sums, make_log, make_shop
from tests.end_to_end.deployment import ROOT, Deployment

DEVICES = 100
ID = "for-you-test"


def run(*arguments: object, **env: str) -> dict[str, Any]:
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


def until(what: Any, within_s: float = 120.0) -> None:
    give_up = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.3)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ab")
    log, bundle = make_log(folder / "log", DEVICES + 20, seed=1), make_shop(folder / "bundle")
    terms = folder / "terms.json"
    terms.write_text(json.dumps({"max_epsilon": math.inf, "min_reports": 25}))
    clips = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
    plan = PrivacyPlan.off(clips, max_participations=1, min_reports=3, max_reports=100)
    rounds = {"rounds": 1, "goal_reports": 100, "window_s": 3_600}
    begin = datetime.fromtimestamp(int(time.time()) - 9 * DAY_S, UTC).isoformat()
    with Deployment(folder / "running", bundle, plan, rounds, custodian_options=(f"--experiments={terms}",)) as live:
        made = run(
            "experiment", "quick", "--personalized-against-global", "--placement=for-you", f"--id={ID}",
            f"--service={live.url}", f"--starts-at={begin}", "--days=4", "--outcome-days=4", "--looks=1",
            "--epsilon=0", "--min-reports=25", f"--out={folder / 'test.yaml'}",
        )  # fmt: skip
        until(lambda: httpx.get(f"{live.url}/v1/experiments/{ID}/task").status_code == 200)
        options = (
            "--experiments", f"--dataset={log}", "--until=2024-04-01", f"--service={live.url}",
            f"--custodian-key={live.custodian_key}", f"--plan={live.plan_file}", f"--home={folder / 'fleet'}", "--visits=0.5",
        )  # fmt: skip
        played = run("device", "--simulate", DEVICES, *options, OWNSHELF_API_KEY=live.api_key)
        again = run("device", "--simulate", DEVICES, *options, OWNSHELF_API_KEY=live.api_key)
        run("experiment", "stop", ID, f"--service={live.url}")
        state = lambda: run("experiment", "status", ID, f"--service={live.url}")["windows"][0]["state"]  # noqa: E731
        until(lambda: state() in ("summed", "failed"))
        report = run("experiment", "report", ID, f"--service={live.url}")
        page = httpx.get(f"{live.url}/v1/experiments/{ID}").json()
    return {
        "made": made, "played": played, "again": again, "report": report,
        "experiment": experiment_of(page["definition"]), "fleet": Fleet(folder / "fleet", DEVICES),
    }  # fmt: skip


def test_everybody_lives_once_and_reports_once(story: dict[str, Any]) -> None:
    assert story["made"]["state"] == "running"
    assert story["played"]["experiments"]["statuses"] == {ID: {"accepted": DEVICES}}
    assert story["played"]["experiments"]["visits"] > DEVICES
    assert story["again"]["experiments"]["statuses"] in ({ID: {"too_early": DEVICES}}, {ID: {"took_part": DEVICES}})


def test_the_live_verdict_is_that_of_the_central_analysis(story: dict[str, Any]) -> None:
    """Without noise the sums differ by the rounding of a device alone, and so do effects and verdicts."""
    experiment: Experiment = story["experiment"]
    results = story["report"]["results"]
    central = analyse(experiment, [Look(1, central_sums(experiment, story["fleet"]))])
    live = {(one["metric"], one["arm"]): one for one in results["analysis"]["effects"]}
    assert {metric for metric, _ in live} == {"conversion", "revenue"}
    for effect in central.effects:
        found = live[effect.metric, effect.arm]
        width = effect.high - effect.low
        for name in ("effect", "low", "high"):
            assert found[name] == pytest.approx(getattr(effect, name), abs=0.02 * width), (effect.metric, name)
    assert live["conversion", "personal"]["low"] > 0
    assert results["verdicts"][0]["state"] == "better"


def test_every_exposure_is_of_a_list_that_was_shown(story: dict[str, Any]) -> None:
    experiment: Experiment = story["experiment"]
    exposed = 0
    for number in range(DEVICES):
        log = story["fleet"].device(number).state.experiments
        at = log.enrolment(experiment).exposed_at
        if at is not None:
            exposed += 1
            assert at in {note.time for note in log.notes if note.event == "list"}
    shown = sum(arm["all"]["n"] for arm in story["report"]["results"]["arms"].values())
    assert shown == pytest.approx(exposed, abs=0.5)
    assert exposed > 0.8 * DEVICES


def test_arms_differ_as_their_settings_say(story: dict[str, Any]) -> None:
    """Shoppers of the global arm saw one list; of the personal arm, lists of their own taste."""
    experiment: Experiment = story["experiment"]
    lists: dict[str | None, set[tuple[str, ...]]] = {"global": set(), "personal": set()}
    for number in range(DEVICES):
        log = story["fleet"].device(number).state.experiments
        if log.shown and log.enrolment(experiment).exposed_at is not None:
            lists[assign(experiment, log.secret).arm].add(log.shown[-1].item_ids)
    assert len(lists["global"]) == 1
    assert len(lists["personal"]) > 5
