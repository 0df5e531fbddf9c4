"""Issuers' keys and tokens at the custodian: what a service could try with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data.errors import FederationError
from federation.custodian.custodian import Custodian
from federation.custodian.issuer_keys import MAX_MINTING_KEYS, MAX_PERIOD_S
from federation.private_sum.exchange import Answer
from federation.private_sum.refusals import AlreadyCounted, BatchRefused
from federation.protocol.merkle_log import leaf_hash
from federation.protocol.messages import Report, Task
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.transparency import LogProof, entries_from_bytes, issuer_key_entry
from tests.federation.custodian.a_custodian import (
    ISSUER,
    MIN_REPORTS,
    a_client,
    a_custodian,
    batch_bytes,
    draft,
    now,
    some_reports,
)
from tests.federation.protocol.tokens.some_issuer import SomeIssuer

DAY = 86_400


@pytest.fixture(params=["sqlite", "postgresql"])
def custodian(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Custodian]:
    database = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = a_custodian(tmp_path / "custodian", database=database)
    yield made
    made.shut()


@pytest.fixture
def task(custodian: Custodian) -> Task:
    return Task.from_bytes(custodian.open_round(draft().signed_bytes, now()))


def an_issuer(number: int, minting_key: str, app: str = "shop") -> SomeIssuer:
    return replace(ISSUER, number=number, minting_key=minting_key, app=app)


def with_tokens(reports: list[Report], task: Task, issuer: SomeIssuer) -> list[Report]:
    return [replace(report, token=issuer.token(task)) for report in reports]


def entries(custodian: Custodian) -> list[bytes]:
    return entries_from_bytes(custodian.log_entries(0))


def test_a_key_is_logged_once_and_proved(custodian: Custodian) -> None:
    key = an_issuer(1, "second").key(0)
    for _ in range(2):
        custodian.add_issuer_key(key.to_bytes(), now())
    assert entries(custodian).count(issuer_key_entry(key)) == 1
    proof = LogProof.from_bytes(custodian.issuer_key_proof(key.token_key_id, 1, now()))
    assert proof.check(issuer_key_entry(key), custodian.key.public, None).size == len(entries(custodian))
    with pytest.raises(FederationError):
        proof.check(issuer_key_entry(replace(key, app="other")), custodian.key.public, None)
    with pytest.raises(IssuerKeyRefused, match="not in the log"):
        custodian.issuer_key_proof(bytes(32), 0, now())


def test_the_service_s_client_logs_a_key_and_fetches_its_proof(custodian: Custodian) -> None:
    client, key = a_client(custodian), an_issuer(1, "second").key(0)
    client.add_issuer_key(key)
    proof = LogProof.from_bytes(client.issuer_key_proof(key.token_key_id, 0))
    assert proof.head.size > proof.index
    with pytest.raises(IssuerKeyRefused, match="has another key"):
        client.add_issuer_key(an_issuer(2, "second").key(0))
    with pytest.raises(IssuerKeyRefused):
        client.issuer_key_proof(bytes(32), 0)


@pytest.mark.parametrize("shift", [0, 1, -1, DAY])
def test_a_minting_key_has_one_issuer_s_key_at_any_moment(custodian: Custodian, shift: int) -> None:
    """A victim could else be given a key of his own."""
    key = an_issuer(3, "mint").key(0)
    moved = replace(key, not_before=key.not_before + shift, not_after=key.not_after + shift)
    with pytest.raises(IssuerKeyRefused, match="has another key"):
        custodian.add_issuer_key(moved.to_bytes(), now())


def test_one_rsa_key_serves_one_issuer(custodian: Custodian) -> None:
    with pytest.raises(IssuerKeyRefused):
        custodian.add_issuer_key(replace(ISSUER.key(0), app="other").to_bytes(), now())


def test_an_app_has_few_minting_keys(custodian: Custodian) -> None:
    for number in range(1, MAX_MINTING_KEYS):
        custodian.add_issuer_key(an_issuer(number, f"key-{number}").key(0).to_bytes(), now())
    with pytest.raises(IssuerKeyRefused, match="the most there may be"):
        custodian.add_issuer_key(an_issuer(40, "victim").key(0).to_bytes(), now())
    custodian.add_issuer_key(an_issuer(40, "mint", "other").key(0).to_bytes(), now())
    later = an_issuer(41, "victim").key(0)
    later = replace(later, not_before=later.not_after + 1, not_after=later.not_after + DAY)
    custodian.add_issuer_key(later.to_bytes(), now())


@pytest.mark.parametrize("length_s", [MAX_PERIOD_S, 2**62])
def test_a_key_that_would_be_good_for_too_long_is_refused(custodian: Custodian, length_s: int) -> None:
    key = replace(an_issuer(3, "late").key(0), not_before=now(), not_after=now() + length_s)
    with pytest.raises(IssuerKeyRefused, match="not_after"):
        custodian.add_issuer_key(key.to_bytes(), now())


def test_bytes_that_are_no_key_are_refused() -> None:
    good = ISSUER.key(0).to_bytes()
    assert IssuerKey.from_bytes(good) == ISSUER.key(0)
    bent = (good[:-1] + b"\3", good.replace(b"\x30\x82", b"\x31\x82"), b"OSK2" + good[4:])
    for bad in (b"", good[:-1], good + b"x", *bent):
        with pytest.raises(IssuerKeyRefused):
            IssuerKey.from_bytes(bad)
    for name, value in (("modulus", 2**2047), ("modulus", 2**2040 + 1), ("app", ""), ("app", "a b"), ("app", "a#b")):
        with pytest.raises(IssuerKeyRefused):
            replace(ISSUER.key(0), **{name: value})


def test_a_batch_with_tokens_is_answered_and_again(custodian: Custodian, task: Task) -> None:
    batch = batch_bytes(task, some_reports(task))
    first = custodian.answer(batch, now())
    assert len(Answer.from_bytes(first).counted) == 5
    assert custodian.answer(batch, now()) == first


def test_a_token_is_spent_once_in_a_round_whatever_the_block(custodian: Custodian, task: Task) -> None:
    reports = some_reports(task)
    custodian.answer(batch_bytes(task, reports), now())
    elsewhere = some_reports(task, block=1, seed=1)
    stolen = [*elsewhere[:-1], replace(elsewhere[-1], token=reports[0].token)]
    with pytest.raises(AlreadyCounted, match="spent in this round"):
        custodian.answer(batch_bytes(task, stolen, 1), now())
    assert len(Answer.from_bytes(custodian.answer(batch_bytes(task, elsewhere, 1), now())).counted) == 5


def test_a_token_twice_in_a_batch_costs_no_answer(custodian: Custodian, task: Task) -> None:
    reports = some_reports(task)
    with pytest.raises(AlreadyCounted, match="spent in this round"):
        custodian.answer(batch_bytes(task, [replace(reports[0], token=reports[1].token), *reports[1:]]), now())
    assert len(Answer.from_bytes(custodian.answer(batch_bytes(task, reports), now())).counted) == 5


def test_reports_without_a_good_token_cost_no_answer(custodian: Custodian, task: Task) -> None:
    reports = some_reports(task)
    foreign = an_issuer(1, "unlogged")
    other_task = replace(task, round=8)
    for token in (b"", bytes(354), foreign.token(task), ISSUER.token(other_task), reports[0].token[:-1]):
        with pytest.raises(BatchRefused, match="token"):
            custodian.answer(batch_bytes(task, [replace(reports[0], token=token), *reports[1:]]), now())
    custodian.answer(batch_bytes(task, reports), now())


def test_tokens_of_two_apps_are_of_no_round(custodian: Custodian, task: Task) -> None:
    other = an_issuer(1, "mint", "tea-house")
    custodian.add_issuer_key(other.key(0).to_bytes(), now())
    reports = some_reports(task, 2 * MIN_REPORTS)
    mixed = [*reports[:MIN_REPORTS], *with_tokens(reports[MIN_REPORTS:], task, other)]
    with pytest.raises(BatchRefused, match="2 apps"):
        custodian.answer(batch_bytes(task, mixed), now())


def test_a_key_of_few_reports_is_in_no_sum(custodian: Custodian, task: Task) -> None:
    """So a key of a victim's own marks nothing, unless min_reports − 1 others are given it too."""
    victim = an_issuer(1, "victim")
    custodian.add_issuer_key(victim.key(0).to_bytes(), now())
    reports = some_reports(task, 2 * MIN_REPORTS)
    for few in range(1, MIN_REPORTS):
        marked = [*with_tokens(reports[:few], task, victim), *reports[few:]]
        with pytest.raises(BatchRefused, match=f"has {few} reports, must have min_reports={MIN_REPORTS} or none"):
            custodian.answer(batch_bytes(task, marked), now())
    enough = [*with_tokens(reports[:MIN_REPORTS], task, victim), *reports[MIN_REPORTS:]]
    assert len(Answer.from_bytes(custodian.answer(batch_bytes(task, enough), now())).counted) == 2 * MIN_REPORTS


def test_leaves_of_the_log_are_what_its_entries_say(custodian: Custodian, task: Task) -> None:
    assert issuer_key_entry(ISSUER.key(0)) in entries(custodian)
    assert len({leaf_hash(entry) for entry in entries(custodian)}) == len(entries(custodian))
