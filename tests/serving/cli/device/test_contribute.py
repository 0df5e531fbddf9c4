from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from federation.device.device import Device
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.merkle_log import leaf_hash
from federation.protocol.transparency import issuer_key_entry, task_entry
from recsys.catalogue.bundle import Bundle
from serving.cli.device.contribute import SAID, policy_of
from serving.cli.device.device import device_app
from tests.federation.service.live_round import CLIPS, CUSTODIAN, FakeService, refusal, training_task
from tests.shop import make_bundle

PLAN = PrivacyPlan.off(CLIPS, max_participations=2, min_reports=1, max_reports=1000)
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def service(bundle: Bundle) -> FakeService:
    now = int(time.time())
    task, _ = training_task(bundle, noise=0.0, min_reports=1, deadline=now + 600, come_back_at=now + 1200,
                            plan=PLAN.sum_plan(16, 8))  # fmt: skip
    return FakeService(task, bundle)


@pytest.fixture
def address(service: FakeService) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = service.answer(httpx.Request(self.command, f"http://x{self.path}", content=body))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name != "content-length":
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("OWNSHELF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OWNSHELF_SHOP_CREDENTIAL", "a-login")
    Device.create(tmp_path / "home", consent="contribute", key_store="file").observe("sku-1", "purchase")
    (tmp_path / "plan.json").write_text(PLAN.to_json())

    def run(*arguments: str, **changes: str) -> Result:
        options = {
            "service": address,
            "custodian-key": CUSTODIAN.public.hex(),
            "plan": str(tmp_path / "plan.json"),
            "spread": "0",
        } | {name.replace("_", "-"): value for name, value in changes.items()}
        given = [f"--{name}={value}" for name, value in options.items()]
        return CliRunner().invoke(device_app, ["contribute", *given, *arguments])

    return run


def test_a_device_contributes_once(run: Run, service: FakeService) -> None:
    found = run("--json")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.stdout)
    assert (answer["status"], answer["report_bytes"]) == ("accepted", len(service.received[0]))
    assert run().stdout == f"{SAID['too_early']}\n"
    assert len(service.received) == 1
    shown = json.loads(CliRunner().invoke(device_app, ["show", "--json"]).stdout)
    assert (shown["participations"], shown["epsilon"]) == (1, None)


def test_a_full_period_is_said(run: Run, service: FakeService, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(replace(PLAN, max_per_period=1, period_s=86_400).to_json())
    now = int(time.time())
    for round_, status in enumerate(("accepted", "period_full")):
        changes = {"deadline": now + 600, "come_back_at": now}
        before, plan = service.task, PLAN.sum_plan(16, 8)
        service.task, _ = training_task(bundle, round_=round_, noise=0.0, min_reports=1, plan=plan, **changes)
        key = leaf_hash(issuer_key_entry(service.issuer.key(0)))
        service.leaves = [] if round_ == 0 else [leaf_hash(task_entry(before)), key]
        said = run()
        assert (said.exit_code, said.stdout) == (0, f"{SAID[status]}\n")
    assert len(service.received) == 1


def test_a_refusal_is_said_with_its_code(run: Run, service: FakeService) -> None:
    service.faults = [lambda _: refusal(403, "token_spent")]
    assert run().stdout == f"{SAID['rejected']} (token_spent)\n"


def test_without_consent_nothing_is_asked(run: Run, service: FakeService) -> None:
    CliRunner().invoke(device_app, ["consent", "observe"])
    assert run().stdout == f"{SAID['no_consent']}\n"
    assert service.requests == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"service": "http://shop.example"}, "must be https://"),
        ({"custodian_key": "00" * 32}, "must be the pinned custodian's"),
        ({"custodian_key": "nowhere.pub"}, "cannot be read"),
        ({"plan": "nowhere.json"}, "plan=nowhere.json: cannot be read"),
        ({"ca": "nowhere.pem", "service": "https://127.0.0.1:1"}, "not a file of PEM certificates"),
    ],
)
def test_a_mistake_is_one_line(run: Run, service: FakeService, changes: dict[str, str], why: str) -> None:
    answer = run(**changes)
    assert (answer.exit_code, answer.stdout, answer.stderr.count("\n")) == (1, "", 1)
    assert why in answer.stderr
    assert service.received == []


def test_without_a_token_no_report_is_made(run: Run, service: FakeService) -> None:
    assert "tokens: the shop signs none (ConnectError)" in run(shop="http://127.0.0.1:1").stderr
    assert service.received == []


def test_a_key_that_is_not_in_the_log_signs_no_token(run: Run, service: FakeService) -> None:
    service.logs_issuer = False
    answer = run()
    assert (answer.exit_code, answer.stderr.count("\n")) == (1, 1)
    assert (service.received, service.issuer.asked) == ([], 0)


def test_a_key_of_another_app_signs_no_token(run: Run, service: FakeService) -> None:
    assert "app=shop of the issuer's key: must be tea-house" in run(app="tea-house").stderr
    assert (service.received, service.issuer.asked) == ([], 0)


def test_a_plan_is_what_the_device_insists_on() -> None:
    noised = replace(PLAN, noise_multiplier=2.0, min_reports=60, delta=1e-7)
    policy = policy_of(noised, CUSTODIAN.public)
    assert (policy.min_noise_multiplier, policy.min_reports, policy.max_participations) == (2.0, 60, 2)
    assert policy.delta == 1e-7
    assert policy.max_epsilon == pytest.approx(noised.epsilon)
    assert policy_of(PLAN, CUSTODIAN.public).max_epsilon == float("inf")


def test_simulate_is_an_option_or_a_command() -> None:
    told = [
        CliRunner().invoke(device_app, arguments).stderr
        for arguments in (["simulate", "3"], ["--simulate", "3"], ["--simulate=3"])
    ]
    assert len(set(told)) == 1
    assert "Missing option" in told[0]
