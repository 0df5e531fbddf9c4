"""Everything the service stored and received in a live round is searched for what planted devices keep secret.

Searched: the bytes that passed between devices, service and custodian, every file of the service, its log, and the
memory of the running processes, read from /proc, at the worst moments: with half of each report just received, with
all reports stored, and after the round. Searched for: profile and update as floats of both widths, base64, decimals and
fixed-point words; the seed; the times of events. The same search finds all of it in the devices' own process, and a
device that forgets to split its words is found out in every one of these places.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.dataset import Dataset
from data.log_reading.ingest import ingest
from data.synthetic import SyntheticShop
from federation.device.device import Device
from federation.device.tokens.issuing import ShopIssuer
from federation.learning.privacy_plan import PrivacyPlan
from federation.learning.taste_update import Clips
from federation.simulation.fleet import Fleet, FleetConfig, play_round
from federation.simulation.training import TrainConfig
from serving.cli.device.contribute import policy_of
from tests.end_to_end.deployment import ROOT, Deployment, untrained_bundle
from tests.end_to_end.searching import Recorder, encodings_of, files_below, found_in, memory_of, pieces

PLAN = PrivacyPlan(
    Clips(rows=1.0, counts=4.0, second=0.5, first=0.7),
    noise_multiplier=1.0,
    max_participations=3,
    min_reports=4,
    max_reports=200,
    delta=1e-5,
)
OTHERS, HONEST = 8, ("honest-1", "honest-2")
PLANTED = (*HONEST, "careless")
N_ITEMS, DIM = 300, 16

Secrets = dict[str, list[bytes]]


@dataclass(frozen=True)
class Looked:
    """What was found where: place → names of secrets, and how many bytes were searched there."""

    found: dict[str, set[str]]
    searched: dict[str, int]


@dataclass(frozen=True)
class Story:
    """A live round, looked into at its worst moments. own: what the same search finds in the devices' own process."""

    secrets: Secrets
    own: Looked
    halfway: Looked
    stored: Looked
    after: Looked


def secrets_of(file: Path) -> Secrets:
    """Each planted device's secrets as byte patterns, named device/what/encoding."""
    found: Secrets = {}
    with np.load(file, allow_pickle=False) as kept:
        for device in PLANTED:
            for what in ("profile", "rows"):
                vector = kept[f"{device}/{what}"].ravel()
                for encoding, patterns in encodings_of(vector).items():
                    found[f"{device}/{what}/{encoding}"] = patterns
            found[f"{device}/words/fixed point"] = pieces(kept[f"{device}/words"].astype("<u4").tobytes())
            found[f"{device}/seed/raw"] = pieces(kept[f"{device}/seed"].tobytes())
            times = kept[f"{device}/times"].tolist()
            found[f"{device}/times/int64"] = [time.to_bytes(8, "little") for time in times]
            found[f"{device}/times/text"] = [str(time).encode() for time in times] + [
                (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).isoformat().encode() for time in times
            ]
    return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("leaks")
    shop = SyntheticShop(n_users=60, n_items=N_ITEMS, n_events=3000, seed=4, n_clusters=5)
    dataset: Dataset = ingest(pl.concat(shop.events()), out=folder / "log")
    log, ids = dataset.interactions(), dataset.items.ids.to_list()
    at = int(log.time.max()) + 1
    untrained_bundle(folder / "bundle", log, TrainConfig(dim=DIM), seed=0, now=at, item_ids=ids)
    users = np.flatnonzero(log.counts > 0)[: OTHERS + 1]
    fleet = Fleet.create(folder / "others", log, dataset.items, users)
    for number, name in enumerate(PLANTED):
        device = Device.create(folder / "planted" / name, consent="contribute", key_store="file")
        rng = np.random.default_rng(number)
        for item, age in zip(rng.choice(len(ids), 40, replace=False), rng.integers(10**9, 10**13, 40), strict=True):
            device.observe(ids[item], "purchase", at - int(age))

    recorders: list[Recorder] = []

    def recorded(url: str) -> str:
        recorders.append(Recorder(url))
        return recorders[-1].url

    # Block 1 is the careless device's: what it sends makes no sum.
    half = -(-len(ids) // 2)
    settings = {
        "rounds": 1,
        "block_items": half,
        "goal_reports": len(PLANTED) + OTHERS + 1,
        "window_s": 600,
        "pause_s": 600,
    }
    with Deployment(folder / "running", folder / "bundle", PLAN, settings, through=recorded) as running:
        service = recorded(running.url)
        orders = {
            "service": service,
            "plan": str(running.plan_file),
            "custodian_key": running.custodian_key,
            "api_key": running.api_key,
            "history_at": at,
            "devices": {name: str(folder / "planted" / name) for name in PLANTED},
            "secrets": str(folder / "secrets.npz"),
        }
        (folder / "orders.json").write_text(json.dumps(orders))
        program = [sys.executable, "-m", "tests.end_to_end.planted_devices", str(folder / "orders.json")]
        with (
            subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as planted,
            running.client() as client,
        ):
            assert planted.stdin is not None
            assert planted.stdout is not None
            assert planted.stdout.readline() == "halfway\n"
            secrets = secrets_of(folder / "secrets.npz")

            def look() -> Looked:
                places = {
                    "memory of the service": memory_of(running.service.pid),
                    "memory of the custodian": memory_of(running.custodian.pid),
                    "files of the service": files_below(running.service_folder, folder / "running" / "service.log"),
                    "files of the custodian": files_below(folder / "running" / "custodian", running.custodian.log),
                    "the wire": iter([recorder.seen for recorder in recorders]),
                }
                looked = {place: found_in(contents, secrets) for place, contents in places.items()}
                return Looked(
                    {place: found for place, (found, _) in looked.items()},
                    {place: searched for place, (_, searched) in looked.items()},
                )

            def others(devices: range) -> None:
                policy = policy_of(PLAN, bytes.fromhex(running.custodian_key))
                issuer, config = ShopIssuer(client, running.api_key), FleetConfig(at)
                played = play_round(fleet, devices, service, policy, issuer, config, block_of=lambda _, one: one % 2)
                assert played.count("accepted") == len(devices)

            own_found, own_searched = found_in(memory_of(planted.pid), secrets)
            own = Looked({"memory of the devices": own_found}, {"memory of the devices": own_searched})
            halfway = look()
            planted.stdin.write("go on\n")
            planted.stdin.flush()
            outcomes = json.loads(planted.stdout.readline())
            assert {outcome["status"] for outcome in outcomes.values()} == {"accepted"}
            others(range(OTHERS))
            stored = look()
            planted.stdin.close()
            others(range(OTHERS, OTHERS + 1))
            running.until_published(0)
            after = look()
    for recorder in recorders:
        recorder.close()
    return Story(secrets, own, halfway, stored, after)


def of(device: str, looked: Looked) -> dict[str, set[str]]:
    """What was found of one device, where."""
    return {
        place: {name for name in found if name.startswith(device)} for place, found in looked.found.items() if found
    }


SERVICE_SEES = ("memory of the service", "files of the service", "the wire")


@pytest.mark.parametrize("moment", ["halfway", "stored", "after"])
@pytest.mark.parametrize("device", HONEST)
def test_nothing_of_an_honest_device_is_anywhere_but_with_itself(story: Story, device: str, moment: str) -> None:
    looked: Looked = getattr(story, moment)
    assert not any(of(device, looked)[place] for place in of(device, looked) if place in SERVICE_SEES)
    custodian = {name for place in looked.found for name in of(device, looked).get(place, set())}
    assert custodian <= {f"{device}/seed/raw"}  # half of a secret is what a custodian is for
    assert looked.searched["memory of the service"] > 30e6
    assert looked.searched["memory of the custodian"] > 10e6
    assert looked.searched["files of the service"] > 100e3
    assert looked.searched["the wire"] > (1 if moment == "halfway" else 10) * 15e3


def test_the_same_search_finds_every_secret_in_the_devices_own_process(story: Story) -> None:
    kept = ("profile/float32", "profile/float64", "rows/float64", "words/fixed point", "seed/raw", "times/int64")
    own = {f"{device}/{what}" for device in PLANTED for what in kept}
    assert own <= set(story.secrets)
    assert own <= story.own.found["memory of the devices"]


def test_a_device_that_forgets_to_split_is_found_out_everywhere(story: Story) -> None:
    words = "careless/words/fixed point"
    for looked, places in (
        (story.halfway, ("memory of the service", "the wire")),
        (story.stored, ("files of the service", "the wire")),
        (story.after, ("the wire",)),
    ):
        for place in places:
            assert words in looked.found[place], place


def test_after_the_round_not_even_the_careless_share_is_stored(story: Story) -> None:
    assert story.after.found["files of the service"] == set()
