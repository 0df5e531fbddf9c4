from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from data.errors import DataError
from federation.custodian.policy import CustodianPolicy, answer_batch, open_round
from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.experiments.enrolment import arm_for, expose, facts_of, increments_at, keep_definitions, note
from federation.device.experiments.window_report import report_window
from federation.device.noise_ledger import NoiseAccount, NoiseDraw
from federation.device.outcome_log import Enrolment, ExperimentLog
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.reporting import DeviceRandomness, Outcome
from federation.device.state import DeviceState
from federation.learning.experiment_sum import PART, check_window, experiment_plan, sums_of_windows, window_task
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.custodian_half import Round
from federation.private_sum.fixed_point import encode
from federation.private_sum.randomness import secure_bytes
from federation.private_sum.refusals import TaskRefused
from federation.private_sum.sealing import Suite
from federation.protocol.messages import Purpose, Report, Task
from federation.service.summing import batch_of, sum_of
from recsys.experiments.analysis.layout import layout_of
from recsys.experiments.definition.amendments import fixed_hash
from recsys.experiments.definition.definition import Experiment
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.federation.service.live_round import CUSTODIAN, refusal
from tests.recsys.experiments.an_experiment import START, an_experiment
from tests.shop import make_bundle

DAY = 86_400
AT = START * 1_000_000
SECRET_OF_PERSONAL = bytes([5] * 32)
FREE = {"epsilon": None, "min_reports": 1, "max_reports": 1_000}
EXPERIMENT = an_experiment(privacy=FREE)
OPEN = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=0.0, min_reports=1, max_epsilon=math.inf, follows_log=False)
STRICT = DevicePolicy(CUSTODIAN.public, min_noise_multiplier=1.0, min_reports=50, max_epsilon=1.5, follows_log=False)


@dataclass
class Windows:
    """A custodian and a service for the windows of experiments. faults: instead of taking a report, one a request."""

    experiment: Experiment
    window: int = 0
    tasks: dict[int, tuple[Task, Round]] = field(default_factory=dict)
    reports: dict[int, list[Report]] = field(default_factory=dict)
    faults: list[Callable[[], httpx.Response]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    retry_after: str | None = None

    def task(self, **changes: Any) -> Task:
        if self.window not in self.tasks:
            _, end = self.experiment.window(self.window)
            draft = window_task(
                self.experiment, self.window, f"w-{self.window}", deadline=end, come_back_at=end, suite=Suite.X25519
            )
            self.tasks[self.window] = open_round(replace(draft, **changes), CustodianPolicy(1, 0.0), CUSTODIAN)
        return self.tasks[self.window][0]

    def client(self, base_url: str = "http://127.0.0.1") -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self.answer), base_url=base_url)

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if request.url.path.endswith("/task") and self.retry_after is not None:
            return httpx.Response(204, headers={"retry-after": self.retry_after})
        if request.url.path.endswith("/task"):
            return httpx.Response(200, content=self.task().to_bytes())
        if self.faults:
            return self.faults.pop(0)()
        report = Report.from_bytes(request.read(), self.task(), 0)
        self.reports.setdefault(self.window, []).append(report)
        return httpx.Response(201, json={})

    def sum(self, window: int) -> np.ndarray:
        task, secret = self.tasks[window]
        reports = self.reports[window]
        _, answer = answer_batch(task, batch_of(task, 0, reports), secret, CUSTODIAN.public)
        return sum_of(task, {one.report_id: one.service_share for one in reports}, answer)


def a_device(folder: Path, secret: bytes = SECRET_OF_PERSONAL, experiment: Experiment = EXPERIMENT) -> Device:
    device = Device.create(folder, consent="contribute", key_store="file")
    keep_definitions(device, [experiment])

    def with_secret(state: DeviceState) -> DeviceState:
        return replace(state, experiments=replace(state.experiments, secret=secret))

    device.change(with_secret)
    return device


def report(device: Device, windows: Windows, days: float, policy: DevicePolicy = OPEN, **url: str) -> Outcome:
    """The device's report to the open window, some days after the start."""
    with windows.client(**url) as client:
        return report_window(
            device,
            client,
            policy,
            windows.experiment.id,
            SomeIssuer(),
            draws=DeviceRandomness(waiting=random.Random(0)),
            retry=RetryPolicy(spread_s=0, attempts=1, sleep=lambda _: None),
            now=lambda: START + days * DAY,
        )


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    return a_device(tmp_path / "home")  # type: ignore[return-value]


def test_windows_add_up_to_one_shopper_with_the_right_square(device: Device) -> None:
    windows = Windows(EXPERIMENT)
    note(device, "purchase", AT - DAY * 1_000_000, 30.0)
    assert expose(device, "list_shown", None, AT) == ("personal-home",)
    note(device, "list", AT)
    note(device, "purchase", AT + 1, 20.0)
    assert report(device, windows, 1).status == "accepted"
    windows.window = 1
    note(device, "purchase", AT + 6 * DAY * 1_000_000, 50.0)
    assert report(device, windows, 8).status == "accepted"
    windows.window = 2
    assert report(device, windows, 22).status == "accepted"  # nothing new: zeros
    assert not windows.sum(2).any()
    sums = sums_of_windows(EXPERIMENT, [windows.sum(window) for window in range(3)])
    new, returning = sums["personal"]
    assert (new.n, returning.n) == (1.0, 0.0)  # facts are of the history of items, which is empty
    assert new.totals["converted"] == 1.0
    assert new.totals["spent"] == pytest.approx(70.0, abs=0.1)
    assert new.products["spent", "spent"] == pytest.approx(4_900.0, abs=1.0)  # (20 + 50)², not 20² + 50²
    assert new.products["spent", "spent_before"] == pytest.approx(2_100.0, abs=1.0)
    assert all(not arm.totals["spent"] and not arm.n for arm in sums["global"])


def test_an_assigned_device_reports_zeros_before_anything_happened(device: Device) -> None:
    windows = Windows(EXPERIMENT)
    assert report(device, windows, 1).status == "accepted"
    assert not windows.sum(0).any()
    assert len(windows.reports[0][0].service_share) == 4 * layout_of(EXPERIMENT).length


def test_one_report_a_window_and_one_charge_an_experiment(tmp_path: Path) -> None:
    experiment = an_experiment()
    device, windows = a_device(tmp_path / "home", experiment=experiment), Windows(experiment)
    expose(device, "list_shown", None, AT)
    found = []
    for window in range(3):
        windows.window = window
        found += [
            report(device, windows, (1, 8, 22)[window], STRICT, base_url="https://shop.test").status for _ in "ab"
        ]
    assert found == ["accepted", "too_early"] * 3
    account = device.state.participation
    assert (len(account.experiments), account.count_since(0)) == (1, 0)
    assert 0.99 < account.epsilon(1e-6) <= 1.0  # what the definition promised, however often one looks


def test_it_comes_back_when_told_and_not_earlier(device: Device) -> None:
    windows = Windows(EXPERIMENT, retry_after="7200")
    outcome, asked_at = report(device, windows, 1), START + DAY
    assert outcome.status == "no_window"
    assert asked_at + 7_200 <= outcome.come_back_at <= asked_at + 7_920
    windows.retry_after = None
    assert report(device, windows, 1 + 7_100 / DAY) == Outcome("too_early", outcome.come_back_at)
    assert len(windows.paths) == 1
    assert report(device, windows, 1 + 8_000 / DAY).status == "accepted"
    _, end = EXPERIMENT.window(0)
    assert device.state.experiments.enrolment(EXPERIMENT).come_back_at == end
    assert report(device, windows, 6) == Outcome("too_early", end)
    assert len(windows.paths) == 3  # a task and a report more


def test_no_service_can_silence_it_for_longer_than_agreed(device: Device) -> None:
    silent = report(device, Windows(EXPERIMENT, retry_after="999999999"), 1)
    assert silent.come_back_at <= START + DAY + 1.1 * OPEN.max_wait_s


def test_a_device_reports_once_to_a_window_however_early_it_may_come_back(device: Device) -> None:
    windows = Windows(EXPERIMENT)
    windows.task(come_back_at=START)
    assert [report(device, windows, days).status for days in (1, 2, 3)] == ["accepted", "took_part", "took_part"]
    assert len(windows.reports[0]) == 1


def test_what_a_device_has_said_is_never_taken_back_by_forgetting(device: Device) -> None:
    """Its ε rests on it: increments that fall would be charged to nobody."""
    windows, layout = Windows(EXPERIMENT), layout_of(EXPERIMENT)
    expose(device, "list_shown", None, AT)
    note(device, "purchase", AT + 1, 50.0, item_id="sku-1")
    note(device, "purchase", AT + 2, 20.0, item_id="sku-2")
    assert report(device, windows, 1).status == "accepted"
    said = device.state.experiments.enrolment(EXPERIMENT)
    device.forget("sku-1")
    own, moved = increments_at(device.state.experiments, EXPERIMENT, said, AT + 2 * DAY * 1_000_000)
    assert not moved.any()
    assert own.sent == said.sent
    windows.window = 1
    assert report(device, windows, 8).status == "accepted"
    assert not windows.sum(1).any()
    note(device, "purchase", AT + 6 * DAY * 1_000_000, 80.0, item_id="sku-3")  # 100 in all, of which 70 were said
    _, moved = increments_at(device.state.experiments, EXPERIMENT, said, AT + 10 * DAY * 1_000_000)
    assert (moved >= 0).all()
    assert moved.any()
    together = (said.sent_so_far(layout) + moved).ravel()
    assert together @ together <= layout.bound_squared


def test_increments_of_all_windows_are_within_what_one_was_charged_for(device: Device) -> None:
    layout, sent = layout_of(EXPERIMENT), np.zeros(layout_of(EXPERIMENT).length, dtype=np.int64)
    expose(device, "list_shown", None, AT)
    squared = 0
    for day in range(9):
        for event, value in (("purchase", 90.0), ("list", 0.3), ("click", 1.0)):
            for _ in range(4):
                note(device, event, AT + day * DAY * 1_000_000, value)
        state = device.state
        own = state.experiments.enrolment(EXPERIMENT)
        after, moved = increments_at(state.experiments, EXPERIMENT, own, AT + (day * DAY + 1) * 1_000_000)
        device.change(lambda s, after=after: replace(s, experiments=s.experiments.with_enrolment(after)))  # type: ignore[misc]
        assert (moved >= 0).all()
        vector = layout.contribution("personal", 0, moved)
        squared += int(vector @ vector)
        words = encode(experiment_plan(EXPERIMENT), {PART: vector.astype(np.float64)}, secure_bytes())
        assert np.array_equal(words.view(np.int32), vector)  # no clip, no rounding: what was counted is what is sent
        sent += vector
    assert squared <= layout.bound_squared
    columns = {"converted": 1.0, "spent": 200.0, "spent_before": 0.0, "clicks": 20.0, "lists": 20.0}
    exact = layout.risen(columns, np.full((2, len(layout.slots)), 0.5))
    assert np.abs(sent[layout.where("personal", 0)] - (exact[0] - exact[1])).max() <= 1


def test_only_who_agreed_to_contribute_is_in(device: Device) -> None:
    arm = arm_for(device, "personal-home", AT)
    assert arm is not None
    assert arm.name == "personal"
    assert arm_for(device, "unknown", AT) is None
    device.set_consent("observe")
    assert arm_for(device, "personal-home", AT) is None
    assert not note(device, "click", AT)
    assert expose(device, "list_shown", None, AT) == ()
    assert report(device, Windows(EXPERIMENT), 1).status == "no_consent"
    assert not device.state.experiments.notes


@pytest.mark.parametrize(
    ("changes", "trigger", "surface", "days", "entered"),
    [
        ({}, "list_shown", "home", 0.0, True),
        ({}, "list_requested", None, 0.0, False),
        ({"exposure": {"trigger": "list_shown", "surface": "cart"}}, "list_shown", "home", 0.0, False),
        ({"exposure": {"trigger": "list_shown", "surface": "cart"}}, "list_shown", "cart", 0.0, True),
        ({"eligibility": [{"fact": "purchases", "least": 1}]}, "list_shown", None, 0.0, False),
        ({}, "list_shown", None, -0.1, False),
        ({}, "list_shown", None, 14.0, False),
        ({"layer": {"name": "home", "start": 0, "stop": 1}}, "list_shown", None, 0.0, False),
    ],
)
def test_a_shopper_comes_in_by_the_declared_trigger_if_every_rule_holds(
    tmp_path: Path, changes: dict[str, Any], trigger: Any, surface: str | None, days: float, entered: bool
) -> None:
    experiment = an_experiment(privacy=FREE, **changes)
    device = a_device(tmp_path / "home", experiment=experiment)
    now = AT + int(days * DAY) * 1_000_000
    assert (expose(device, trigger, surface, now) == ("personal-home",)) == entered
    if entered:
        assert expose(device, trigger, surface, now + 1) == ()  # once


def test_facts_are_of_the_history_before(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    device = Device.create(tmp_path / "home", consent="contribute", key_store="file", bundle=bundle)
    best = np.argsort(bundle.table.trend)
    for day, (item, kind) in enumerate([(best[-1], "view"), (best[0], "purchase"), (best[-2], "cart")]):
        device.observe(bundle.items.ids[int(item)], kind, AT + day * DAY * 1_000_000)
    facts = facts_of(device.state.events, device.catalogue, AT + 2 * DAY * 1_000_000)
    assert facts == {
        "events": 2.0, "views": 1.0, "purchases": 1.0, "carts": 0.0, "likes": 0.0, "days_known": 2.0,
        "head_share": 0.5,
    }  # fmt: skip
    assert facts_of((), None, AT)["head_share"] == 0.0


def test_a_refused_report_ends_what_the_device_says_but_not_its_reporting(device: Device) -> None:
    """Its later increments would be outcomes of a shopper whom the sums do not count."""
    windows = Windows(EXPERIMENT, faults=[lambda: refusal(410, "report_late")])
    expose(device, "list_shown", None, AT)
    assert report(device, windows, 1) == Outcome(
        "rejected", START + 7 * DAY, "report_late", pytest.approx(500, abs=200)
    )
    windows.window = 1
    note(device, "purchase", AT + 1, 50.0)
    assert report(device, windows, 8).status == "accepted"
    assert not windows.sum(1).any()


def test_an_unanswered_report_is_sent_again_as_the_same_bytes_until_its_deadline(device: Device) -> None:
    windows = Windows(EXPERIMENT, faults=[lambda: httpx.Response(503)] * 2)
    expose(device, "list_shown", None, AT)
    assert report(device, windows, 1).status == "unsent"
    pending = device.state.experiments.enrolment(EXPERIMENT).pending
    assert report(device, windows, 2).status == "unsent"
    assert device.state.experiments.enrolment(EXPERIMENT).pending == pending
    assert report(device, windows, 3).status == "accepted"
    assert len(windows.reports[0]) == 1
    assert windows.sum(0).any()


def test_a_report_that_never_arrived_or_was_withdrawn_is_lost(tmp_path: Path) -> None:
    for name, lose in (("late", None), ("withdrawn", "observe")):
        device = a_device(tmp_path / name)
        windows = Windows(EXPERIMENT, faults=[lambda: httpx.Response(503)])
        expose(device, "list_shown", None, AT)
        assert report(device, windows, 1).status == "unsent"
        if lose is not None:
            device.set_consent(lose)
            device.set_consent("contribute")
        windows.window = 1
        assert report(device, windows, 8).status == "accepted"
        assert device.state.experiments.enrolment(EXPERIMENT).left
        assert not windows.sum(1).any()


def test_what_was_said_in_a_window_that_failed_is_lost_and_not_said_again(tmp_path: Path) -> None:
    """Else the sums would have outcomes of shoppers whom they do not count: 8 % of buyers where there are 4 %."""
    for name, failed, counted in (
        ("spoke", {EXPERIMENT.id: [0]}, False),
        ("other", {EXPERIMENT.id: [1], "e": [0]}, True),
    ):
        device, windows = a_device(tmp_path / name), Windows(EXPERIMENT)
        expose(device, "list_shown", None, AT)
        assert report(device, windows, 1).status == "accepted"
        windows.window = 1
        note(device, "purchase", AT + 1, 50.0)
        keep_definitions(device, [EXPERIMENT], failed)
        keep_definitions(device, [EXPERIMENT])
        assert report(device, windows, 8).status == "accepted"
        assert bool(windows.sum(1).any()) is counted


def test_a_device_that_had_said_nothing_in_a_window_that_failed_goes_on(device: Device) -> None:
    windows = Windows(EXPERIMENT)
    assert report(device, windows, 1).status == "accepted"
    keep_definitions(device, [EXPERIMENT], {EXPERIMENT.id: [0]})
    expose(device, "list_shown", None, AT)
    windows.window = 1
    assert report(device, windows, 8).status == "accepted"
    assert windows.sum(1).any()


def test_a_device_without_budget_takes_no_part(tmp_path: Path) -> None:
    experiment = an_experiment()
    device, windows = a_device(tmp_path / "home", experiment=experiment), Windows(experiment)
    assert report(device, windows, 1, replace(STRICT, max_epsilon=0.9)).status == "budget_spent"
    assert device.state.participation.experiments == ()
    assert windows.reports == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"purpose": Purpose.TRAINING}, "purpose=TRAINING: must be EXPERIMENT"),
        ({"bundle_version": "other:1"}, "subject=other:1: is not the held personal-home:1"),
        ({"bundle_hash": bytes(32)}, "is not the held personal-home:1, or not as defined"),
        ({"round": 3}, r"window=3: must be 0\.\.2"),
        ({"plan": replace(experiment_plan(an_experiment()), min_reports=51)}, "plan: must have the parts"),
        ({"plan": replace(experiment_plan(an_experiment()), sigma=1)}, "sigma=1: must be at least"),
        ({"plan": replace(experiment_plan(an_experiment()), sigma=400_000)}, r"epsilon=1\.2\d* of sigma=400000"),
    ],
)
def test_a_task_that_is_other_or_weaker_than_defined_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    experiment = an_experiment()
    device, windows = a_device(tmp_path / "home", experiment=experiment), Windows(experiment)
    windows.task(**changes)
    with pytest.raises(TaskRefused, match=message):
        report(device, windows, 1, STRICT)
    assert device.state.participation.experiments == ()


def test_a_training_device_refuses_an_experiments_task(device: Device) -> None:
    windows = Windows(EXPERIMENT)
    with windows.client() as client, pytest.raises(TaskRefused, match="purpose=EXPERIMENT: must be TRAINING"):
        take_part(device, client, OPEN, SomeIssuer(), now=lambda: START + 1)


def test_a_sum_without_noise_is_for_this_machine_only(device: Device) -> None:
    with pytest.raises(TaskRefused, match="sigma=0: a sum without noise"):
        report(device, Windows(EXPERIMENT), 1, base_url="https://shop.test")


def test_another_experiment_under_a_known_id_is_refused(device: Device) -> None:
    expose(device, "list_shown", None, AT)
    keep_definitions(device, [an_experiment(privacy=FREE, version=2, ends_at=START + 30 * DAY)])
    with pytest.raises(DataError, match="is another one than this device is in under that id"):
        keep_definitions(device, [an_experiment(privacy=FREE, alpha=0.01)])
    keep_definitions(device, [])
    assert arm_for(device, "personal-home", AT) is None


def test_the_noise_is_calibrated_once_for_all_windows() -> None:
    for count in (1, 5, 50):
        experiment = an_experiment(looks={"count": count})
        plan = experiment_plan(experiment)
        assert plan.sigma == experiment_plan(an_experiment()).sigma
        assert 0.99 < epsilon_of(rho_of(plan), 1e-6) <= 1.0
        check_window(Windows(experiment).task(), experiment)


def test_the_vault_keeps_everything_and_shows_it(device: Device) -> None:
    expose(device, "list_shown", None, AT)
    note(device, "purchase", AT + 1, 12.5)
    report(device, Windows(EXPERIMENT, faults=[lambda: httpx.Response(503)]), 1)
    state = device.state
    assert DeviceState.decode(state.encode()) == state
    shown = device.show()
    assert shown["experiments"] == [
        {"experiment_id": "personal-home", "exposed_at": "2025-12-01T00:00:00+00:00", "window": 0}
    ]
    assert shown["experiment_notes"][0]["value"] == 12.5
    assert SECRET_OF_PERSONAL.hex() not in repr(state)
    assert "12.5" not in repr(state)


def test_forgetting_an_item_removes_its_notes_and_those_that_may_be_its(device: Device) -> None:
    expose(device, "list_shown", None, AT)
    device.observe("sku-1", "purchase", AT + 1)
    note(device, "purchase", AT + 1, 12.5, item_id="sku-1")
    note(device, "click", AT + 2, item_id="sku-1")
    note(device, "purchase", AT + 3, 20.0, item_id="sku-2")
    note(device, "cart", AT + 4)
    note(device, "session", AT + 5, 60.0)
    assert device.forget("sku-of-nobody") == 0
    assert len(device.state.experiments.notes) == 5
    assert device.forget("sku-1") == 1
    assert [(one.event, one.item_id) for one in device.state.experiments.notes] == [
        ("purchase", "sku-2"),
        ("session", None),
    ]
    note(device, "click", AT + 6, item_id="sku-3")
    assert device.forget("sku-3") == 0  # noted, never observed
    assert not device.state.experiments.names("sku-3")


def test_forgetting_everything_leaves_nothing_of_the_shopper(device: Device) -> None:
    empty, windows = device.state, Windows(EXPERIMENT)
    device.observe("sku-1", "purchase", AT - 5)
    expose(device, "list_shown", None, AT)
    note(device, "purchase", AT + 1, 12.5, item_id="sku-1")
    assert report(device, windows, 1).status == "accepted"
    assert windows.sum(0).any()
    assert device.forget_everything() == 1
    left = device.state
    assert replace(left, participation=empty.participation, experiments=empty.experiments) == empty
    assert left.experiments == replace(
        empty.experiments,
        enrolments=(Enrolment("personal-home", fixed_hash(EXPERIMENT), window=0, left=True),),
    )
    assert all(word not in left.encode() for word in (b"sku-1", b"12.5", str(AT).encode(), str(AT + 1).encode()))
    windows.window = 1
    assert expose(device, "list_shown", None, AT + 10) == ()  # nobody comes in twice
    note(device, "purchase", AT + 11, 99.0)
    assert report(device, windows, 8).status == "accepted"
    assert not windows.sum(1).any()


def test_forgetting_everything_begins_no_budget_anew(tmp_path: Path) -> None:
    first, second = an_experiment(), an_experiment(id="another")
    device = a_device(tmp_path / "home", experiment=first)
    assert report(device, Windows(first), 1, STRICT).status == "accepted"
    device.change(lambda state: replace(state, noise=NoiseAccount(1, 8.0, (NoiseDraw("v", 8.0, 1e10, np.ones(2)),))))
    spent = device.state.participation
    assert len(spent.experiments) == 1
    device.forget_everything()
    assert device.state.participation == spent
    assert device.state.noise == NoiseAccount(1, 8.0)
    assert report(device, Windows(first, window=1), 8, STRICT).status == "accepted"
    assert device.state.participation == spent  # one charge an experiment, as before
    keep_definitions(device, [first, second])
    assert report(device, Windows(second), 1, replace(STRICT, max_epsilon=1.2)).status == "budget_spent"  # of both: 1.4


def test_an_experiment_never_reported_to_is_as_if_it_had_not_begun(device: Device) -> None:
    expose(device, "list_shown", None, AT)
    device.forget_everything()
    assert device.state.experiments.enrolments == ()
    assert expose(device, "list_shown", None, AT + 1) == ("personal-home",)


def test_a_vault_of_before_notes_named_items_is_read(device: Device) -> None:
    note(device, "purchase", AT, 3.0)
    stored = device.state.experiments.encode()
    stored["notes"] = [one[:3] for one in stored["notes"]]
    assert ExperimentLog.decode(stored) == device.state.experiments
