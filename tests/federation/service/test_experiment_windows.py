from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from data.errors import BudgetExhausted, DataError
from federation.custodian.custodian import Custodian
from federation.custodian.policy import ExperimentTerms
from federation.device.report import make_report
from federation.learning.experiment_sum import PART, experiment_plan, sums_of_windows, window_task
from federation.private_sum.refusals import LateReport, PlanRefused, TaskRefused
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Report, Task
from federation.protocol.report_head import MAX_HEAD_BYTES, read_head
from federation.service.experiment_schema import EXPERIMENTS, ExperimentState
from federation.service.experiment_store import ExperimentStore, UnknownExperiment, WrongState
from federation.service.experiment_windows import ExperimentRounds
from federation.service.intake.report_refusals import StaleReport, TokenInvalid
from federation.service.intake.share_files import ShareFolder
from federation.service.round_schema import RoundState
from federation.service.round_store import CoordinatorStore
from federation.service.tokens.issuer import Issuer
from federation.storage.database import open_engine, sqlite_url
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.definition import Experiment
from tests.federation.service.a_lineage import PLAN, CustodianHere, a_token, an_issuer
from tests.recsys.experiments.an_experiment import START, an_experiment

DAY = 86_400
DAYS = (1.5, 8.5, 22.0)
"""Within the three windows."""
FREE = {"epsilon": None, "min_reports": 3, "max_reports": 100}
TERMS = ExperimentTerms(max_epsilon=math.inf, min_reports=3, max_windows=5)
EXPERIMENT = an_experiment(privacy=FREE, segments=[])
VALUES = {"converted": 1.0, "spent": 40.0, "spent_before": 10.0, "clicks": 2.0, "lists": 4.0}


@dataclass
class Desk:
    """A service's experiments and a custodian, in this process."""

    folder: Path
    url: str
    custodian: CustodianHere
    rounds: ExperimentRounds
    issuer: Issuer

    def again(self) -> Desk:
        """After a restart of the service."""
        self.rounds.stop()
        self.rounds.store.engine.dispose()
        return replace(self, rounds=the_rounds(self.folder, self.url, self.custodian, self.issuer))

    def at(self, days: float) -> None:
        """Every transition that is due so many days after the start, a restart before each."""
        self.custodian.now = int(START + days * DAY)
        while self.rounds.advance(self.custodian.now):
            self.rounds = self.again().rounds

    def take(self, report: Report, days: float) -> str:
        content = report.to_bytes()
        head = read_head(content[:MAX_HEAD_BYTES])
        found = self.rounds.intake.screen(head, int(START + days * DAY))
        return self.rounds.intake.take(head, content, found).result()

    def report(
        self, task: Task, arm: str = "personal", *, app: str = "shop", experiment: Experiment = EXPERIMENT
    ) -> Report:
        layout = layout_of(experiment)
        risen = layout.risen(VALUES, np.full((2, len(layout.slots)), 0.5))
        vector = layout.contribution(arm, 0, risen).astype(np.float64)
        return make_report(task, 0, {PART: vector}, a_token(self.issuer, task, app))

    def task(self, app: str = "shop", experiment_id: str = "personal-home") -> Task:
        found = self.rounds.task(app, experiment_id)
        assert found is not None
        return found


def the_rounds(folder: Path, url: str, custodian: CustodianHere, issuer: Issuer) -> ExperimentRounds:
    return ExperimentRounds(
        ExperimentStore(open_engine(url)),
        custodian,
        ShareFolder(folder / "shares"),
        issuer,
        custodian_key=custodian.custodian.key.public,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = sqlite_url(tmp_path / "rounds.sqlite")
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    custodian = CustodianHere(Custodian.open(tmp_path / "custodian", PLAN, START, None, TERMS), START)
    store = CoordinatorStore.open(url)
    issuer = an_issuer(store.engine, custodian)
    desk = Desk(tmp_path, url, custodian, the_rounds(tmp_path, url, custodian, issuer), issuer)
    yield desk
    store.engine.dispose()
    desk.rounds.stop()
    desk.rounds.store.engine.dispose()
    custodian.custodian.shut()


def started(desk: Desk, app: str = "shop", experiment: Experiment = EXPERIMENT) -> None:
    desk.rounds.store.put(app, experiment, START)
    desk.rounds.store.start(app, experiment.id, START)


def states(desk: Desk) -> list[RoundState]:
    return [one.state for one in desk.rounds.store.windows.of("shop", "personal-home")]


def test_windows_follow_each_other_and_their_sums_add_up(desk: Desk) -> None:
    started(desk)
    for window, arms in enumerate((["personal"] * 4, ["global"] * 3, ["personal"] * 5)):
        day = DAYS[window]
        desk.at(7 * window + 0.1)  # what came before is summed
        desk.at(day)
        task = desk.task()
        assert task.round == window
        for arm in arms:
            report = desk.report(task, arm)
            assert [desk.take(report, day) for _ in "ab"] == ["accepted", "duplicate"]
    desk.at(28)
    assert states(desk) == [RoundState.SUMMED] * 3
    windows = desk.rounds.store.windows.of("shop", "personal-home")
    assert [one.counted for one in windows] == [4, 3, 5]
    sums = sums_of_windows(EXPERIMENT, [one.words for one in windows if one.words is not None])
    assert (sums["personal"][0].n, sums["global"][0].n) == (9.0, 3.0)
    assert sums["personal"][0].totals["spent"] == pytest.approx(360.0, abs=0.1)
    assert not list((desk.folder / "shares").iterdir())
    assert desk.custodian.custodian.round_keys.read(windows[0].task.hash) is None
    spent = desk.custodian.custodian.totals()
    assert (spent.rounds_answered, spent.windows_answered, spent.epsilon) == (3, 3, 0.0)  # of training, none


def test_a_window_with_too_few_reports_is_never_summed(desk: Desk) -> None:
    started(desk)
    desk.at(1.5)
    task = desk.task()
    for _ in range(2):
        desk.take(desk.report(task), 1.5)
    desk.at(7.1)
    assert states(desk)[0] is RoundState.FAILED
    failed = desk.rounds.store.windows.of("shop", "personal-home")[0]
    assert failed.failure == "has no min_reports=3"
    assert failed.words is None
    assert desk.rounds.store.windows.failed_numbers("shop") == {"personal-home": [0]}
    assert desk.rounds.store.windows.failed_numbers("other") == {}
    assert desk.custodian.custodian.totals().batches == 0
    with pytest.raises(LateReport):
        desk.take(desk.report(task), 7.1)


def test_stopping_sums_what_has_come_and_opens_nothing_more(desk: Desk) -> None:
    started(desk)
    desk.at(1.5)
    task = desk.task()
    for _ in range(3):
        desk.take(desk.report(task), 1.5)
    desk.rounds.store.stop("shop", "personal-home", START + 2 * DAY)
    desk.at(2)
    assert states(desk) == [RoundState.SUMMED]
    desk.at(9)
    assert states(desk) == [RoundState.SUMMED]
    assert desk.rounds.task("shop", "personal-home") is None
    with pytest.raises(LateReport):
        desk.take(desk.report(task), 2)


def test_a_service_that_slept_goes_on_with_the_window_of_today(desk: Desk) -> None:
    started(desk)
    desk.at(22)
    assert desk.task().round == 2


def test_an_app_sees_its_own_experiments_alone(desk: Desk) -> None:
    """Two apps may use the same id."""
    started(desk)
    started(desk, "other", an_experiment(privacy=FREE, segments=[], alpha=0.01))
    desk.at(1.5)
    store = desk.rounds.store
    assert store.get("other", "personal-home").experiment.alpha == 0.01
    assert [one.app for one in store.all("shop")] == ["shop"]
    with pytest.raises(UnknownExperiment):
        store.get("third", "personal-home")
    assert store.windows.of("third", "personal-home") == store.versions("third", "personal-home") == []
    assert desk.task("shop").task_id != desk.task("other").task_id
    with pytest.raises(TokenInvalid, match="is of another app than the round"):
        desk.take(desk.report(desk.task("other")), 1.5)
    with pytest.raises(StaleReport):
        desk.take(replace(desk.report(desk.task()), task_id="experiment-unknown"), 1.5)


def test_a_draft_may_be_rewritten_and_a_started_one_only_amended(desk: Desk) -> None:
    store = desk.rounds.store
    store.put("shop", EXPERIMENT, START)
    rewritten = replace(EXPERIMENT, alpha=0.01)
    assert store.put("shop", rewritten, START).experiment == rewritten
    assert store.start("shop", EXPERIMENT.id, START) == store.start("shop", EXPERIMENT.id, START + 9)
    with pytest.raises(DataError, match=r"version=1: must be 2"):
        store.put("shop", EXPERIMENT, START)
    amended = replace(rewritten, version=2, ends_at=START + 20 * DAY)
    assert store.put("shop", amended, START).experiment == amended
    assert store.put("shop", amended, START).experiment == amended
    with pytest.raises(DataError, match="power: cannot change once the experiment has started"):
        store.put("shop", replace(amended, version=3, power=0.9), START)
    assert [one.version for one in store.versions("shop", EXPERIMENT.id)] == [1, 2]
    store.stop("shop", EXPERIMENT.id, START)
    with pytest.raises(WrongState, match="is stopped; another one needs another id"):
        store.put("shop", replace(amended, version=3), START)
    with pytest.raises(WrongState, match="is stopped, must be draft to start"):
        store.start("shop", EXPERIMENT.id, START)
    with pytest.raises(UnknownExperiment, match="this app has none of that id"):
        store.start("shop", "unknown", START)


def test_a_draft_is_not_rewritten_while_another_process_starts_it(desk: Desk) -> None:
    store = desk.rounds.store
    store.put("shop", EXPERIMENT, START)
    with ThreadPoolExecutor(1) as other:
        with store.engine.begin() as connection:
            running = update(EXPERIMENTS).where(EXPERIMENTS.c.app == "shop").values(state=ExperimentState.RUNNING)
            connection.execute(running)
            rewriting = other.submit(store.put, "shop", replace(EXPERIMENT, alpha=0.01), START)
            wait([rewriting], timeout=0.3)
        with pytest.raises(DataError, match=r"version=1: must be 2"):
            rewriting.result()
    assert store.get("shop", EXPERIMENT.id).experiment == EXPERIMENT


def test_a_worker_takes_reports_to_a_window_that_another_one_has_just_opened(desk: Desk) -> None:
    started(desk)
    beside = the_rounds(desk.folder, desk.url, desk.custodian, desk.issuer)
    desk.at(1.5)
    assert beside.task("shop", "personal-home") is None
    content = desk.report(desk.task()).to_bytes()
    head = read_head(content[:MAX_HEAD_BYTES])
    assert len(content) <= beside.max_report_bytes()
    found = beside.intake.screen(head, int(START + 1.5 * DAY))
    assert beside.intake.take(head, content, found).result() == "accepted"
    beside.stop()
    beside.store.engine.dispose()


def test_noise_that_does_not_fit_is_refused_when_it_is_defined(desk: Desk) -> None:
    with pytest.raises(PlanRefused, match=r"epsilon=0\.0001: needs a noise_multiplier above 1000"):
        desk.rounds.store.put("shop", an_experiment(privacy={"epsilon": 1e-4}), START)


def test_two_experiments_of_a_layer_do_not_run_on_the_same_shoppers(desk: Desk) -> None:
    started(desk)
    second = an_experiment(id="second", privacy=FREE, segments=[])
    desk.rounds.store.put("shop", second, START)
    with pytest.raises(DataError, match="overlaps personal-home"):
        desk.rounds.store.start("shop", "second", START)
    started(desk, "other", second)  # another app has shoppers of its own


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (None, "experiments: this custodian signs none"),
        (ExperimentTerms(max_epsilon=0.5, min_reports=3), r"epsilon=1 of an experiment: must be at most 0\.5"),
        (ExperimentTerms(max_epsilon=1.0, min_reports=51), "min_reports=50: must be at least 51"),
    ],
)
def test_a_custodian_signs_no_window_weaker_than_its_terms(
    tmp_path: Path, terms: ExperimentTerms | None, message: str
) -> None:
    custodian = Custodian.open(tmp_path / "c", PLAN, START, None, terms)
    draft = window_task(an_experiment(), 0, "w", deadline=START + DAY, come_back_at=START + DAY, suite=Suite.X25519)
    with pytest.raises(TaskRefused, match=message):
        custodian.open_round(draft.draft_bytes(), START)
    custodian.shut()
    good = Custodian.open(tmp_path / "good", PLAN, START, None, ExperimentTerms(max_epsilon=1.0, min_reports=50))
    assert Task.from_bytes(good.open_round(draft.draft_bytes(), START)).is_signed_by(good.key.public)
    good.shut()


def test_windows_have_a_budget_of_their_own(tmp_path: Path) -> None:
    custodian = Custodian.open(tmp_path / "c", replace(PLAN, max_rounds=1), START, None, replace(TERMS, max_windows=2))
    for window in range(3):
        draft = window_task(
            EXPERIMENT, window, f"w-{window}", deadline=START + DAY, come_back_at=START + DAY, suite=Suite.X25519
        ).draft_bytes()
        if window < 2:
            custodian.open_round(draft, START)
        else:
            with pytest.raises(BudgetExhausted, match="windows=3: must be at most max_windows=2"):
                custodian.open_round(draft, START)
    custodian.shut()


def test_a_refusal_of_the_custodian_is_told(tmp_path: Path) -> None:
    custodian = CustodianHere(Custodian.open(tmp_path / "custodian", PLAN, START), START)
    url = sqlite_url(tmp_path / "rounds.sqlite")
    issuer = an_issuer(CoordinatorStore.open(url).engine, custodian)
    desk = Desk(tmp_path, url, custodian, the_rounds(tmp_path, url, custodian, issuer), issuer)
    started(desk)
    desk.at(1.5)
    (window,) = desk.rounds.store.windows.of("shop", "personal-home")
    assert window.failure is not None
    assert window.failure.startswith("refused by the custodian: experiments: this custodian signs none")
    desk.rounds.stop()
    desk.rounds.store.engine.dispose()
    custodian.custodian.shut()


def test_the_service_adds_its_noise_too(tmp_path: Path) -> None:
    """Both parties' noise is in the sum: its spread over the coordinates is √2·σ."""
    experiment = an_experiment(privacy={"epsilon": 1.0, "min_reports": 3, "max_reports": 1_000})
    terms = ExperimentTerms(max_epsilon=1.0, min_reports=3)
    custodian = CustodianHere(Custodian.open(tmp_path / "custodian", PLAN, START, None, terms), START)
    url = sqlite_url(tmp_path / "rounds.sqlite")
    issuer = an_issuer(CoordinatorStore.open(url).engine, custodian)
    desk = Desk(tmp_path, url, custodian, the_rounds(tmp_path, url, custodian, issuer), issuer)
    started(desk, experiment=experiment)
    found = []
    for window in range(3):
        desk.at(7 * window + 0.1)
        desk.at(DAYS[window])
        for _ in range(3):
            desk.take(desk.report(desk.task(), experiment=experiment), DAYS[window])
    desk.at(28)
    layout, sigma = layout_of(experiment), experiment_plan(experiment).sigma
    for one in desk.rounds.store.windows.of("shop", "personal-home"):
        assert one.words is not None
        found.append(one.words[layout.where("global", 0)] / sigma)
        found.append(one.words[layout.where("global", 1)] / sigma)
    z = np.concatenate(found)  # 72 draws of √2·σ where no device says anything
    assert 1.0 < z.std() < 1.9
    desk.rounds.stop()
    desk.rounds.store.engine.dispose()
    custodian.custodian.shut()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "experiments: is no JSON"),
        ('{"epsilon": 1}', r"experiments\.epsilon: is unknown"),
        ('{"max_epsilon": 0}', r"experiments\.max_epsilon=0\.0: must be above 0"),
        ('{"max_epsilon": true}', r"experiments\.max_epsilon=True: must be a finite number"),
        ('{"min_reports": 0.5}', r"experiments\.min_reports=0\.5: must be an integer"),
    ],
)
def test_terms_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(PlanRefused, match=message):
        ExperimentTerms.from_json(text)
    assert ExperimentTerms.from_json("{}") == ExperimentTerms()


def test_an_experiment_whose_dates_are_past_does_not_start(desk):
    store = desk.rounds.store
    past = replace(EXPERIMENT, id="past", starts_at=1_577_836_800, ends_at=1_577_836_800 + 14 * 86_400)
    store.put("shop", past, START)
    with pytest.raises(DataError, match=r"past: ends_at=2020-01-15T00:00:00\+00:00 is past"):
        store.start("shop", "past", START)
    assert store.all(app="shop", state=ExperimentState.DRAFT)[0].experiment.id == "past"
