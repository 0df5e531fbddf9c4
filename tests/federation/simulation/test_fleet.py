from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from data.errors import FederationError
from data.vocabulary import Vocabulary
from federation.device.delivery import RetryPolicy
from federation.device.report import DevicePolicy
from federation.device.state import known_columns
from federation.protocol.messages import Report
from federation.simulation.fleet import (
    MOMENTS,
    DeviceOutcome,
    Fleet,
    FleetConfig,
    FleetRound,
    drawn_block,
    history_of,
    next_task,
    play_round,
    vanishing_moment,
)
from recsys.catalogue.bundle import Bundle
from tests.federation.learning.test_taste_update import random_log
from tests.federation.service.live_round import CUSTODIAN, NOW, FakeService, training_task
from tests.shop import make_bundle

POLICY = DevicePolicy(
    CUSTODIAN.public, min_noise_multiplier=0.0, min_reports=1, max_epsilon=math.inf, follows_log=False
)
CONFIG = FleetConfig(NOW * 1_000_000, seed=1, workers=3, retry=RetryPolicy(spread_s=0.0, attempts=2, first_s=0.0))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


def a_fleet(folder: Path, n: int = 12) -> tuple[Fleet, Vocabulary]:
    items = Vocabulary([f"sku-{item}" for item in range(40)])
    return Fleet.create(folder / "fleet", random_log(3, n_users=n), items, np.arange(n)), items


def played(
    fleet: Fleet, service: FakeService, config: FleetConfig, monkeypatch: pytest.MonkeyPatch, n: int = 12
) -> FleetRound:
    def answer(_: object, request: httpx.Request) -> httpx.Response:
        return service.answer(request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    return play_round(fleet, range(n), "http://127.0.0.1:1", POLICY, service.issuer, config, now=lambda: NOW)


def test_a_device_holds_its_users_events_and_no_others(tmp_path: Path) -> None:
    fleet, items = a_fleet(tmp_path)
    log = random_log(3, n_users=12)
    for device in range(12):
        state = fleet.device(device).state
        own = log.of(device)
        assert state.consent == "contribute"
        item_idx, kind, time = known_columns(state.events, items)
        np.testing.assert_array_equal(item_idx, log.item_idx[own])
        np.testing.assert_array_equal(kind, log.kind[own])
        np.testing.assert_array_equal(time, log.time[own])
        assert state.events == history_of(log, items, device)


def test_every_device_reports_once_with_a_token_of_its_own(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, _ = a_fleet(tmp_path)
    task, _ = training_task(bundle, noise=0.0, min_reports=1)
    service = FakeService(task, bundle)
    found = played(fleet, service, CONFIG, monkeypatch)
    assert Counter(fate.status for fate in found.fates) == {"accepted": 12}
    reports = [Report.from_bytes(body, task, NOW) for body in service.received]
    assert len({report.report_id for report in reports}) == len({report.token for report in reports}) == 12
    assert Counter(report.block for report in reports) == Counter(drawn_block(1, task, device) for device in range(12))
    assert Counter(fate.status for fate in played(fleet, service, CONFIG, monkeypatch).fates) == {"too_early": 12}


def test_devices_vanish_where_the_seed_says_and_send_no_more_than_they_did(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, _ = a_fleet(tmp_path, 40)
    task, _ = training_task(bundle, noise=0.0, min_reports=1)
    service, config = FakeService(task, bundle), replace(CONFIG, dropout=0.7)
    found = played(fleet, service, config, monkeypatch, 40)
    moments = [vanishing_moment(config, device, 0) for device in range(40)]
    assert set(moments) == {None, *MOMENTS}
    assert [fate.detail or None for fate in found.fates] == moments
    arrived = sum(moment in (None, "sent") for moment in moments)
    assert len(service.kept) == arrived
    stored = [fleet.device(device).state.participation for device in range(40)]
    for moment, own in zip(moments, stored, strict=True):
        assert len(own.entries) == (moment not in ("fetched", "checked", "computed"))
        assert (own.pending is not None) == (moment in ("stored", "torn", "sent"))
    counts = found.to_dict()
    assert counts["statuses"] == {"accepted": moments.count(None), "vanished": 40 - moments.count(None)}
    assert sum(counts["vanished"].values()) == 40 - moments.count(None)  # type: ignore[attr-defined]


def test_the_share_that_vanishes_is_the_one_asked_for() -> None:
    for dropout in (0.0, 0.3, 1.0):
        config = replace(CONFIG, dropout=dropout)
        vanished = sum(vanishing_moment(config, device, 0) is not None for device in range(2000))
        assert vanished == pytest.approx(2000 * dropout, abs=4 * 2000**0.5 * (dropout * (1 - dropout)) ** 0.5)
    elsewhere = [vanishing_moment(replace(CONFIG, dropout=0.5), 0, play) for play in range(50)]
    assert None in elsewhere
    assert len(set(elsewhere)) > 3


def test_a_refusal_is_counted_by_its_reason_and_names_no_device(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, _ = a_fleet(tmp_path, 3)
    task, _ = training_task(bundle, noise=0.0, min_reports=1)
    service = FakeService(replace(task, signature=bytes(64)), bundle)
    found = played(fleet, service, CONFIG, monkeypatch, 3)
    assert found.to_dict()["refusals"] == {
        "signature of task_id=training-0: must be the pinned custodian's": 3,
    }
    assert service.received == []


def test_the_next_task_is_another_one(bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    with service.client() as client:
        first = next_task(client, None, 0.0)
        assert first == service.task
        assert next_task(client, "training-0", 0.0) is None
        service.task, _ = training_task(bundle, round_=1)
        second = next_task(client, "training-0", 0.0)
        assert second is not None
        assert second.round == 1
        service.task = None
        assert next_task(client, "training-1", 0.0) is None


@pytest.mark.parametrize("wrong", [{"dropout": 1.5}, {"dropout": -0.1}, {"workers": 0}, {"holdout_share": 2.0}])
def test_settings_out_of_bounds_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(FederationError, match="must be"):
        FleetConfig(0, **wrong)  # type: ignore[arg-type]


def test_a_round_without_devices_is_a_round() -> None:
    assert FleetRound((), 0.0).to_dict()["reports_per_s"] == 0.0
    assert FleetRound((DeviceOutcome(0, "accepted", report_bytes=9),), 2.0).to_dict()["reports_per_s"] == 0.5
