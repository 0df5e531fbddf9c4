"""A live A/B by shipped commands alone: both parties, `experiment quick`, `device --simulate`, `experiment report`.

What the report says is compared with the central analysis of the same outcomes, which nobody but this test has: it
opens the devices' vaults.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from federation.device.device import Device
from recsys.experiments.analysis.analysis import Look, analyse
from recsys.experiments.definition.definition import Experiment
from recsys.experiments.device.assignment import assign
from tests.benchmarks.live_ab import ID, LiveAb, command, play
from tests.benchmarks.live_ab_world import central_sums
from tests.end_to_end.deployment import Deployment
from tests.end_to_end.searching import files_below, found_in, memory_of, pieces

DEVICES = 100


@dataclass(frozen=True)
class Story:
    """again: what the fleet said when it came a second time. own: what the commands of one more device said.

    found: place → names of the devices' secrets that were found there.
    """

    live: LiveAb
    again: dict[str, Any]
    own: dict[str, Any]
    devices: list[Device]
    found: dict[str, set[str]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("ab")
    devices: list[Device] = []
    found: dict[str, set[str]] = {}

    def meanwhile(live: Deployment, options: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
        again = command(*options, OWNSHELF_API_KEY=live.api_key)
        sums = tuple(option for option in options if option.startswith(("--custodian-key", "--plan")))
        return again, one_more(live, folder / "own", f"--service={live.url}", sums)

    def afterwards(live: Deployment, told: LiveAb) -> None:
        devices.extend([*map(told.fleet.device, range(DEVICES)), Device.open(folder / "own")])
        found.update(leaks(live, told.experiment, devices))

    told = play(folder, DEVICES, None, 1, meanwhile=meanwhile, afterwards=afterwards)
    again, own = told.more
    return Story(told, again, own, devices, found)


def one_more(live: Deployment, home: Path, service: str, sums: tuple[str, ...]) -> dict[str, Any]:
    """A device whose shopper is at the command line: every call of docs/experiments.md, in order."""
    here = f"--home={home}"
    command("device", "init", "--consent=contribute", "--key-store=file", here)
    command("device", "refresh", service, here)
    refreshed = command("device", "experiments", "refresh", service, here)
    before = command("device", "experiments", "status", here)["experiments"]
    listed = command("device", "recommend", "for-you", here)
    clicked = listed["items"][0]["item_id"]
    command("device", "observe", clicked, here)
    after = command("device", "experiments", "status", here)["experiments"]
    sent = command(
        "device", "experiments", "report", service, here, *sums, "--spread=0", OWNSHELF_SHOP_CREDENTIAL=live.api_key
    )
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
        secrets[f"{number}/list"] = [json.dumps(ids)[1:-1].encode(), ",".join(ids).encode()]
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
    assert story.live.made["state"] == "running"
    assert story.live.played["experiments"]["statuses"] == {ID: {"accepted": DEVICES}}
    assert story.live.played["experiments"]["visits"] > DEVICES
    assert story.again["experiments"]["statuses"] in ({ID: {"too_early": DEVICES}}, {ID: {"took_part": DEVICES}})
    assert story.live.report["windows"][0]["reports"] == DEVICES + 1


def test_a_device_takes_part_by_the_calls_of_the_documents(story: Story) -> None:
    own = story.own
    assert own["refreshed"] == {"experiments": [ID]}
    (before,), (after,) = own["before"], own["after"]
    assert before["exposed_at"] is None
    assert after["exposed_at"] is not None
    assert (
        before["arm"] == after["arm"] == assign(story.live.experiment, story.devices[-1].state.experiments.secret).arm
    )
    assert own["listed"]["experiments"] == [ID]
    assert own["sent"][ID]["status"] == "accepted"
    notes = story.devices[-1].state.experiments.notes
    assert [(note.event, note.item_id) for note in notes] == [("list", None), ("click", own["clicked"])]


def test_the_live_verdict_is_that_of_the_central_analysis(story: Story) -> None:
    """Without noise the sums differ by the rounding of a device alone, and so do effects and verdicts."""
    results = story.live.report["results"]
    central = analyse(story.live.experiment, [Look(1, central_sums(story.live.experiment, story.devices))])
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
        at = log.enrolment(story.live.experiment).exposed_at
        if at is not None:
            exposed += 1
            assert at in {note.time for note in log.notes if note.event == "list"}
    counted = sum(arm["all"]["n"] for arm in story.live.report["results"]["arms"].values())
    assert counted == pytest.approx(exposed, abs=0.5)
    assert exposed > 0.8 * DEVICES


def test_arms_differ_as_their_settings_say(story: Story) -> None:
    """Shoppers of the global arm saw one list; of the personal arm, lists of their own taste."""
    lists: dict[str | None, set[tuple[str, ...]]] = {"global": set(), "personal": set()}
    for device in story.devices[:DEVICES]:
        log = device.state.experiments
        if log.shown and log.enrolment(story.live.experiment).exposed_at is not None:
            lists[assign(story.live.experiment, log.secret).arm].add(log.shown[-1].item_ids)
    assert len(lists["global"]) == 1
    assert len(lists["personal"]) > 5


def test_neither_arm_nor_outcome_leaves_a_device_but_in_the_sum(story: Story) -> None:
    vaults = story.found.pop("vaults")
    assert {name.split("/")[1] for name in vaults} == {"secret", "times", "list"}  # the same search finds them there
    assert story.found == {place: set() for place in story.found}
    assert len(story.found) == 4
