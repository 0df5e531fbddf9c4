from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from federation.custodian.policy import ExperimentTerms
from federation.device.report import make_report
from federation.learning.experiment_sum import PART
from federation.protocol.messages import Task
from federation.service.experiment_store import ExperimentStore
from federation.service.experiment_windows import ExperimentRounds
from federation.service.intake.share_files import ShareFolder
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition_file import experiment_of
from serving.access import SCOPES, Access
from serving.http.app import STATUS, create_app
from serving.http.resources.experiment_routes import add_experiments
from serving.http.resources.federation_routes import TokenDesk, add_federation
from serving.state.api_keys import ApiKeys, MintCounter
from serving.state.key_book import KeyBook
from tests.federation.service.a_lineage import CustodianHere, Line, a_line, stop
from tests.recsys.experiments.an_experiment import raw_experiment
from tests.shop import InProcess

DAY = 86_400
OCTETS = {"content-type": "application/octet-stream"}
VALUES = {"converted": 1.0, "spent": 40.0, "spent_before": 10.0, "clicks": 2.0, "lists": 4.0}
APPS = ("shop", "other")


def now() -> int:
    return int(time.time())


@dataclass
class Live:
    """A service with keys of two apps, a custodian, and experiments; time passes as it is told to."""

    line: Line
    rounds: ExperimentRounds
    custodian: CustodianHere
    app: Any
    book: KeyBook
    keys: dict[tuple[str, str], str]
    clients: dict[tuple[str, str], httpx.Client] = field(default_factory=dict)

    def asks(self, scope: str = "analyst", app: str = "shop") -> httpx.Client:
        if (app, scope) not in self.clients:
            headers = {"authorization": f"Bearer {self.keys[app, scope]}"} if scope else {}
            transport = InProcess(self.app)
            self.clients[app, scope] = httpx.Client(transport=transport, base_url="http://shop.test", headers=headers)
        return self.clients[app, scope]

    def advance(self, at: int) -> None:
        self.custodian.now = at
        while self.rounds.advance(at):
            pass


def live_service(
    folder: Path,
    terms: ExperimentTerms | None = None,
    needs_no_key: bool = False,
    serves: Sequence[str] = APPS,
) -> Live:
    terms = terms or ExperimentTerms(max_epsilon=float("inf"), min_reports=3)
    line = a_line(folder, now=now(), terms=terms)
    custodian = line.custodian
    engine = line.coordinator.store.engine
    rounds = ExperimentRounds(
        ExperimentStore(engine),
        custodian,
        ShareFolder(folder / "experiment-shares"),
        line.issuer,
        custodian_key=custodian.custodian.key.public,
    )
    book = KeyBook(ApiKeys(engine))
    keys = {(app, scope): book.keys.create(app, [scope], now()) for app in APPS for scope in SCOPES}
    book.refresh()
    keys |= {(app, ""): "" for app in APPS}
    served = {app: line.coordinator.bundles() for app in serves}
    app = create_app(served, access=Access(book, needs_no_key=needs_no_key))
    add_federation(
        app, line.coordinator, TokenDesk(line.issuer, MintCounter(engine, period_s=3_600, tokens_per_period=99))
    )
    add_experiments(app, rounds)
    return Live(line, rounds, custodian, app, book, keys)


def end(live: Live) -> None:
    live.rounds.stop()
    stop(live.line)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    made = live_service(tmp_path)
    yield made
    end(made)


def body(**changes: Any) -> dict[str, Any]:
    """A definition whose first window of two is open since yesterday, for a day, while shoppers still come in."""
    start = now() - DAY
    one = {"looks": {"count": 2}, "starts_at": start, "ends_at": start + 2 * DAY, "outcome_days": 2, "segments": []}
    privacy = {"epsilon": None, "min_reports": 3, "max_reports": 100}
    return raw_experiment(**one, privacy=privacy, **changes)


def code(answer: httpx.Response, expected: str) -> str:
    assert answer.json()["error"]["code"] == expected
    assert answer.status_code == STATUS[expected]
    return str(answer.json()["error"]["message"])


def report_to(live: Live, task: Task, arm: str, raw: dict[str, Any], app: str = "shop") -> httpx.Response:
    experiment = experiment_of(raw)
    layout = layout_of(experiment)
    risen = layout.risen(VALUES, np.full((2, len(layout.slots)), 0.5))
    vector = layout.contribution(arm, 0, risen).astype(np.float64)
    report = make_report(task, 0, {PART: vector}, live.line.token(task, app))
    path = f"/v1/experiments/{experiment.id}/reports"
    return live.asks("").post(path, content=report.to_bytes(), headers=OCTETS)


def test_an_experiment_over_http(live: Live) -> None:
    raw = body()
    made = live.asks().put("/v1/experiments", json=raw)
    assert made.status_code == 200
    assert (made.json()["state"], len(made.json()["hash"])) == ("draft", 64)
    assert live.asks("device").get("/v1/experiments").json() == {"experiments": []}
    assert live.asks("device").get("/v1/experiments/personal-home/task").status_code == 204
    assert live.asks().post("/v1/experiments/personal-home/start").json()["state"] == "running"
    (told,) = live.asks("device").get("/v1/experiments").json()["experiments"]
    assert experiment_of(told["definition"]) == experiment_of(raw)
    live.advance(now())
    found = live.asks("device").get("/v1/experiments/personal-home/task")
    task = Task.from_bytes(found.content)
    assert task.bundle_hash.hex() == told["hash"]
    for arm in ("personal", "global") * 4:
        answer = report_to(live, task, arm, raw)
        assert (answer.status_code, answer.json()["status"]) == (201, "accepted")
    assert live.asks().post("/v1/experiments/personal-home/stop").json()["state"] == "stopped"
    live.advance(now())
    shown = live.asks().get("/v1/experiments/personal-home/results").json()
    assert shown["arms"]["personal"]["all"]["n"] == 4.0
    assert shown["arms"]["personal"]["all"]["totals"]["converted"] == 4.0
    assert [(one["state"], one["reports"]) for one in shown["windows"]] == [("summed", 8)]
    assert {one["arm"] for one in shown["verdicts"]} == {"personal"}
    one = live.asks("admin").get("/v1/experiments/personal-home").json()
    assert (one["state"], len(one["windows"])) == ("stopped", 1)


def test_mistakes_are_named(live: Live) -> None:
    asks = live.asks()
    message = code(asks.put("/v1/experiments", json=body(alpha=0.9)), "invalid_request")
    assert message == "alpha=0.9: must be above 0..0.2"
    code(asks.put("/v1/experiments", json=body() | {"salt": 1}), "invalid_request")
    code(asks.put("/v1/experiments", content=b"[]", headers={"content-type": "application/json"}), "invalid_request")
    for path in ("", "/results", "/start", "/stop"):
        method = "POST" if path in ("/start", "/stop") else "GET"
        code(asks.request(method, f"/v1/experiments/nothing{path}"), "unknown_experiment")
    code(live.asks("app").get("/v1/experiments/nothing/task"), "unknown_experiment")
    raw = body()
    asks.put("/v1/experiments", json=raw)
    code(asks.post("/v1/experiments/personal-home/stop"), "experiment_state")
    asks.post("/v1/experiments/personal-home/start")
    message = code(asks.put("/v1/experiments", json=raw | {"power": 0.9, "version": 2}), "invalid_request")
    assert message.startswith("power: cannot change once the experiment has started")
    asks.post("/v1/experiments/personal-home/stop")
    code(asks.put("/v1/experiments", json=raw | {"version": 2}), "experiment_state")


def test_one_apps_experiments_are_invisible_to_other_keys(live: Live) -> None:
    live.asks().put("/v1/experiments", json=body())
    live.asks().post("/v1/experiments/personal-home/start")
    live.advance(now())
    theirs = [live.asks(scope, "other") for scope in ("analyst", "admin", "device", "app")]
    for one in theirs:
        assert one.get("/v1/experiments").json() == {"experiments": []}
    for path in ("personal-home", "personal-home/results"):
        code(theirs[0].get(f"/v1/experiments/{path}"), "unknown_experiment")
    for verb in ("start", "stop"):
        code(theirs[1].post(f"/v1/experiments/personal-home/{verb}"), "unknown_experiment")
    code(theirs[2].get("/v1/experiments/personal-home/task"), "unknown_experiment")
    assert theirs[0].put("/v1/experiments", json=body()).json()["state"] == "draft"  # their own, of the same id
    task = Task.from_bytes(live.asks("device").get("/v1/experiments/personal-home/task").content)
    code(report_to(live, task, "personal", body(), app="other"), "token_invalid")


def test_keys_open_what_is_theirs(live: Live) -> None:
    live.asks().put("/v1/experiments", json=body())
    for scope in ("app", "device", "catalogue"):
        code(live.asks(scope).put("/v1/experiments", json=body()), "scope_missing")
        code(live.asks(scope).get("/v1/experiments/personal-home/results"), "scope_missing")
        code(live.asks(scope).post("/v1/experiments/personal-home/start"), "scope_missing")
    code(live.asks("").get("/v1/experiments"), "api_key_invalid")
    code(live.asks("analyst").get("/v1/experiments/personal-home/task"), "scope_missing")


def test_a_report_in_pieces_wrong_or_late_is_refused(live: Live) -> None:
    raw = body()
    live.asks().put("/v1/experiments", json=raw)
    live.asks().post("/v1/experiments/personal-home/start")
    live.advance(now())
    task = Task.from_bytes(live.asks("device").get("/v1/experiments/personal-home/task").content)
    path = "/v1/experiments/personal-home/reports"
    code(live.asks("").post(path, content=b"x" * 300, headers=OCTETS), "report_malformed")
    code(live.asks("").post(path, json={}), "unsupported_media_type")
    live.asks().post("/v1/experiments/personal-home/stop")
    code(report_to(live, task, "personal", raw), "report_late")
