from __future__ import annotations

import math
from dataclasses import replace

import pytest

from federation.device.ledger import LedgerEntry, Participation, PendingReport
from federation.learning.privacy_plan import PrivacyPlan
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.plan import Part, SumPlan
from tests.federation.service.live_round import CLIPS

PLAN = SumPlan((Part("rows", 4, clip_norm=3.0, scale=100.0),), min_reports=1, max_reports=10, sigma=0)


def test_rho_is_half_the_squared_sensitivity_over_the_squared_noise() -> None:
    assert rho_of(replace(PLAN, sigma=1000)) == pytest.approx(PLAN.sensitivity_squared / 2e6)
    assert rho_of(PLAN) == math.inf


@pytest.mark.parametrize("noise", [0.7, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("participations", [1, 6, 100])
def test_its_epsilon_is_that_of_the_plans_accountant(noise: float, participations: int) -> None:
    plan = PrivacyPlan(CLIPS, noise, participations, min_reports=50, max_reports=1000, delta=1e-6)
    found = epsilon_of(participations / (2 * noise**2), plan.delta)
    assert found == pytest.approx(plan.epsilon, rel=2e-3)
    assert found <= plan.epsilon * (1 + 1e-12)


def test_a_device_may_spend_the_whole_plan_and_no_more() -> None:
    plan = PrivacyPlan(CLIPS, 4.0, 5, min_reports=50, max_reports=1000, delta=1e-6)
    rho = rho_of(plan.sum_plan(16, 8))
    spent = Participation(tuple(LedgerEntry(bytes(32), round_, 0, rho) for round_ in range(4)))
    assert spent.epsilon(plan.delta, and_rho=rho) <= plan.epsilon < spent.epsilon(plan.delta, and_rho=2 * rho)


def test_nothing_spent_is_zero_and_one_sum_in_the_clear_is_infinite() -> None:
    assert Participation().epsilon(1e-6) == 0.0
    assert Participation((LedgerEntry(bytes(32), 0, 0, math.inf),)).epsilon(1e-6) == math.inf
    assert epsilon_of(1e-12, 0.5) == 0.0


def test_what_is_stored_is_what_is_read() -> None:
    own = Participation(
        entries=(
            LedgerEntry(bytes(range(32)), 3, 1_800_000_000, 0.125),
            LedgerEntry(bytes(32), 4, 1_800_000_001, math.inf),
        ),
        pending=PendingReport(bytes(32), 1_800_000_100, 1_800_000_050.5, bytes(range(256))),
        come_back_at=1_800_000_200,
        measures_only=False,
    )
    assert Participation.decode(own.encode()) == own
    assert Participation.decode(Participation().encode()) == Participation()


def test_it_prints_neither_the_report_nor_the_tasks() -> None:
    pending = PendingReport(b"\x07" * 32, 1, 2.0, b"the report")
    assert "report" not in repr(pending)
    assert "x07" not in repr(pending) + repr(LedgerEntry(b"\x07" * 32, 0, 0, 1.0))


def test_what_proofs_take_of_delta_stays_in_the_ledger() -> None:
    rho, error = 0.01, 1e-7
    plain = Participation(tuple(LedgerEntry(bytes(32), n, 0, rho) for n in range(3)))
    proved = Participation(tuple(LedgerEntry(bytes(32), n, 0, rho, error) for n in range(3)))
    assert proved.epsilon(1e-6) == epsilon_of(3 * rho, 1e-6 - 3 * error) > plain.epsilon(1e-6)
    assert proved.epsilon(1e-6, and_rho=rho, and_proof_error=error) == epsilon_of(4 * rho, 1e-6 - 4 * error)
    assert proved.epsilon(3e-7) == math.inf
    assert Participation.decode(proved.encode()) == proved
    assert LedgerEntry.decode([bytes(32).hex(), 1, 2, 0.5]) == LedgerEntry(bytes(32), 1, 2, 0.5)  # of a vault of before


def test_a_participation_can_be_a_key_and_prints_no_field_that_it_does_not_know() -> None:
    later = Participation(unknown={"of_a_later_version": 7})
    assert hash(later) == hash(Participation())
    assert "later_version" not in repr(later)
