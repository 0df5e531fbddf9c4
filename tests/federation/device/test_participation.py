from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from data.errors import ServingError
from data.interactions import MICROS_PER_DAY
from federation.custodian.policy import answer_batch
from federation.device.contribution import OwnHistory, training_vectors
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.reporting import DeviceRandomness, Outcome
from federation.device.state import known_columns
from federation.private_sum.fixed_point import decode
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.messages import Report
from federation.protocol.tokens.report_token import check_token
from federation.service.summing import batch_of, sum_of
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import catalogue_of, decode_catalogue, encode_catalogue
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.federation.service.live_round import CUSTODIAN, NOW, FakeService, refusal, training_task
from tests.shop import make_bundle

POLICY = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=1.0, max_epsilon=50.0, follows_log=False)
OPEN = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=0.0, min_reports=1, max_epsilon=math.inf, follows_log=False)
ISSUER = SomeIssuer()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def device(tmp_path: Path) -> Device:
    made = Device.create(tmp_path / "home", consent="contribute", key_store="file")
    for day, item in enumerate((1, 2, 2, 9, 30, 17)):
        made.observe(f"sku-{item}", "purchase", (NOW * 1_000_000) - (10 - day) * MICROS_PER_DAY)
    return made


def draws(block: int | None = None, rounding: int | None = None, *, measures_only: bool = False) -> DeviceRandomness:
    one = DeviceRandomness(
        measures_only=lambda: measures_only,
        rounding=None if rounding is None else np.random.default_rng(rounding),
        waiting=random.Random(0),
    )
    return one if block is None else replace(one, block=lambda task: block)


class Waits:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return NOW + sum(self.slept)

    def retry(self, **changes: float) -> RetryPolicy:
        return RetryPolicy(**({"spread_s": 0.0, "stay_s": math.inf} | changes), sleep=self.slept.append)  # type: ignore[arg-type]


def part(
    device: Device,
    service: FakeService,
    policy: DevicePolicy = POLICY,
    *,
    waits: Waits | None = None,
    base_url: str = "https://shop.test",
    chance: DeviceRandomness | None = None,
    **retry: float,
) -> Outcome:
    waits = waits or Waits()
    with service.client(base_url) as client:
        return take_part(
            device,
            client,
            policy,
            ISSUER,
            draws=chance or draws(),
            retry=waits.retry(**retry),
            now=waits.now,
        )


def test_a_report_arrives_and_the_ledger_tells_it(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle)
    service = FakeService(task, bundle)
    found = part(device, service)
    assert found == Outcome("accepted", task.come_back_at, report_bytes=len(service.received[0]))
    report = Report.from_bytes(service.received[0], task, NOW)
    assert check_token(report.token, task, {ISSUER.key(0).token_key_id: ISSUER.key(0)}.get).tag == "shop#mint"
    own = device.state.participation
    assert own.pending is None
    assert [(entry.task_hash, entry.round, entry.at) for entry in own.entries] == [(task.hash, 0, NOW)]
    assert own.epsilon(POLICY.delta) > 0
    shown = device.show()
    assert (shown["participations"], shown["unsent_report_bytes"]) == (1, 0)


@pytest.mark.parametrize("suite", list(Suite))
def test_what_both_parties_sum_is_the_devices_own_update(device: Device, bundle: Bundle, suite: Suite) -> None:
    task, secret = training_task(bundle, noise=0.0, min_reports=1, suite=suite)
    service = FakeService(task, bundle)
    block, seed = 2, 5
    part(device, service, OPEN, base_url="http://127.0.0.1", chance=draws(block, seed))
    report = Report.from_bytes(service.received[0], task, NOW)
    assert report.block == block
    _, answer = answer_batch(task, batch_of(task, block, [report]), secret, CUSTODIAN.public)
    found = sum_of(task, {report.report_id: report.service_share}, answer)

    held = device.catalogue
    assert held is not None
    own = OwnHistory(*known_columns(device.state.events, held.items), at=NOW * 1_000_000)
    vectors = training_vectors(own, held, task, block)
    np.testing.assert_array_equal(found, sum_in_process(task.plan, [vectors], np.random.default_rng(seed)))
    parts = decode(task.plan, found)
    assert parts["one"].round(3).tolist() == [1.0]
    assert np.flatnonzero(np.abs(parts["counts"]) > 0.01).tolist() == []  # block 2 is items 32..39: none of its own
    assert np.linalg.norm(parts["first"]) > 0.01


def test_the_update_is_weighed_as_in_training_not_as_in_serving(tmp_path: Path, bundle: Bundle) -> None:
    trained = replace(bundle.config, half_life=1000.0, alpha=0.5)
    longer = replace(bundle, manifest={**bundle.manifest, "training": {"config": {"profile": vars(trained)}}})
    served, at = catalogue_of(bundle), NOW * 1_000_000
    there = decode_catalogue(encode_catalogue(longer))
    assert (there.training, there.config) == (trained, bundle.config)
    task, _ = training_task(bundle)
    item_idx, time = np.array([1, 5], dtype=np.int32), np.array([at - 300 * MICROS_PER_DAY, at])
    own = OwnHistory(item_idx, np.array([2, 2], dtype=np.uint8), time, at)
    counts = {
        name: training_vectors(own, held, task, 0)["counts"] for name, held in (("served", served), ("there", there))
    }
    old = 2 ** (-300 / 30) * 0.9 + 0.1
    np.testing.assert_allclose(counts["served"][[1, 5]], [old, 1.0], rtol=1e-6)
    old = 2 ** (-300 / 1000) * 0.9 + 0.1
    np.testing.assert_allclose(counts["there"][[1, 5]], [old, 1.0], rtol=1e-6)


def test_a_device_with_nothing_to_say_reports_zeros(tmp_path: Path, bundle: Bundle) -> None:
    bare = Device.create(tmp_path / "bare", consent="contribute", key_store="file")
    task, secret = training_task(bundle, noise=0.0, min_reports=1)
    service = FakeService(task, bundle)
    assert part(bare, service, OPEN, base_url="http://127.0.0.1", chance=draws(0)).status == "accepted"
    report = Report.from_bytes(service.received[0], task, NOW)
    _, answer = answer_batch(task, batch_of(task, 0, [report]), secret, CUSTODIAN.public)
    assert not sum_of(task, {report.report_id: report.service_share}, answer).any()


def test_a_holdout_device_adds_nothing_but_its_figure_and_stays_one(device: Device, bundle: Bundle) -> None:
    for round_ in range(2):
        task, secret = training_task(bundle, round_=round_, noise=0.0, min_reports=1, come_back_at=NOW)
        service = FakeService(task, bundle)
        chance = draws(0, measures_only=round_ == 0)  # the second coin is never looked at
        assert part(device, service, OPEN, base_url="http://127.0.0.1", chance=chance).status == "accepted"
        report = Report.from_bytes(service.received[0], task, NOW)
        _, answer = answer_batch(task, batch_of(task, 0, [report]), secret, CUSTODIAN.public)
        parts = decode(task.plan, sum_of(task, {report.report_id: report.service_share}, answer))
        assert all(not parts[name].any() for name in ("rows", "counts", "second", "first", "one"))
        assert parts["metrics"].round(3)[[0, 2]].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("consent", ["nothing", "observe"])
def test_without_consent_to_contribute_nothing_is_asked_or_sent(device: Device, bundle: Bundle, consent: str) -> None:
    device.set_consent(consent)
    service = FakeService(training_task(bundle)[0], bundle)
    assert part(device, service).status == "no_consent"
    assert service.requests == []


def test_consent_withdrawn_destroys_the_unsent_report(device: Device, bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: refusal(503, "busy")]
    assert part(device, service, attempts=1) == Outcome(
        "unsent", NOW + 7_200, "busy", report_bytes=len(service.received[0])
    )
    assert device.state.participation.pending is not None
    device.set_consent("observe")
    assert device.state.participation.pending is None
    device.set_consent("contribute")
    assert part(device, service).status == "too_early"
    assert len(service.received) == 1
    assert len(device.state.participation.entries) == 1


def test_consent_withdrawn_while_it_waits_stops_the_next_attempt(device: Device, bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)

    def fail(_: httpx.Request) -> httpx.Response:
        device.set_consent("observe")
        raise httpx.ReadError("gone")

    service.faults = [fail]
    assert part(device, service).detail == "withdrawn"
    assert len(service.received) == 1


def test_forgetting_an_item_destroys_a_report_made_with_it(device: Device, bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: refusal(503, "busy")]
    part(device, service, attempts=1)
    assert device.forget("sku-of-nobody") == 0
    assert device.state.participation.pending is not None
    assert device.forget("sku-2") == 2
    assert device.state.participation.pending is None


def test_a_task_of_another_key_than_the_pinned_is_refused(device: Device, bundle: Bundle) -> None:
    forged, _ = training_task(bundle, key=SigningKey.generate())
    service = FakeService(forged, bundle)
    with pytest.raises(TaskRefused, match="must be the pinned custodian's"):
        part(device, service)
    task, _ = training_task(bundle)
    other = replace(POLICY, custodian_key=SigningKey.generate().public)
    with pytest.raises(TaskRefused, match="must be the pinned custodian's"):
        part(device, FakeService(task, bundle), other)
    assert service.received == []
    assert device.state.participation.entries == ()


@pytest.mark.parametrize(
    ("weaker", "why"),
    [
        ({"noise": 0.9}, "sigma"),
        ({"noise": 0.0}, "sigma=0"),
        ({"min_reports": 49}, "min_reports=49: must be at least 50"),
        ({"deadline": NOW - 1}, "deadline"),
        ({"deadline": NOW + 8 * 86_400}, "deadline"),
        ({"n_block": 16, "blocks": ()}, "blocks"),
    ],
)
def test_a_task_weaker_than_agreed_is_refused(device: Device, bundle: Bundle, weaker: dict, why: str) -> None:
    if "blocks" in weaker:
        task = training_task(bundle)[0]
        weaker = {"blocks": (replace(task.blocks[0], stop=1000), *task.blocks[1:])}
    service = FakeService(training_task(bundle, **weaker)[0], bundle)
    with pytest.raises(TaskRefused, match=why):
        part(device, service)
    assert service.received == []
    assert device.state.participation.entries == ()


def test_a_sum_without_noise_is_refused_off_this_machine_even_if_agreed(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1)
    service = FakeService(task, bundle)
    with pytest.raises(TaskRefused, match="for this machine only"):
        part(device, service, OPEN, base_url="https://shop.test")
    assert part(device, service, OPEN, base_url="http://127.0.0.1").status == "accepted"


def test_plain_http_to_another_machine_is_refused_before_anything_is_sent(device: Device) -> None:
    with pytest.raises(ServingError, match="must be https://"):
        take_part(device, "http://shop.example", POLICY, ISSUER)


def test_a_task_that_asks_for_other_parts_is_refused(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle)
    parts = task.plan.parts
    for changed in (
        parts[1:],
        (replace(parts[0], length=7), *parts[1:]),
        (*parts[:-1], replace(parts[-1], name="age")),
    ):
        plan = replace(task.plan, parts=changed)
        other, _ = training_task(bundle, plan=replace(plan, sigma=10**7))
        with pytest.raises(TaskRefused, match="parts="):
            part(device, FakeService(other, bundle))


def test_only_the_catalogue_that_the_custodian_signed_is_used(device: Device, bundle: Bundle, tmp_path: Path) -> None:
    task, _ = training_task(bundle)
    other = make_bundle(tmp_path / "other", seed=3)
    with pytest.raises(TaskRefused, match="is not what the service hands out"):
        part(device, FakeService(task, other))
    forged, _ = training_task(bundle, bundle_hash=bytes(32))
    with pytest.raises(TaskRefused, match="another catalogue"):
        part(device, FakeService(forged, bundle))
    assert device.state.participation.entries == ()


def test_a_device_takes_part_once_in_a_task(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle, come_back_at=NOW)
    service = FakeService(task, bundle)
    assert part(device, service).status == "accepted"
    assert part(device, service).status == "took_part"
    assert len(service.received) == 1


def test_the_participation_cap_holds_within_its_period(device: Device, bundle: Bundle) -> None:
    capped = replace(POLICY, max_per_period=2, period_s=1000)
    for round_ in range(4):
        at, wait = NOW + 100 * round_, Waits()
        wait.slept = [100.0 * round_]
        task, _ = training_task(bundle, round_=round_, come_back_at=at, deadline=at + 50)
        assert part(device, FakeService(task, bundle), capped, waits=wait).status == (
            "accepted" if round_ < 2 else "period_full"
        )
    later = Waits()
    later.slept = [1001.0]
    task, _ = training_task(bundle, round_=4, come_back_at=NOW, deadline=NOW + 2000)
    assert part(device, FakeService(task, bundle), capped, waits=later).status == "accepted"


def test_the_lifetime_cap_holds_however_long_it_waits(device: Device, bundle: Bundle) -> None:
    capped, statuses = replace(POLICY, max_participations=2), []
    for round_ in range(4):
        at, wait = NOW + 10_000_000 * round_, Waits()
        wait.slept = [10_000_000.0 * round_]
        task, _ = training_task(bundle, round_=round_, come_back_at=at, deadline=at + 50)
        service = FakeService(task, bundle)
        statuses.append(part(device, service, capped, waits=wait).status)
        assert len(service.received) == (statuses[-1] == "accepted")
    assert statuses == ["accepted", "accepted", "cap_reached", "cap_reached"]
    assert len(device.state.participation.entries) == 2


def test_who_has_taken_part_looks_again_ever_less_often(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle, come_back_at=NOW, deadline=NOW + 100_000)
    service, waits = FakeService(task, bundle), Waits()
    assert part(device, service, waits=waits).status == "accepted"
    gaps = []
    for _ in range(5):
        back = device.state.participation.come_back_at
        waits.slept = [float(back - NOW)]
        assert part(device, service, waits=waits).status == "took_part"
        gaps.append(device.state.participation.come_back_at - back)
    assert gaps == [60, 60, 120, 240, 480]  # as long again as since the report
    assert len(service.received) == 1


def test_the_lifetime_budget_holds_whoever_asks(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle, noise=2.0, come_back_at=NOW)
    assert part(device, FakeService(task, bundle)).status == "accepted"
    spent = device.state.participation.epsilon(POLICY.delta)
    tight = replace(POLICY, max_epsilon=spent * 1.01)
    later = Waits()
    for n in range(1, 3):
        later.slept.append(1_000.0)
        task, _ = training_task(bundle, round_=n, task_id=f"audit-{n}", come_back_at=NOW)
        assert part(device, FakeService(task, bundle), tight, waits=later).status == "budget_spent"
    later.slept.append(10_000.0)
    task, _ = training_task(bundle, round_=3, come_back_at=NOW, deadline=NOW + 20_000)
    loose = replace(POLICY, max_epsilon=spent * 2)
    assert part(device, FakeService(task, bundle), loose, waits=later).status == "accepted"
    assert spent < device.state.participation.epsilon(POLICY.delta) <= spent * 2


def test_one_sum_without_noise_leaves_no_budget_for_noised_ones(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1, come_back_at=NOW)
    part(device, FakeService(task, bundle), OPEN, base_url="http://127.0.0.1")
    assert device.state.participation.epsilon(POLICY.delta) == math.inf
    task, _ = training_task(bundle, round_=1, come_back_at=NOW)
    assert part(device, FakeService(task, bundle)).status == "budget_spent"


def test_it_comes_back_when_told_and_not_earlier(device: Device, bundle: Bundle) -> None:
    service = FakeService(None, bundle, retry_after="600")
    found = part(device, service)
    assert found.status == "no_round"
    assert NOW + 600 <= found.come_back_at <= NOW + 660
    service.task, _ = training_task(bundle)
    assert part(device, service) == Outcome("too_early", found.come_back_at)
    assert len(service.requests) == 1
    later = Waits()
    later.slept = [661.0]
    assert part(device, service, waits=later).status == "accepted"
    assert device.state.participation.come_back_at == NOW + 7_200


@pytest.mark.parametrize("answer", ["soon", "", "-5", "1e9", "99999999999999"])
def test_a_senseless_retry_after_neither_hurries_nor_silences_it(device: Device, bundle: Bundle, answer: str) -> None:
    assert NOW + 3_600 <= part(device, FakeService(None, bundle, answer)).come_back_at <= NOW + 3_960


def test_no_service_can_silence_a_device_for_longer_than_agreed(device: Device, bundle: Bundle) -> None:
    assert part(device, FakeService(None, bundle, "999999999")).come_back_at <= NOW + 1.1 * POLICY.max_wait_s
    task, _ = training_task(bundle, come_back_at=2**60)
    other = Device.create(device._vault.folder.parent / "b", consent="contribute", key_store="file")
    assert part(other, FakeService(task, bundle)).come_back_at == NOW + POLICY.max_wait_s


@pytest.mark.parametrize("failure", ["refused", "torn", "500", "429", "answer lost"])
def test_a_retry_is_the_same_bytes_with_growing_jittered_waits(device: Device, bundle: Bundle, failure: str) -> None:
    service = FakeService(training_task(bundle)[0], bundle)

    def fail(request: httpx.Request) -> httpx.Response:
        if failure == "refused":
            raise httpx.ConnectError("refused")
        if failure == "torn":
            raise httpx.WriteError("torn")
        if failure == "answer lost":
            service.take(request.read())
            raise httpx.ReadTimeout("lost")
        return refusal(int(failure), "busy", retry_after="2")

    service.faults = [fail] * 4
    waits = Waits()
    assert part(device, service, waits=waits, first_s=1.0, most_s=3.0).status == "accepted"
    assert len(service.received) == 5
    assert len(set(service.received)) == 1
    assert len(service.kept) == 1
    told = 2.0 if failure in ("500", "429") else 0.0
    slept = waits.slept[1:]  # the first wait is for its own random moment
    assert len(slept) == 4
    assert all(told <= wait <= told + bound for wait, bound in zip(slept, (1.0, 2.0, 3.0, 3.0), strict=True))
    assert len(set(slept)) == 4


def test_an_unreachable_service_gets_the_same_bytes_next_time(device: Device, bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: refusal(503, "busy")] * 6
    assert part(device, service).status == "unsent"
    again = Device.open(device._vault.folder)
    assert part(again, service).status == "accepted"
    assert len(set(service.received)) == 1
    assert service.requests.count("/v1/federation/task") == 1
    assert len(again.state.participation.entries) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (410, "report_late"),
        (409, "report_stale"),
        (409, "report_conflict"),
        (413, "report_too_large"),
        (401, "token_invalid"),
        (403, "token_spent"),
    ],
)
def test_a_final_refusal_is_not_argued_with(device: Device, bundle: Bundle, status: int, code: str) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: refusal(status, code)]
    found = part(device, service)
    assert (found.status, found.detail) == ("rejected", code)
    assert len(service.received) == 1
    assert device.state.participation.pending is None
    assert len(device.state.participation.entries) == 1


@pytest.mark.parametrize("body", ["not json", "[]", '{"error": {"code": "<script>"}}', '{"error": 3}'])
def test_nothing_but_an_error_code_is_kept_of_an_answer(device: Device, bundle: Bundle, body: str) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: httpx.Response(418, text=body)]
    assert part(device, service).detail == "status_418"


def test_after_the_deadline_a_report_is_destroyed_unsent(device: Device, bundle: Bundle) -> None:
    service = FakeService(training_task(bundle)[0], bundle)
    service.faults = [lambda _: refusal(503, "busy")] * 6
    part(device, service)
    late = Waits()
    late.slept = [3_601.0]
    service.task = None
    assert part(device, service, waits=late).status == "too_early"
    assert device.state.participation.pending is None
    assert len(set(service.received)) == 1


def test_devices_post_at_a_random_moment_of_the_window(device: Device, bundle: Bundle) -> None:
    waits = Waits()
    part(device, FakeService(training_task(bundle)[0], bundle), waits=waits, spread_s=600.0)
    assert 1.0 < waits.slept[0] < 600.0
    assert device.state.participation.entries[0].at == NOW


def test_a_broken_task_or_service_is_an_error_and_costs_nothing(device: Device, bundle: Bundle) -> None:
    class Broken(FakeService):
        def answer(self, request: httpx.Request) -> httpx.Response:
            self.requests.append(request.url.path)
            return httpx.Response(200, content=b"<html>") if self.task else httpx.Response(404)

    task, _ = training_task(bundle)
    with pytest.raises(TaskRefused, match="magic"):
        part(device, Broken(task, bundle))
    with pytest.raises(ServingError, match="has no task to give"):
        part(device, Broken(None, bundle))
    assert device.state.participation.entries == ()


def test_no_cookie_ties_a_report_to_anything(device: Device, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    service, sent = FakeService(training_task(bundle)[0], bundle), []

    def answer(_: object, request: httpx.Request) -> httpx.Response:
        sent.append(request.headers)
        answer = service.answer(request)
        return httpx.Response(
            answer.status_code, headers=[*answer.headers.multi_items(), ("set-cookie", "id=7")], content=answer.content
        )

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", answer)
    retry = RetryPolicy(spread_s=0.0)
    found = take_part(device, "https://shop.test", POLICY, ISSUER, retry=retry, now=lambda: NOW)
    assert found.status == "accepted"
    assert len(sent) == 4  # task, catalogue, its changes, report
    assert all(set(headers) <= ALLOWED_HEADERS for headers in sent)


def test_the_shops_login_in_the_same_client_is_not_sent_along(device: Device, bundle: Bundle) -> None:
    service, sent = FakeService(training_task(bundle)[0], bundle), []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return service.answer(request)

    logged_in = {"transport": httpx.MockTransport(answer), "auth": ("alice", "secret"), "cookies": {"session": "alice"}}
    with httpx.Client(base_url="https://shop.test", **logged_in) as client:
        waits = Waits()
        found = take_part(device, client, POLICY, ISSUER, draws=draws(), retry=waits.retry(), now=waits.now)
    assert found.status == "accepted"
    federated = [request for request in sent if "/federation/" in request.url.path]
    assert len(federated) == 2
    assert not any({"cookie", "authorization"} & set(request.headers) for request in federated)


ALLOWED_HEADERS = {
    "host",
    "accept",
    "accept-encoding",
    "connection",
    "user-agent",
    "content-length",
    "content-type",
}
"""All that HTTP needs; nothing that tells one device from another."""


def test_two_programs_of_one_device_make_one_report(device: Device, bundle: Bundle) -> None:
    task, _ = training_task(bundle)
    service = FakeService(task, bundle)
    twin = Device.open(device._vault.folder)

    def twin_first(_: object) -> int:
        part(twin, service)
        return 0

    chance = replace(draws(), block=twin_first)
    assert part(device, service, chance=chance).status == "took_part"
    assert len(service.received) == 1
    assert len(device.state.participation.entries) == 1
