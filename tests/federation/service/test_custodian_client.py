from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from data.errors import BatchTooSmall, BudgetExhausted, FederationError, ServingError
from federation.custodian.custodian import Custodian
from federation.private_sum.exchange import Answer
from federation.private_sum.refusals import AlreadyCounted, BatchRefused, ForeignTask, TaskRefused
from federation.private_sum.signing import SigningKey
from federation.protocol.request_signing import SignatureRefused, sign_answer
from federation.service.custodian_client import CustodianClient, CustodianUnreachable
from tests.federation.custodian.a_custodian import (
    SERVICE,
    a_batch,
    a_client,
    a_custodian,
    a_promise,
    draft,
    in_process,
    now,
)
from tests.shop import InProcess


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = a_custodian(tmp_path, a_promise(max_rounds=2))
    yield opened
    opened.shut()


@pytest.fixture
def client(custodian: Custodian) -> Iterator[CustodianClient]:
    opened = a_client(custodian)
    yield opened
    opened.shut()


def test_a_round_from_draft_to_closed(client: CustodianClient, custodian: Custodian) -> None:
    asked = draft()
    task = client.open_round(asked)
    assert task.is_signed_by(custodian.key.public)
    assert client.open_round(asked) == task
    answer = client.answer(a_batch(task))
    assert len(answer.counted) == 5
    client.close(task.task_id)
    assert custodian.totals().rounds_closed == 1


def test_refusals_arrive_as_the_errors_they_were(client: CustodianClient) -> None:
    task = client.open_round(draft())
    batch = a_batch(task)
    client.answer(batch)
    with pytest.raises(AlreadyCounted, match="spent in this round"):
        client.answer(replace(batch, block=1))
    with pytest.raises(BatchRefused, match="another batch"):
        client.answer(a_batch(task))
    with pytest.raises(BatchTooSmall, match="min_reports"):
        client.answer(a_batch(task, 2, block=1))
    with pytest.raises(ForeignTask):
        client.answer(replace(batch, task_hash=bytes(32)))
    with pytest.raises(TaskRefused, match="noise_multiplier"):
        client.open_round(replace(draft(task_id="weak"), plan=replace(task.plan, sigma=1)))
    with pytest.raises(FederationError, match="another draft"):
        client.open_round(replace(draft(), round=99))
    with pytest.raises(FederationError, match="one is open at a time"):
        client.open_round(draft(task_id="second"))
    client.close(task.task_id)
    client.open_round(draft(task_id="second"))
    with pytest.raises(BudgetExhausted, match="max_rounds=2"):
        client.open_round(draft(task_id="third"))
    with pytest.raises(ForeignTask):
        client.close("nobody")


class Failing(httpx.BaseTransport):
    """Fails the first requests as told, then passes on; failures after the answer happen once it was given."""

    def __init__(self, inner: InProcess, *failures: str) -> None:
        self.inner, self.failures = inner, list(failures)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        failure = self.failures.pop(0) if self.failures else ""
        if failure == "connect":
            raise httpx.ConnectError("refused")
        if failure.isdigit():
            return httpx.Response(int(failure))
        answer = self.inner.handle_request(request)
        if failure == "answer lost":
            raise httpx.ReadError("reset")
        return answer


def test_it_asks_again_until_there_is_an_answer_and_nothing_counts_twice(custodian: Custodian) -> None:
    waits: list[float] = []
    transport = Failing(in_process(custodian), "connect", "503", "answer lost", "500", "answer lost", "connect")
    client = CustodianClient("http://localhost", SERVICE, custodian.key.public, transport=transport, sleep=waits.append)
    task = client.open_round(draft())
    answer = client.answer(a_batch(task))
    assert not transport.failures
    assert len(waits) == 6
    assert custodian.totals().reports == len(answer.counted)
    assert custodian.totals().batches == 1
    nonces = {request.headers["x-ownshelf-signature"].split(".")[2] for request, _ in transport.inner.sent}
    assert len(nonces) == len(transport.inner.sent) == 4
    client.shut()


def test_waits_grow_and_are_spread() -> None:
    waits: list[float] = []

    class Down(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

    class Enough(Exception):
        pass

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            raise Enough

    client = CustodianClient("http://localhost", SERVICE, SERVICE.public, transport=Down(), sleep=sleep)
    with pytest.raises(Enough):
        client.close("x")
    assert all(0.5 * 0.05 * 2**n <= wait <= 1.5 * 0.05 * 2**n for n, wait in enumerate(waits[:6]))
    assert all(2.5 <= wait <= 7.5 for wait in waits[8:])
    client.shut()


def test_it_gives_up_in_the_end(custodian: Custodian) -> None:
    client = a_client(custodian, transport=Failing(in_process(custodian), *["connect"] * 1_000))
    client.patience_s = 0.2
    with pytest.raises(CustodianUnreachable, match="ConnectError"):
        client.open_round(draft())
    client.shut()


class Impostor(httpx.BaseTransport):
    """Answers with bytes of its own, signed or not."""

    def __init__(self, status: int, content: bytes, key: SigningKey | None) -> None:
        self.status, self.content, self.key = status, content, key

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {}
        if self.key is not None:
            asked = request.headers["x-ownshelf-signature"]
            headers = sign_answer(self.key, asked, self.status, self.content).headers
        return httpx.Response(self.status, headers=headers, content=self.content)


@pytest.mark.parametrize("key", [None, SERVICE, SigningKey.from_private(bytes([9]) * 32)])
@pytest.mark.parametrize("status", [200, 403])
def test_an_answer_that_the_custodian_did_not_sign_is_no_answer(
    custodian: Custodian, key: SigningKey | None, status: int
) -> None:
    """Nor is a refusal: nobody in between can pretend that the budget is spent."""
    content = b'{"error": {"code": "budget_exhausted", "message": "", "details": {}}}'
    client = a_client(custodian, transport=Impostor(status, content, key))
    with pytest.raises(SignatureRefused):
        client.open_round(draft())
    client.shut()


def test_another_service_is_refused(custodian: Custodian) -> None:
    client = a_client(custodian, key=SigningKey.from_private(bytes([9]) * 32))
    with pytest.raises(SignatureRefused, match="not known"):
        client.open_round(draft())
    client.shut()


def test_a_task_or_an_answer_that_was_not_asked_for_is_refused(client: CustodianClient, custodian: Custodian) -> None:
    task = client.open_round(draft())
    batch = a_batch(task)
    answer = client.answer(batch)
    for wrong in (
        replace(answer, block=1),
        replace(answer, batch_digest=bytes(32)),
        replace(answer, counted=(bytes(16),)),
    ):
        other = a_client(custodian, transport=Impostor(200, wrong.to_bytes(), custodian.key))
        with pytest.raises(FederationError, match="another batch"):
            other.answer(batch)
        other.shut()
    other = a_client(custodian, transport=Impostor(201, task.to_bytes(), custodian.key))
    with pytest.raises(FederationError, match="another task"):
        other.open_round(draft(task_id="mine"))
    other.shut()
    forged = replace(task, deadline=task.deadline + 1).signed_by(SERVICE).to_bytes()
    other = a_client(custodian, transport=Impostor(201, forged, custodian.key))
    with pytest.raises(SignatureRefused, match="pinned"):
        other.open_round(draft())
    other.shut()


def test_a_clock_that_is_off_is_said(custodian: Custodian) -> None:
    client = a_client(custodian)
    client.clock = lambda: now() - 3_600
    with pytest.raises(SignatureRefused, match="time="):
        client.open_round(draft())
    client.shut()


@pytest.mark.parametrize("url", ["http://custodian.example", "ftp://localhost", "localhost:8001"])
def test_plain_http_goes_to_this_machine_only(url: str) -> None:
    with pytest.raises(ServingError, match="https"):
        CustodianClient(url, SERVICE, SERVICE.public)


def test_answers_in_bytes_are_the_same_bytes(client: CustodianClient, custodian: Custodian) -> None:
    task = client.open_round(draft())
    batch = a_batch(task)
    first = client.answer(batch)
    assert Answer.from_bytes(custodian.answer(batch.to_bytes(), now())) == first
    assert client.answer(batch).half == first.half


def test_no_proxy_of_the_environment_gets_to_see_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    client = CustodianClient("http://127.0.0.1:1", SigningKey.generate(), bytes(32))
    assert client._http._mounts == {}
    client.shut()
