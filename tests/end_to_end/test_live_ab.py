"""A live A/B by shipped commands alone: both parties, `experiment quick`, `device --simulate`, `experiment report`.

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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from federation.device.device import Device
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.fleet import Fleet
from federation.simulation.shop_tokens import mint_tokens
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.definition.definition import DAY_S, Experiment
from recsys.experiments.definition.definition_file import experiment_of
from recsys.experiments.device.assignment import assign
from tests.benchmarks.live_ab_world import central_sums, make_log, make_shop
from tests.end_to_end.deployment import ROOT, Deployment
from tests.end_to_end.searching import files_below, found_in, memory_of, pieces

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


def until(what: Callable[[], bool], within_s: float = 120.0) -> None:
    give_up = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < give_up
        time.sleep(0.3)


@dataclass(frozen=True)
class Story:
    """made, played, again, report: what the commands said. own: what those of one more device did.

    found: place → names of the devices' secrets that were found there.
    """

    made: dict[str, Any]
    played: dict[str, Any]
    again: dict[str, Any]
    own: dict[str, Any]
    report: dict[str, Any]
    experiment: Experiment
    devices: list[Device]
    found: dict[str, set[str]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("ab")
    log, bundle = make_log(folder / "log", DEVICES + 20, seed=1), make_shop(folder / "bundle")
    terms = folder / "terms.json"
    terms.write_text(json.dumps({"max_epsilon": math.inf, "min_reports": 25}))
    clips = Clips(rows=1.0, counts=4.0, second=1.0, first=1.0)
    plan = PrivacyPlan.off(clips, max_participations=1, min_reports=3, max_reports=100)
    rounds = {"rounds": 1, "goal_reports": 100, "window_s": 3_600}
    begin = datetime.fromtimestamp(int(time.time()) - 5 * DAY_S, UTC).isoformat()
    with Deployment(folder / "running", bundle, plan, rounds, custodian_options=(f"--experiments={terms}",)) as live:
        here = f"--service={live.url}"
        made = run(
            "experiment", "quick", "--personalized-against-global", "--placement=for-you", f"--id={ID}", here,
            f"--starts-at={begin}", "--days=6", "--outcome-days=7", "--looks=2", "--epsilon=0", "--min-reports=25",
            f"--out={folder / 'test.yaml'}",
        )  # fmt: skip
        until(lambda: httpx.get(f"{live.url}/v1/experiments/{ID}/task").status_code == 200)
        sums = f"--custodian-key={live.custodian_key}", f"--plan={live.plan_file}"
        options = (
            "--experiments", f"--dataset={log}", "--until=2024-04-01", here, *sums, f"--home={folder / 'fleet'}",
            "--visits=0.5",
        )  # fmt: skip
        played = run("device", "--simulate", DEVICES, *options, OWNSHELF_API_KEY=live.api_key)
        again = run("device", "--simulate", DEVICES, *options, OWNSHELF_API_KEY=live.api_key)
        own = one_more(live, folder / "own", here, sums)
        run("experiment", "stop", ID, here)

        def is_over() -> bool:
            return run("experiment", "status", ID, here)["windows"][0]["state"] in ("summed", "failed")

        until(is_over)
        report = run("experiment", "report", ID, here)
        experiment = experiment_of(httpx.get(f"{live.url}/v1/experiments/{ID}").json()["definition"])
        fleet = Fleet(folder / "fleet", DEVICES)
        devices = [*(fleet.device(number) for number in range(DEVICES)), Device.open(folder / "own")]
        found = leaks(live, experiment, devices)
    return Story(made, played, again, own, report, experiment, devices, found)


def one_more(live: Deployment, home: Path, service: str, sums: tuple[str, str]) -> dict[str, Any]:
    """A device whose shopper is at the command line: every call of docs/experiments.md, in order."""
    here = f"--home={home}"
    run("device", "init", "--consent=contribute", "--key-store=file", here)
    run("device", "refresh", service, here)
    refreshed = run("device", "experiments", "refresh", service, here)
    before = run("device", "experiments", "status", here)["experiments"]
    listed = run("device", "recommend", "for-you", here)
    clicked = listed["items"][0]["item_id"]
    run("device", "observe", clicked, here)
    after = run("device", "experiments", "status", here)["experiments"]
    with live.client() as client:
        (token,) = mint_tokens(client, live.api_key, 1)
    sent = run("device", "experiments", "report", service, here, *sums, "--spread=0", OWNSHELF_TOKEN=token.decode())
    return {
        "refreshed": refreshed,
        "before": before,
        "after": after,
        "sent": sent,
        "listed": listed,
        "clicked": clicked,
    }


def leaks(live: Deployment, experiment: Experiment, devices: list[Device]) -> dict[str, set[str]]:
    """Search both parties' memory and files for what three devices keep: secrets, times, lists as they were shown."""
    secrets: dict[str, list[bytes]] = {}
    exposed = [n for n, one in enumerate(devices) if one.state.experiments.enrolment(experiment).exposed_at is not None]
    for number in (*exposed[:2], len(devices) - 1):
        log = devices[number].state.experiments
        times = {note.time for note in log.notes}
        secrets[f"{number}/secret"] = [*pieces(log.secret), log.secret.hex().encode()]
        secrets[f"{number}/times"] = [text for time in times for text in (time.to_bytes(8, "little"), b"%d" % time)]
        ids = log.shown[-1].item_ids[:6]
        secrets[f"{number}/list"] = [json.dumps(ids).encode(), ",".join(ids).encode()]
    places = {
        "memory of the service": memory_of(live.service.pid),
        "memory of the custodian": memory_of(live.custodian.pid),
        "files of the service": files_below(live.service_folder, live.folder / "service.log"),
        "files of the custodian": files_below(live.folder / "custodian", live.custodian.log),
    }
    found = {place: found_in(contents, secrets)[0] for place, contents in places.items()}
    vaults = [device.state.encode() for device in devices]
    return found | {"vaults": found_in(vaults, secrets)[0]}


def test_everybody_lives_once_and_reports_once(story: Story) -> None:
    assert story.made["state"] == "running"
    assert story.played["experiments"]["statuses"] == {ID: {"accepted": DEVICES}}
    assert story.played["experiments"]["visits"] > DEVICES
    assert story.again["experiments"]["statuses"] in ({ID: {"too_early": DEVICES}}, {ID: {"took_part": DEVICES}})
    assert story.report["windows"][0]["reports"] == DEVICES + 1


def test_a_device_takes_part_by_the_calls_of_the_documents(story: Story) -> None:
    own = story.own
    assert own["refreshed"] == {"experiments": [ID]}
    (before,), (after,) = own["before"], own["after"]
    assert before["exposed_at"] is None
    assert after["exposed_at"] is not None
    assert before["arm"] == after["arm"] == assign(story.experiment, story.devices[-1].state.experiments.secret).arm
    assert own["listed"]["experiments"] == [ID]
    assert own["sent"][ID]["status"] == "accepted"
    notes = story.devices[-1].state.experiments.notes
    assert [(note.event, note.item_id) for note in notes] == [("list", None), ("click", own["clicked"])]


def test_the_live_verdict_is_that_of_the_central_analysis(story: Story) -> None:
    """Without noise the sums differ by the rounding of a device alone, and so do effects and verdicts."""
    results = story.report["results"]
    central = analyse(story.experiment, [Look(1, central_sums(story.experiment, story.devices))])
    live = {(one["metric"], one["arm"]): one for one in results["analysis"]["effects"]}
    assert {metric for metric, _ in live} == {"conversion", "revenue"}
    for effect in central.effects:
        found = live[effect.metric, effect.arm]
        assert effect.high is not None
        assert effect.low is not None
        width = effect.high - effect.low
        for name in ("effect", "low", "high"):
            assert found[name] == pytest.approx(getattr(effect, name), abs=0.02 * width), (effect.metric, name)
    assert live["conversion", "personal"]["low"] > 0
    assert results["verdicts"][0]["state"] == "better"


def test_every_exposure_is_of_a_list_that_was_shown(story: Story) -> None:
    exposed = 0
    for device in story.devices:
        log = device.state.experiments
        at = log.enrolment(story.experiment).exposed_at
        if at is not None:
            exposed += 1
            assert at in {note.time for note in log.notes if note.event == "list"}
    counted = sum(arm["all"]["n"] for arm in story.report["results"]["arms"].values())
    assert counted == pytest.approx(exposed, abs=0.5)
    assert exposed > 0.8 * DEVICES


def test_arms_differ_as_their_settings_say(story: Story) -> None:
    """Shoppers of the global arm saw one list; of the personal arm, lists of their own taste."""
    lists: dict[str | None, set[tuple[str, ...]]] = {"global": set(), "personal": set()}
    for device in story.devices[:DEVICES]:
        log = device.state.experiments
        if log.shown and log.enrolment(story.experiment).exposed_at is not None:
            lists[assign(story.experiment, log.secret).arm].add(log.shown[-1].item_ids)
    assert len(lists["global"]) == 1
    assert len(lists["personal"]) > 5


def test_neither_arm_nor_outcome_leaves_a_device_but_in_the_sum(story: Story) -> None:
    vaults = story.found.pop("vaults")
    assert {name.split("/")[1] for name in vaults} == {"secret", "times", "list"}  # the same search finds them there
    assert story.found == {place: set() for place in story.found}
    assert len(story.found) == 4
