"""Both servers behind real sockets: whatever bytes come, errors have the one shape and no log has a traceback."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.protocol.tokens.report_token import Right
from federation.service.intake.report_refusals import IntakeUnavailable
from serving.http.custodian.custodian_app import create_custodian_app
from serving.http.declared_length import FAR_TOO_LONG, declared_length
from serving.http.resources.report_receiver import IntakeSettings, Memory
from serving.http.wire_protocol import BoundedHttp
from tests.federation.custodian.a_custodian import SERVICE, a_custodian
from tests.federation.service.a_lineage import stop
from tests.listening import listening
from tests.raw_requests import Tracebacks, raw_request, right_shape, send_all
from tests.serving.http.resources.test_federation_routes import REPORTS, Live, make

CASES = 400


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = make(tmp_path, IntakeSettings(memory_bytes=100_000, head_timeout_s=3.0))
    yield made
    stop(made.line)


@pytest.fixture(params=["service", "custodian"])
def server(request: pytest.FixtureRequest, live: Live, tmp_path: Path) -> Iterator[tuple[str, int]]:
    """Its name and port."""
    custodian = a_custodian(tmp_path / "alone")
    app = live.app if request.param == "service" else create_custodian_app(custodian, SERVICE.public)
    live.open()
    with listening(app) as url:
        yield request.param, port_of(url)
    custodian.shut()


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def whole_answer(connection: socket.socket) -> bytes:
    answer = b""
    while right_shape(answer) is None and (piece := connection.recv(65_536)):
        answer += piece
    return answer


def ask(port: int, content: bytes, timeout_s: float = 5.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(content)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


def test_bent_requests_get_the_one_error_shape_and_leave_no_traceback(server: tuple[str, int]) -> None:
    name, port = server
    chance = random.Random(5)
    with Tracebacks() as tracebacks:
        judged = send_all(port, [raw_request(chance, name) for _ in range(CASES)])
    assert judged.wrong == []
    assert tracebacks.found == []
    assert judged.cases == CASES
    assert judged.answered > CASES / 2
    assert {400, 404, 405, 413, 422} & set(judged.statuses)
    assert 500 not in judged.statuses


@pytest.mark.parametrize("length", ["9" * 5_000, "²", "-1", "5, 5", "0x10", "1" * 30_000])
def test_whatever_a_content_length_holds_is_refused_in_the_one_shape(server: tuple[str, int], length: str) -> None:
    name, port = server
    path = REPORTS if name == "service" else "/v1/batches"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    content = (head + f"Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n").encode("latin-1")
    with Tracebacks() as tracebacks:
        answer = ask(port, content)
    assert right_shape(answer) in (400, 413)
    assert tracebacks.found == []


def test_lengths_are_read_as_numbers_or_not_at_all() -> None:
    assert [declared_length(text) for text in ("0", "17", "0017", b"5")] == [0, 17, 17, 5]
    assert [declared_length(text) for text in ("", "-1", "+1", "1.0", "²", "٣", " 1", b"\xb2")] == [None] * 8
    assert declared_length("9" * 18) == 10**18 - 1
    assert declared_length("9" * 19) == declared_length("9" * 100_000) == FAR_TOO_LONG
    assert declared_length("0" * 5_000 + "3") == 3


def test_a_head_that_does_not_come_is_given_up(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedHttp, "head_timeout_s", 0.3)
    with listening(live.app) as url:
        for content in (b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nX: y\r\n"):
            answer = ask(port_of(url), content)
            assert right_shape(answer) == 408
        with socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as connection:
            for _ in range(2):  # the next request on the same connection has its own time
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET /h")
            assert b"head_timed_out" in connection.recv(65_536)


def test_a_head_without_end_is_refused(live: Live) -> None:
    with listening(live.app) as url, socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 65_000)
        time.sleep(0.1)  # what is unread when the server hangs up would reset the connection
        connection.sendall(b"a" * 1_000)
        assert right_shape(connection.recv(65_536)) == 431


def test_lying_connections_keep_no_honest_report_out(live: Live) -> None:
    """Five hundred that declare a body and send none, or half a head, while 100,000 bytes are all there are."""
    task = live.open()
    size = len(live.report(task).to_bytes())
    head = f"POST {REPORTS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
    lie = f"{head}Content-Length: {size}\r\n\r\n"
    assert 500 * size > 100_000
    with listening(live.app) as url:
        held = [socket.create_connection(("127.0.0.1", port_of(url)), timeout=5) for _ in range(500)]
        try:
            for n, connection in enumerate(held):
                connection.sendall(lie.encode() + b"OSR1"[: n % 5])
            time.sleep(0.2)
            for seed in range(5):
                content = live.report(task, 0, seed).to_bytes()
                honest = lie.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").encode()
                assert ask(port_of(url), honest + content).startswith(b"HTTP/1.1 201")
            assert {right_shape(whole_answer(connection)) for connection in held} == {503}
        finally:
            for connection in held:
                connection.close()


def test_one_token_has_room_for_one_body_at_a_time_and_an_issuer_for_its_share() -> None:
    memory = Memory(100, issuer_bound=60)
    one, other = Right("shop", b"1", "k"), Right("shop", b"2", "k")
    with memory.reserved(one, 40):
        with pytest.raises(IntakeUnavailable, match="with this token"), memory.reserved(one, 1):
            pass
        with pytest.raises(IntakeUnavailable, match="too many"), memory.reserved(other, 21):
            pass
        elsewhere = Right("elsewhere", b"1", "k")
        with memory.reserved(other, 20), memory.reserved(elsewhere, 40), pytest.raises(IntakeUnavailable, match="too"):
            memory.reserved(None, 1).__enter__()
    with memory.reserved(one, 60), memory.reserved(None, 40):  # all of it was given back
        pass
