"""How a device gets a token, and what it refuses of a shop or a service that would mark it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from data.errors import OwnshelfError, ServingError
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.tokens.issuing import ShopIssuer, fetch_token
from federation.protocol.merkle_log import LogRefused
from federation.protocol.messages import Report, Task
from federation.protocol.tokens.blind_rsa import BlindingRefused
from federation.protocol.tokens.issuer_key import IssuerKey, IssuerKeyRefused
from federation.protocol.tokens.report_token import check_token
from recsys.catalogue.bundle import Bundle
from tests.federation.device.test_participation import POLICY, Waits, draws
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.federation.service.live_round import NOW, FakeService, training_task
from tests.shop import make_bundle

FOLLOWS = replace(POLICY, follows_log=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def service(bundle: Bundle) -> FakeService:
    return FakeService(training_task(bundle)[0], bundle)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device.create(tmp_path / "home", consent="contribute", key_store="file")


@dataclass
class BentIssuer(SomeIssuer):
    """An issuer that names or signs with other than it should."""

    bend_key: Callable[[IssuerKey], IssuerKey] = lambda key: key
    bend_signatures: Callable[[list[bytes]], list[bytes]] = lambda signatures: signatures

    def key(self, deadline: int) -> IssuerKey:
        return self.bend_key(super().key(deadline))

    def sign(self, key: IssuerKey, blinded: Sequence[bytes]) -> list[bytes]:
        return self.bend_signatures(super().sign(key, blinded))


def part(device: Device, service: FakeService, issuer: Any, at: int = 0) -> Any:
    waits = Waits()
    with service.client() as client:
        return take_part(
            device, client, FOLLOWS, issuer, draws=draws(), retry=waits.retry(), now=lambda: waits.now() + at
        )


def task_of(service: FakeService) -> Task:
    assert service.task is not None
    return service.task


def test_a_report_carries_a_token_of_the_logged_key(device: Device, service: FakeService) -> None:
    assert part(device, service, service.issuer).status == "accepted"
    task, key = task_of(service), service.issuer.key(0)
    report = Report.from_bytes(service.received[0], task, NOW)
    assert check_token(report.token, task, {key.token_key_id: key}.get).tag == "shop#mint"
    head = device.state.participation.log_head
    assert head is not None
    assert head.size == 2


def test_a_key_of_a_victim_s_own_gets_no_report(device: Device, service: FakeService) -> None:
    """The service names a key that is not in the log: nothing is blinded for it, and nothing is sent."""
    victim_s = SomeIssuer(number=1)
    with pytest.raises(LogRefused):
        part(device, service, victim_s)
    assert (victim_s.asked, service.received) == (0, [])
    assert device.state.participation.entries == ()


def test_a_key_that_has_no_proof_gets_no_report(device: Device, service: FakeService) -> None:
    service.logs_issuer = False
    with pytest.raises(ServingError, match="no log proof"):
        part(device, service, service.issuer)
    assert (service.issuer.asked, service.received) == (0, [])


@pytest.mark.parametrize(
    "bend",
    [
        lambda key: replace(key, app="victim"),
        lambda key: replace(key, not_after=NOW),
        lambda key: replace(key, not_before=2**41, not_after=2**41),
        lambda key: replace(key, minting_key="victim"),
    ],
)
def test_a_key_that_is_not_the_logged_one_of_this_app_and_period_gets_no_report(
    device: Device, service: FakeService, bend: Callable[[IssuerKey], IssuerKey]
) -> None:
    issuer = BentIssuer(bend_key=bend)
    with pytest.raises((IssuerKeyRefused, LogRefused)):
        part(device, service, issuer)
    assert (issuer.asked, service.received) == (0, [])


@pytest.mark.parametrize(
    "bend",
    [
        lambda signatures: [],
        lambda signatures: signatures * 2,
        lambda signatures: [bytes(256)],
        lambda signatures: [signatures[0][:-1]],
        lambda signatures: [signatures[0][:-1] + bytes([signatures[0][-1] ^ 1])],
        lambda signatures: [b""],
    ],
)
def test_a_signature_that_is_none_gets_no_report(
    device: Device, service: FakeService, bend: Callable[[list[bytes]], list[bytes]]
) -> None:
    with pytest.raises((BlindingRefused, ServingError)):
        part(device, service, BentIssuer(bend_signatures=bend))
    assert service.received == []
    assert device.state.participation.entries == ()


def test_each_report_has_a_nonce_of_its_own(service: FakeService) -> None:
    task = task_of(service)
    tokens = {fetch_token(service.issuer, task, "shop", lambda _: None) for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401),
        httpx.Response(500, json={"issuer_key": "AAAA"}),
        httpx.Response(200, content=b"[]"),
        httpx.Response(200, json={"issuer_key": 3}),
        httpx.Response(200, json={"issuer_key": "é"}),
        httpx.Response(200, json={"issuer_key": "AAAAA"}),
        httpx.Response(200, json={"issuer_key": ""}),
        httpx.Response(302, headers={"location": "https://elsewhere.test/"}),
    ],
)
def test_a_shop_that_answers_anything_else_is_an_error(answer: httpx.Response, service: FakeService) -> None:
    transport = httpx.MockTransport(lambda _: answer)
    with httpx.Client(transport=transport, base_url="https://shop.test") as client, pytest.raises(OwnshelfError):
        fetch_token(ShopIssuer(client, "login"), task_of(service), "shop", lambda _: None)


def test_a_credential_is_in_no_repr() -> None:
    with httpx.Client() as client:
        assert "a-login" not in repr(ShopIssuer(client, "a-login"))
