"""An experiment over real HTTP: service and custodian in processes of their own, 200 devices, two arms, a true effect.

Then disk, log and memory of both are searched for what planted devices keep secret, as for training rounds in
test_live_leaks.py; the same search finds it in the devices' own process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import federation.private_sum.device_part as splitting
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.analysis.sums import ArmSums
from tests.benchmarks.experiment_e2e import LiveExperiment, coverage
from tests.benchmarks.experiment_shoppers import RATES, Shopper, shoppers
from tests.end_to_end.searching import files_below, found_in, memory_of, pieces

DEVICES, PLANTED = 200, 3
SEED = 1


@dataclass(frozen=True)
class Story:
    """found: place → names of secrets, with reports stored (before) and with the sum made (after)."""

    people: list[Shopper]
    live: LiveExperiment
    shown: dict[str, Any]
    found: dict[str, set[str]]
    own: set[str]
    secrets: dict[str, list[bytes]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder, planting = tmp_path_factory.mktemp("experiment"), ""
    secrets: dict[str, list[bytes]] = {}
    real_split = splitting.service_share
    seeds = []

    def watched(words: np.ndarray, seed: bytes) -> bytes:
        if planting:
            first = int(np.flatnonzero(words)[0])
            secrets[f"{planting}/seed"] = pieces(seed)
            secrets[f"{planting}/words"] = [
                words.astype("<u4")[first : first + 4].tobytes()
            ]  # n, bought, spent, spent²
            seeds.append(seed)
        return real_split(words, seed)

    with pytest.MonkeyPatch.context() as patch, LiveExperiment.deploy(folder, None, DEVICES) as live:
        patch.setattr(splitting, "service_share", watched)
        people = list(shoppers(live.experiment, DEVICES, SEED))
        buyers = [number for number, one in enumerate(people) if len(one.notes) == 2][:PLANTED]
        for number, shopper in enumerate(people):
            planting = f"device {number}" if number in buyers else ""
            if planting:
                secrets[f"{planting}/device secret"] = [*pieces(shopper.secret), shopper.secret.hex().encode()]
                times = [shopper.exposed_at, *(one.time for one in shopper.notes)]
                secrets[f"{planting}/times"] = [
                    pattern for time in times for pattern in (time.to_bytes(8, "little"), str(time).encode())
                ]
            assert live.report(number, shopper).status == "accepted"
        found = _look(live, secrets, "before")
        own, _ = found_in(memory_of(os.getpid()), secrets)
        shown = live.finish()
        found |= _look(live, secrets, "after")
    return Story(people, live, shown, found, own, secrets)


def _look(live: LiveExperiment, secrets: dict[str, list[bytes]], when: str) -> dict[str, set[str]]:
    running = live.deployment
    places = {
        "memory of the service": memory_of(running.service.pid),
        "memory of the custodian": memory_of(running.custodian.pid),
        "files of the service": files_below(running.service_folder, running.folder / "service.log"),
        "files of the custodian": files_below(running.folder / "custodian", running.custodian.log),
    }
    found = {}
    for place, contents in places.items():
        names, searched = found_in(contents, secrets)
        assert searched > 10_000, place
        found[f"{when}: {place}"] = names
    return found


def test_the_sums_are_those_of_the_devices_and_the_effect_is_found(story: Story) -> None:
    shown = story.shown
    assert [(one["state"], one["reports"]) for one in shown["windows"]] == [("summed", DEVICES)]
    for arm in ("global", "personal"):
        rows = [one for one in story.people if one.arm == arm]
        bought = [float(len(one.notes) == 2) for one in rows]
        spent = [min(one.notes[-1].value, 200.0) if len(one.notes) == 2 else 0.0 for one in rows]
        exact = ArmSums.from_rows({"bought": bought, "spent": spent}, story.live.experiment.metrics)
        found = ArmSums.from_dict(shown["arms"][arm]["all"])
        assert (found.n, found.totals["bought"]) == (exact.n, exact.totals["bought"])
        assert found.totals["spent"] == pytest.approx(exact.totals["spent"], rel=1e-3)
        assert found.products["spent", "spent"] == pytest.approx(exact.products["spent", "spent"], rel=1e-2)
    (effect,) = (one for one in shown["analysis"]["effects"] if one["metric"] == "conversion")
    rates = {arm: np.mean([len(one.notes) == 2 for one in story.people if one.arm == arm]) for arm in RATES}
    assert effect["effect"] == pytest.approx(rates["personal"] - rates["global"])
    assert effect["low"] > 0
    assert shown["analysis"]["sample_ratio"] is not None
    assert not shown["privacy"]["private"]


def test_nothing_of_a_device_is_in_the_service(story: Story) -> None:
    assert len(story.secrets) == 4 * PLANTED
    for place, names in story.found.items():
        if "service" in place:
            assert names == set(), place
        else:
            assert all(name.endswith("/seed") for name in names), place  # half of a secret is a custodian's


def test_the_same_search_finds_it_all_where_it_is(story: Story) -> None:
    assert {name for name in story.secrets if "device secret" in name} <= story.own
    assert {name for name in story.secrets if "times" in name} <= story.own


def test_what_is_stored_of_a_report_is_the_same_for_no_two_of_a_device(story: Story) -> None:
    """No stable id: of its reports only random ids and digests are left, and no time."""
    engine = story.live.deployment.store.engine
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM reports").mappings().all()
        tables = {row[0] for row in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type='table'")}
    engine.dispose()
    assert len({row["report_id"] for row in rows}) == len(rows) == DEVICES
    for row in rows:
        gone = {name for name, value in row.items() if value is None}
        assert gone == {"sealed_seed", "issuer", "serial", "token", "segment", "at"}
    assert {"experiments", "experiment_versions", "experiment_windows"} <= tables
    assert layout_of(story.live.experiment).length == 2 * 2 * 4


def test_intervals_from_noisy_windows_cover_the_true_effect() -> None:
    found = coverage(seeds=25, n=200, seed=5, epsilon=6.0)
    assert 0.8 <= found["covered_at_the_last_look"] <= 1.0  # 95 % of 25 is 0.95 ± 0.044; the benchmark runs 200
    assert 0.05 < found["noise_share"] < 0.9
