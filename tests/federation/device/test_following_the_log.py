"""A device takes part in what is public, and in no log that forgets what it has shown before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from data.errors import ServingError
from federation.device.device import Device
from federation.device.ledger import Participation
from federation.device.report import DevicePolicy, check_task
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.merkle_log import LogRefused, leaf_hash, root_of
from federation.protocol.messages import Task
from federation.protocol.transparency import SeenHead, issuer_key_entry, task_entry
from recsys.catalogue.bundle import Bundle
from tests.federation.device.test_participation import Waits, bundle, device, part
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.federation.service.live_round import CLIPS, CUSTODIAN, NOW, FakeService, refusal, training_task

__all__ = ["bundle", "device"]
POLICY = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=1.0, max_epsilon=500.0)


def logging_service(bundle: Bundle, round_: int = 0, before: list[bytes] | None = None) -> FakeService:
    """A service whose custodian has logged its task after some leaves."""
    task, _ = training_task(bundle, round_=round_, deadline=NOW + 3_600 * (1 + 2 * round_))
    key = leaf_hash(issuer_key_entry(SomeIssuer().key(0)))
    leaves = [*(leaf_hash(bytes([n])) for n in range(3)), key] if before is None else before
    return FakeService(task, bundle, leaves=[*leaves, leaf_hash(task_entry(task))])


class Unlogged(FakeService):
    """Has no proof that its task is in the log."""

    def proof(self, since: int, of_key: bool) -> httpx.Response:
        return refusal(404, "not_found")


def later() -> Waits:
    waits = Waits()
    waits.slept = [7_300.0]
    return waits


def test_the_head_is_remembered_and_the_next_proof_goes_on_from_it(device: Device, bundle: Bundle) -> None:
    service = logging_service(bundle)
    assert part(device, service, POLICY).status == "accepted"
    assert "/v1/federation/log/training-0" in service.requests
    head = device.state.participation.log_head
    assert head == SeenHead(5, root_of(service.leaves))
    assert Participation.decode(device.state.participation.encode()).log_head == head
    after = logging_service(bundle, 1, [*service.leaves, leaf_hash(b"more")])
    assert part(device, after, POLICY, waits=later()).status == "accepted"
    assert device.state.participation.log_head == SeenHead(7, root_of(after.leaves))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda service: replace(service, leaves=[leaf_hash(b"another past"), *service.leaves[1:]]), LogRefused),
        (lambda service: replace(service, leaves=service.leaves[-1:]), LogRefused),
        (lambda service: replace(service, log_key=SigningKey.generate()), LogRefused),
        (lambda service: Unlogged(service.task, service.bundle), ServingError),
    ],
    ids=["forked", "shorter", "of another key", "not logged"],
)
def test_a_task_that_is_not_in_the_log_seen_before_gets_no_report(
    device: Device, bundle: Bundle, spoil: Callable[[FakeService], FakeService], error: type[Exception]
) -> None:
    first = logging_service(bundle)
    part(device, first, POLICY)
    before = device.state.participation
    service = spoil(logging_service(bundle, 1, first.leaves))
    with pytest.raises(error):
        part(device, service, POLICY, waits=later())
    assert service.received == []
    assert device.state.participation == before


def test_a_device_takes_part_only_in_its_plans_own_sums(bundle: Bundle) -> None:
    plan = PrivacyPlan(CLIPS, 1.0, 6, 50, 1_000, 1e-6)
    policy = replace(POLICY, plan=plan)

    def task_of(promise: PrivacyPlan) -> Task:
        return training_task(bundle, plan=promise.sum_plan(16, 8))[0]

    check_task(task_of(plan), policy, NOW)
    other = replace(CLIPS, counts=CLIPS.counts * 8)  # all sensitivity on the counts: "has this shopper bought it?"
    for promise in (replace(plan, clips=other), replace(plan, max_reports=999), replace(plan, noise_multiplier=1.1)):
        with pytest.raises(TaskRefused, match="plan: must be the privacy plan's own"):
            check_task(task_of(promise), policy, NOW)
    with pytest.raises(TaskRefused, match="at least min_items=1000"):
        check_task(task_of(plan), replace(policy, plan=replace(plan, min_items=1_000)), NOW)


def test_a_clock_that_was_once_in_2040_silences_no_device(device: Device, bundle: Bundle) -> None:
    waits = Waits()
    waits.slept = [14 * 365 * 86_400.0]
    silent = FakeService(None, bundle)
    policy = replace(POLICY, follows_log=False, max_per_period=1)
    assert part(device, silent, policy, waits=waits).status == "no_round"
    assert device.state.participation.come_back_at > NOW + policy.max_wait_s
    task, _ = training_task(bundle)
    assert part(device, FakeService(task, bundle), policy).status == "accepted"


def test_reports_are_spread_over_the_window_and_a_device_does_not_sit_through_it(
    device: Device, bundle: Bundle
) -> None:
    policy, waits, service = replace(POLICY, follows_log=False), Waits(), FakeService(training_task(bundle)[0], bundle)
    found = part(device, service, policy, waits=waits, spread_s=math.inf, stay_s=60.0)
    assert (found.status, found.detail, service.received) == ("unsent", "not_yet", [])
    pending = device.state.participation.pending
    assert pending is not None
    assert 60 < pending.post_at - NOW < 0.9 * 3_600
    waits.slept.append(pending.post_at - NOW - 10)
    assert part(device, service, policy, waits=waits, spread_s=math.inf, stay_s=60.0).status == "accepted"
    assert service.received == [pending.report]


def test_moments_of_many_devices_fill_the_window(tmp_path: Path, bundle: Bundle) -> None:
    task, _ = training_task(bundle)
    moments = []
    for n in range(12):
        made = Device.create(tmp_path / str(n), consent="contribute", key_store="file")
        chance = __import__("tests.federation.device.test_participation", fromlist=["draws"]).draws()
        chance = replace(chance, waiting=__import__("random").Random(n))
        part(
            made,
            FakeService(task, bundle),
            replace(POLICY, follows_log=False),
            chance=chance,
            spread_s=math.inf,
            stay_s=0,
        )
        pending = made.state.participation.pending
        assert pending is not None
        moments.append(pending.post_at - NOW)
    assert min(moments) < 900
    assert max(moments) > 2_300
