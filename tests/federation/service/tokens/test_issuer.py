"""The service as issuer: which keys it makes, what it signs with them, and which tokens it takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from federation.private_sum.refusals import TokenInvalid
from federation.protocol.messages import Task
from federation.protocol.tokens.blind_rsa import blind
from federation.protocol.tokens.issuer_key import IssuerKeyRefused
from federation.protocol.tokens.report_token import TOKEN_BYTES, ReportToken
from federation.service.round_schema import issuer_keys
from federation.service.tokens.issuer import AHEAD_S, LOOK_AGAIN_S, Issuer
from tests.federation.protocol.tokens.some_issuer import SomeIssuer, rsa_key
from tests.federation.service.a_lineage import NOW, Line, a_line, a_token, an_issuer, stop

DAY = 86_400


@pytest.fixture(params=["sqlite", "postgresql"])
def line(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    url = None if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = a_line(tmp_path, url=url)
    yield made
    stop(made)


@pytest.fixture
def task(line: Line) -> Task:
    return line.open()


def test_a_key_is_for_one_app_one_minting_key_and_one_period(line: Line) -> None:
    keys = [
        line.issuer.key_for(app, minting_key, deadline, NOW)
        for app, minting_key, deadline in (
            ("shop", "a", NOW),
            ("shop", "b", NOW),
            ("other", "a", NOW),
            ("shop", "a", NOW + DAY),
        )
    ]
    assert len({key.token_key_id for key in keys}) == 4
    assert line.issuer.key_for("shop", "a", NOW + 1, NOW) == keys[0]
    assert (keys[0].not_before, keys[0].not_after) == (NOW - NOW % DAY, NOW - NOW % DAY + DAY - 1)


def test_a_key_is_handed_out_only_once_it_is_logged(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise IssuerKeyRefused("the custodian takes none")

    monkeypatch.setattr(line.custodian, "add_issuer_key", fails)
    for _ in range(2):
        with pytest.raises(IssuerKeyRefused):
            line.issuer.key_for("shop", "a", NOW, NOW)
    monkeypatch.undo()
    key = line.issuer.key_for("shop", "a", NOW, NOW)
    assert line.custodian.issuer_key_proof(key.token_key_id, 0)


def test_processes_and_threads_make_one_key(line: Line) -> None:
    issuers = [an_issuer(line.coordinator.store.engine, line.custodian) for _ in range(2)]
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda n: issuers[n % 2].key_for("shop", "a", NOW, NOW), range(8)))
    assert len(keys) == 1


def test_when_periods_become_longer_no_two_keys_are_for_one_deadline(line: Line) -> None:
    before = line.issuer.key_for("shop", "a", NOW, NOW)
    later = Issuer(line.coordinator.store.engine, line.custodian, period_s=5 * DAY, generate=lambda: rsa_key(7))
    assert later.key_for("shop", "a", NOW, NOW) == before
    after = later.key_for("shop", "a", NOW + DAY, NOW)
    assert after.not_before == before.not_after + 1
    assert after.is_for(NOW + DAY)


@pytest.mark.parametrize("deadline", [NOW - 1, NOW + AHEAD_S + 1, 2**62])
def test_a_deadline_that_no_task_can_have_gets_no_key(line: Line, deadline: int) -> None:
    with pytest.raises(IssuerKeyRefused, match="deadline"):
        line.issuer.key_for("shop", "a", deadline, NOW)


def test_a_key_that_is_over_signs_nothing_and_its_private_half_is_gone(line: Line) -> None:
    key = line.issuer.key_for("shop", "a", NOW, NOW)
    blinded = [blind(key.modulus, b"x").blinded]
    line.issuer.sign("shop", "a", key.token_key_id, blinded, key.not_after)
    with pytest.raises(IssuerKeyRefused):
        line.issuer.sign("shop", "a", key.token_key_id, blinded, key.not_after + 1)
    line.issuer.key_for("shop", "a", NOW + 3 * DAY, NOW + 2 * DAY)
    query = sa.select(issuer_keys.c.private).where(issuer_keys.c.token_key_id == key.token_key_id)
    with line.coordinator.store.engine.connect() as connection:
        assert connection.execute(query).scalar_one() is None


def test_only_the_minting_key_itself_signs(line: Line) -> None:
    key = line.issuer.key_for("shop", "a", NOW, NOW)
    blinded = [blind(key.modulus, b"x").blinded]
    for app, minting_key, key_id in (("shop", "b", key.token_key_id), ("x", "a", key.token_key_id), ("shop", "a", b"")):
        with pytest.raises(IssuerKeyRefused):
            line.issuer.sign(app, minting_key, key_id, blinded, NOW)


def test_a_token_is_good_for_its_own_task_and_app(line: Line, task: Task) -> None:
    token = line.token(task, "shop#a")
    right = line.issuer.check(token, task, "shop")
    assert (right.tag, right.serial) == ("shop#a", ReportToken.from_bytes(token).nonce)
    with pytest.raises(TokenInvalid, match="another app"):
        line.issuer.check(token, task, "tea-house")
    for other in (replace(task, round=9), replace(task, deadline=task.deadline + 1)):
        with pytest.raises(TokenInvalid, match="another task"):
            line.issuer.check(token, other, "shop")


def test_a_token_of_another_period_is_refused(line: Line, task: Task) -> None:
    tomorrow = replace(task, deadline=task.deadline + DAY)
    token = a_token(line.issuer, tomorrow)
    assert line.issuer.check(token, tomorrow, "shop")
    with pytest.raises(TokenInvalid, match="deadlines"):
        line.issuer.check(token, task, "shop")


def test_a_token_of_a_key_that_nobody_logged_is_refused(line: Line, task: Task) -> None:
    with pytest.raises(TokenInvalid, match="no known issuer"):
        line.issuer.check(SomeIssuer(number=5).token(task), task, "shop")


def test_a_token_with_any_bit_changed_is_refused(line: Line, task: Task) -> None:
    token = line.token(task)
    for at in range(0, TOKEN_BYTES, 7):
        changed = bytearray(token)
        changed[at] ^= 1 << at % 8
        with pytest.raises(TokenInvalid):
            line.issuer.check(bytes(changed), task, "shop")


@pytest.mark.parametrize("length", [0, 1, 2, TOKEN_BYTES - 1, TOKEN_BYTES + 1])
def test_a_token_of_another_length_is_refused(line: Line, task: Task, length: int) -> None:
    with pytest.raises(TokenInvalid):
        line.issuer.check((line.token(task) + b"x")[:length], task, "shop")


def test_made_up_keys_are_looked_for_no_more_often_than_so(
    line: Line, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked, token = [100.0], [], line.token(task)
    other = Issuer(line.coordinator.store.engine, line.custodian, clock=lambda: clock[0])
    find = other._find_key
    monkeypatch.setattr(other, "_find_key", lambda key_id: asked.append(key_id) or find(key_id))
    made_up = replace(ReportToken.from_bytes(token), token_key_id=bytes(32)).to_bytes()
    for _ in range(50):
        with pytest.raises(TokenInvalid):
            other.check(made_up, task, "shop")
    with pytest.raises(TokenInvalid):  # of another process' key, which this one has not looked for yet
        other.check(token, task, "shop")
    assert asked == [bytes(32)]
    clock[0] += LOOK_AGAIN_S
    assert other.check(token, task, "shop").tag == "shop#mint"
    assert other.check(token, task, "shop").tag == "shop#mint"
    assert len(asked) == 2
