"""A device takes back what a report cost where the custodian signs that it never answered, and in no other case."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import httpx
import pytest

from federation.device.budget.take_back import with_budget_back
from federation.device.device import Device
from federation.device.ledger import LedgerEntry, Participation, PendingReport
from federation.device.report import DevicePolicy
from federation.device.state import DeviceState
from federation.private_sum.sealing import Suite
from federation.private_sum.signing import SigningKey
from federation.protocol.no_answer import NoAnswer, no_answers_to_bytes
from recsys.catalogue.bundle import Bundle
from tests.federation.device.test_participation import POLICY, Waits, bundle, device, part
from tests.federation.service.live_round import CUSTODIAN, NOW, FakeService, refusal, training_task

__all__ = ["bundle", "device"]
PATH = "/v1/federation/no-answers"


@dataclass
class Telling(FakeService):
    """A service that hands statements on."""

    statements: list[NoAnswer] = field(default_factory=list)
    status: int = 200

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != PATH:
            return super().answer(request)
        self.requests.append(PATH)
        if self.status != 200:
            return refusal(self.status, "unavailable")
        return httpx.Response(200, content=no_answers_to_bytes([one.to_bytes() for one in self.statements]))


def entry(n: int = 0, **changes: object) -> LedgerEntry:
    return replace(LedgerEntry(bytes([n]) * 32, n, NOW, 0.5, 1e-9, block=2), **changes)


def statement(n: int = 0, blocks: tuple[int, ...] = (1, 2), key: SigningKey = CUSTODIAN) -> NoAnswer:
    return NoAnswer(bytes([n]) * 32, blocks, NOW + 10).signed_by(key)


def state_of(*entries: LedgerEntry, pending: PendingReport | None = None) -> DeviceState:
    return DeviceState(participation=Participation(entries, pending))


def returned(state: DeviceState, *statements: NoAnswer, policy: DevicePolicy = POLICY, at: int = NOW + 60) -> list[int]:
    after = with_budget_back(state, list(statements), policy, at)
    return [one.round for one in after.participation.returned]


def test_a_report_that_was_never_answered_costs_nothing_but_its_proof() -> None:
    state = state_of(entry(0), entry(1))
    after = with_budget_back(state, [statement(0)], POLICY, NOW + 60).participation
    assert [one.returned for one in after.entries] == [True, False]
    assert after.count_since(0) == 1
    assert after.took_part_in(bytes(32))  # no second report to the same task
    alone = Participation((entry(1),))
    assert after.epsilon(1e-6) == alone.epsilon(1e-6 - 1e-9)  # both proofs, one report
    assert Participation.decode(after.encode()) == after


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (state_of(entry(0)), statement(1)),
        (state_of(entry(0)), statement(0, blocks=(0, 1, 3))),
        (state_of(entry(0)), statement(0, key=SigningKey.generate())),
        (state_of(entry(0)), replace(statement(0, blocks=(1,)), blocks=(1, 2))),
        (state_of(entry(0, block=None)), statement(0)),
        (state_of(entry(0, at=NOW - 31 * 86_400)), statement(0)),
        (state_of(entry(0), pending=PendingReport(bytes(32), NOW, NOW, b"")), statement(0)),
    ],
    ids=["another task", "another block", "another key", "changed", "of before blocks were noted", "old", "unsent"],
)
def test_anything_else_stays_spent(state: DeviceState, said: NoAnswer) -> None:
    assert with_budget_back(state, [said], POLICY, NOW + 60) is state


def test_a_statement_again_gives_nothing_again() -> None:
    state = with_budget_back(state_of(entry(0)), [statement(0)] * 3, POLICY, NOW)
    assert with_budget_back(state, [statement(0)], POLICY, NOW) is state
    assert len(state.participation.entries) == 1


def test_three_reports_are_taken_back_in_a_period_and_as_many_as_the_cap_in_a_lifetime() -> None:
    policy = replace(POLICY, max_participations=5)
    near = state_of(*(entry(n) for n in range(8)))
    assert returned(near, *(statement(n) for n in range(8)), policy=policy) == [0, 1, 2]
    apart = state_of(*(entry(n, at=NOW + 2 * n * policy.period_s) for n in range(8)))
    said = [statement(n) for n in range(8)]
    assert returned(apart, *said, policy=policy, at=NOW + 8 * policy.period_s) == [0, 1, 2, 3, 4]


def test_what_a_liar_at_the_custodian_gains_is_bounded_by_twice_the_plan() -> None:
    """It signs and answers all the same: true reports are then those counted and those taken back."""
    policy, state = replace(POLICY, max_participations=4), state_of()
    for n in range(100):
        own = state.participation
        if own.count_since(0) < policy.max_participations:
            at = NOW + n * 10 * policy.period_s
            state = replace(state, participation=replace(own, entries=(*own.entries, entry(n, at=at))))
            state = with_budget_back(state, [statement(n)], policy, at + 60)
    assert len(state.participation.entries) == 2 * policy.max_participations


@pytest.mark.parametrize("suite", [Suite.X25519, Suite.VERIFIED])
def test_a_device_at_its_cap_reports_again_once_the_custodian_has_said_so(
    device: Device, bundle: Bundle, suite: Suite
) -> None:
    policy = replace(POLICY, max_participations=1)
    first, _ = training_task(bundle, suite=suite)
    assert part(device, FakeService(first, bundle), policy).status == "accepted"
    spent = device.state.participation.entries[0]
    assert (spent.block is not None, spent.proof_error > 0) == (True, suite.verified)

    def after_hours(hours: int) -> Waits:
        waits = Waits()
        waits.slept = [hours * 3_600.0]
        return waits

    second, _ = training_task(bundle, round_=1, deadline=NOW + 90_000, suite=suite)
    for service in (
        Telling(second, bundle),
        Telling(second, bundle, status=404),
        Telling(second, bundle, statements=[NoAnswer(second.hash, (spent.block or 0,), NOW).signed_by(CUSTODIAN)]),
    ):
        device.change(lambda state: replace(state, participation=replace(state.participation, come_back_at=0)))
        assert part(device, service, policy, waits=after_hours(3)).status == "cap_reached"
        assert service.requests[0] == PATH
    device.change(lambda state: replace(state, participation=replace(state.participation, come_back_at=0)))
    honest = NoAnswer(first.hash, tuple(range(len(first.blocks))), NOW).signed_by(CUSTODIAN)
    service = Telling(second, bundle, statements=[honest])
    assert part(device, service, policy, waits=after_hours(4)).status == "accepted"
    own = device.state.participation
    assert [one.returned for one in own.entries] == [True, False]
    shown = device.show()
    assert (shown["participations"], shown["participations_returned"]) == (1, 1)
    assert part(device, service, policy, waits=after_hours(5)).status in ("cap_reached", "took_part")


def test_a_device_that_never_reported_asks_for_no_statement(device: Device, bundle: Bundle) -> None:
    service = Telling(training_task(bundle)[0], bundle)
    assert part(device, service).status == "accepted"
    assert PATH not in service.requests
