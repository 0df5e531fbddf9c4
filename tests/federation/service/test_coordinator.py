from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError

from data.errors import BudgetExhausted, FederationError, ServingError
from federation.device.report import make_report
from federation.learning.item_step import StepState, item_step
from federation.learning.training_sum import round_sums
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.refusals import BatchRefused, ForeignTask, LateReport
from federation.protocol.messages import Report, Task
from federation.service.intake.report_refusals import TokenInvalid
from federation.service.round_machine import SUM_WITHIN_S
from federation.service.round_schema import RoundState
from federation.service.round_store import CoordinatorStore
from federation.storage import crash_points as write_points
from federation.storage.activations import NoEarlierVersion
from federation.storage.database import sqlite_url
from recsys.catalogue.bundle import Bundle, save_bundle
from tests.federation.service.a_lineage import NOW, PLAN, SETTINGS, Line, a_line, a_vector, stop


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    line = a_line(tmp_path)
    yield line
    stop(line)


def state_of(line: Line) -> RoundState:
    newest = line.coordinator.store.newest()
    assert newest is not None
    return newest.state


def with_seed(task: Task, block: int, n: int, line: Line) -> tuple[list[Report], np.ndarray]:
    """n reports of one block whose rounding is seeded, and their exact integer sum."""
    rng, again = np.random.default_rng([5, block]), np.random.default_rng([5, block])
    vectors = [a_vector(task, seed) for seed in range(n)]
    reports = [make_report(task, block, vector, line.token(task), rng) for vector in vectors]
    return reports, sum_in_process(task.plan, vectors, again)


def accept_all(line: Line, reports: list[Report]) -> None:
    for report in reports:
        assert line.coordinator.accept(report.to_bytes(), NOW) == "accepted"


def test_a_round_goes_through_its_states_one_transition_at_a_time(line: Line) -> None:
    states = []
    for _ in range(2):
        assert line.coordinator.advance(NOW)
        states.append(state_of(line))
    assert not line.coordinator.advance(NOW)
    task = line.coordinator.task()
    assert task is not None
    line.fill(task, 4)
    while line.coordinator.advance(NOW):
        states.append(state_of(line))
    assert states == ["drafted", "open", "closed", "summed", "stepped", "published"]
    assert line.custodian.calls == ["open", "answer 0", "answer 1", "close"]


def test_the_sums_are_exact_and_the_new_table_is_their_item_step(line: Line) -> None:
    task, sums = line.open(), {}
    for block in range(2):
        reports, sums[block] = with_seed(task, block, 4, line)
        accept_all(line, reports)
    before = line.coordinator.bundles()[0]
    line.settle()
    stored = line.coordinator.store.sums(task.task_id)
    for block in range(2):
        np.testing.assert_array_equal(stored[block].words, sums[block])
        assert (stored[block].counted, stored[block].broken) == (4, 0)
    config = before.config
    start = replace(StepState.start(40, 8, 0), item_embeddings=np.array(before.table.item_embeddings))
    expected = item_step(
        start,
        round_sums(task.plan, sums, n_items=40, n_block=25, dim=8),
        SETTINGS.step,
        alpha=config.alpha,
        reg=config.reg,
        step=SETTINGS.step.step_at(0, SETTINGS.rounds),
    )
    after = line.coordinator.bundles()[0]
    np.testing.assert_array_equal(after.table.item_embeddings, expected.item_embeddings)
    np.testing.assert_array_equal(after.table.mean_profile, expected.mean_profile)
    assert (after.table.item_embeddings != before.table.item_embeddings).any()


def loud(task: Task, block: int, token: bytes) -> Report:
    """A report of random words: whoever sends it ignores every clip."""
    honest = make_report(task, block, a_vector(task, 0), token)
    words = np.random.default_rng(3).bytes(len(honest.service_share))
    return replace(honest, service_share=words)


def test_a_token_of_another_tenant_is_refused_in_the_shop_s_rounds(line: Line) -> None:
    task = line.open()
    for foreign in ("tea-house", "tea-house#k1", "shop2", "Shop", "shop."):
        with pytest.raises(TokenInvalid, match="of another app"):
            line.coordinator.accept(line.report(task, issuer=foreign).to_bytes(), NOW)
    assert line.coordinator.accept(line.report(task, issuer="shop#k1").to_bytes(), NOW) == "accepted"


def test_two_liars_with_a_key_of_their_own_spoil_no_round(line: Line) -> None:
    task, sums = line.open(), {}
    for block in range(2):
        reports, sums[block] = with_seed(task, block, 4, line)
        accept_all(line, reports)
        accept_all(line, [loud(task, block, line.token(task, "shop#stolen")) for _ in range(2)])
    line.settle()
    assert state_of(line) == "published"
    for block, stored in line.coordinator.store.sums(task.task_id).items():
        np.testing.assert_array_equal(stored.words, sums[block])
        assert stored.counted == 4


def test_min_reports_is_counted_on_what_is_left(line: Line) -> None:
    """Two keys with two reports each are four reports, and none that may be summed: the round does not close early."""
    task = line.open()
    accept_all(line, [line.report(task, 0, issuer="shop#a", seed=seed) for seed in range(12)])
    for key in ("shop#a", "shop#b"):
        accept_all(line, [line.report(task, 1, issuer=key, seed=seed) for seed in range(2)])
    assert not line.coordinator.advance(NOW)
    assert line.coordinator.advance(task.deadline + 1)
    line.settle(task.deadline + 1)
    stored = line.coordinator.store.sums(task.task_id)
    assert stored[0].counted == 12
    assert stored[1].words is None
    assert "answer 1" not in line.custodian.calls


def test_the_next_round_goes_on_with_the_state_of_the_last_one(line: Line) -> None:
    moments = [NOW, NOW + 100]
    for moment in moments:
        line.fill(line.open(moment), 4, moment)
        line.settle(moment)
    releases = line.coordinator.store.releases.all()
    assert [release.steps for release in releases] == [2, 1]
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert newest.record["step"] == pytest.approx(SETTINGS.step.step_at(1, SETTINGS.rounds))
    assert newest.base_version == releases[1].version


def test_training_ends_after_its_rounds(tmp_path: Path) -> None:
    line = a_line(tmp_path, rounds=1)
    line.fill(line.open(), 4)
    line.settle()
    assert not line.coordinator.advance(NOW + 10**6)
    assert state_of(line) == "published"
    stop(line)


def test_a_round_waits_for_its_goal_or_its_deadline(line: Line) -> None:
    task = line.open()
    line.fill(task, 3)
    assert not line.coordinator.advance(task.deadline)
    assert line.coordinator.advance(task.deadline + 1)
    assert state_of(line) == "closed"


def test_a_goal_does_not_close_a_round_with_a_block_below_min_reports(line: Line) -> None:
    task = line.open()
    accept_all(line, [line.report(task, 0, seed=seed) for seed in range(12)])
    accept_all(line, [line.report(task, 1, seed=seed) for seed in range(2)])
    assert not line.coordinator.advance(NOW)
    accept_all(line, [line.report(task, 1, seed=9)])
    assert line.coordinator.advance(NOW)


def test_a_block_below_min_reports_is_never_shown_to_the_custodian(line: Line) -> None:
    task = line.open()
    reports, exact = with_seed(task, 1, 3, line)
    accept_all(line, reports)
    accept_all(line, [line.report(task, 0) for _ in range(2)])
    before = line.coordinator.bundles()[0]
    line.settle(task.deadline + 1)
    assert line.custodian.calls == ["open", "answer 1", "close"]
    stored = line.coordinator.store.sums(task.task_id)
    assert stored[0].words is None
    np.testing.assert_array_equal(stored[1].words, exact)
    after = line.coordinator.bundles()[0]
    np.testing.assert_array_equal(after.table.item_embeddings[:25], before.table.item_embeddings[:25])
    assert (after.table.item_embeddings[25:] != before.table.item_embeddings[25:]).any(axis=1).all()


def test_a_round_below_min_reports_fails_and_its_reports_are_destroyed(line: Line) -> None:
    task = line.open()
    accept_all(line, [line.report(task, 0) for _ in range(2)])
    assert list((line.folder / "state" / "shares").rglob("*.shares"))
    line.settle(task.deadline + 1)
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert (newest.state, newest.failure) == ("failed", "no block has min_reports=3")
    assert line.custodian.calls == ["open", "close"]
    assert not list((line.folder / "state" / "shares").rglob("*.shares"))
    assert line.coordinator.store.spent_rounds() == 0
    assert line.open(task.deadline + 62).round == 1


def test_after_the_sum_only_ids_and_digests_remain(line: Line) -> None:
    task = line.open()
    made = line.fill(task, 4)
    line.settle()
    assert not list((line.folder / "state" / "shares").iterdir())
    files = [path for path in line.folder.rglob("*") if path.is_file()]
    assert line.folder / "rounds.sqlite" in files
    stored = {path: path.read_bytes() for path in files}
    for report in [report for block in made.values() for report in block]:
        assert any(report.report_id in content for content in stored.values())
        for secret in (report.service_share[:32], report.service_share[-32:], report.sealed_seed[:32]):
            assert not [path for path, content in stored.items() if secret in content]
    with sqlite3.connect(line.folder / "rounds.sqlite") as connection:
        columns = "sealed_seed, issuer, serial, segment, at"
        assert set(connection.execute(f"select {columns} from reports")) == {(None,) * 5}


def test_what_it_stores_before_the_sum_is_found_by_the_same_search(line: Line) -> None:
    task = line.open()
    report = line.report(task)
    accept_all(line, [report])
    contents = [path.read_bytes() for path in line.folder.rglob("*") if path.is_file()]
    for part in (report.service_share[:32], report.sealed_seed[:32]):
        assert any(part in content for content in contents)


def test_the_manifest_says_what_was_promised_and_how_the_round_went(tmp_path: Path) -> None:
    plan = replace(PLAN, noise_multiplier=20.0)
    line = a_line(tmp_path, plan=plan)
    line.fill(line.open(), 4)
    line.settle()
    manifest = line.coordinator.bundles()[0].manifest
    record = manifest["training"]["round"]
    assert record["privacy"]["epsilon"] == pytest.approx(plan.epsilon_after(1))
    assert record["privacy"]["amplification"] is None
    assert f"ε={plan.epsilon_after(1):.3g}" in manifest["privacy"]
    assert line.coordinator.epsilon() == pytest.approx(plan.epsilon_after(1))
    assert record["reports"] == 8
    assert record["train_ndcg"] is None  # the noise hides how many devices measured
    stop(line)


def test_privacy_off_is_written_on_the_bundle(line: Line) -> None:
    line.fill(line.open(), 4)
    line.settle()
    manifest = line.coordinator.bundles()[0].manifest
    assert manifest["privacy"].startswith("off:")
    assert manifest["training"]["round"]["privacy"]["epsilon"] is None
    assert manifest["training"]["round"]["train_ndcg"] == pytest.approx(0.5, abs=1e-3)
    assert manifest["training"]["round"]["holdout_ndcg"] is None


def test_a_sum_carries_the_noise_of_both_parties(tmp_path: Path) -> None:
    plan = replace(PLAN, noise_multiplier=3.0)
    line = a_line(tmp_path, plan=plan)
    task = line.open()
    errors = []
    for block in range(2):
        reports, exact = with_seed(task, block, 4, line)
        accept_all(line, reports)
        errors.append(exact)
    line.settle()
    stored = line.coordinator.store.sums(task.task_id)
    noise = np.concatenate([stored[block].words - errors[block] for block in range(2)])
    spread = float(np.sqrt(np.mean(noise.astype(np.float64) ** 2))) / task.plan.sigma
    assert spread == pytest.approx(np.sqrt(2.0), rel=5 / np.sqrt(2 * len(noise)))
    assert not 0.9 < spread < 1.2  # one party's alone
    stop(line)


def test_a_sum_that_no_honest_reports_can_have_moves_nothing(line: Line) -> None:
    task = line.open()
    reports, _ = with_seed(task, 1, 4, line)
    accept_all(line, [*reports, *(line.report(task, 0, seed=seed) for seed in range(3))])
    random_words = replace(line.report(task, 0), service_share=np.random.default_rng(0).bytes(4 * task.plan.length))
    accept_all(line, [random_words])
    before = line.coordinator.bundles()[0]
    line.settle()
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert (newest.record["blocks"], newest.record["discarded_blocks"]) == (1, 1)
    after = line.coordinator.bundles()[0]
    np.testing.assert_array_equal(after.table.item_embeddings[:25], before.table.item_embeddings[:25])
    assert (after.table.item_embeddings[25:] != before.table.item_embeddings[25:]).any()


def test_a_round_of_nothing_but_nonsense_fails(line: Line) -> None:
    task = line.open()
    for block in range(2):
        words = np.random.default_rng(block).bytes(4 * task.plan.length)
        accept_all(line, [replace(line.report(task, block), service_share=words) for _ in range(4)])
    before = line.coordinator.bundles()[0].version
    line.settle()
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert newest.failure == "none of 2 sums can be of honest reports"
    assert line.coordinator.bundles()[0].version == before


class Refusing:
    """A custodian that refuses."""

    def __init__(self, error: FederationError) -> None:
        self.error = error

    def open_round(self, draft: Task) -> Task:
        raise self.error

    def answer(self, batch: Batch) -> Answer:
        raise self.error

    def log_proof(self, task_id: str, since: int) -> bytes:
        raise self.error

    def log_clusters(self, version: str, content_hash: bytes) -> None:
        raise self.error

    def close(self, task_id: str) -> None:
        raise ForeignTask("task_id: was not signed here")


def test_a_spent_budget_ends_the_rounds(line: Line) -> None:
    line.coordinator.machine.custodian = Refusing(BudgetExhausted("rounds=9: must be at most max_rounds=8"))
    line.settle()
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert newest.state == "failed"
    assert "max_rounds=8" in str(newest.failure)
    assert not line.coordinator.advance(NOW + 10**6)


def test_a_round_whose_batch_is_refused_fails_without_a_sum(line: Line) -> None:
    task = line.open()
    line.fill(task, 4)
    refusing = Refusing(BatchRefused("block=0: was answered for another batch"))
    refusing.log_proof = line.custodian.log_proof  # type: ignore[method-assign]
    line.coordinator.machine.custodian = refusing
    line.settle()
    assert state_of(line) == "failed"
    assert line.coordinator.store.spent_rounds() == 1  # it has answered another batch, and so counted it


def test_a_custodian_that_lost_the_round_fails_it(line: Line) -> None:
    line.fill(line.open(), 4)
    line.coordinator.machine.custodian = Refusing(ForeignTask("task_hash: was not signed here"))
    line.settle()
    assert state_of(line) == "failed"


def test_a_task_under_another_key_is_not_opened(line: Line) -> None:
    line.coordinator.machine.custodian_key = bytes(32)
    line.settle()
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert (newest.state, newest.failure) == ("failed", "the task is not signed with the custodian's key")
    assert line.coordinator.task() is None


def test_an_unreachable_custodian_is_asked_again_with_the_same_draft(line: Line) -> None:
    there = line.coordinator.machine.custodian
    line.coordinator.machine.custodian = Refusing(FederationError("custodian: cannot be asked"))
    assert line.coordinator.advance(NOW)
    drafted = line.coordinator.store.newest()
    for moment in range(NOW, NOW + 3):
        assert not line.coordinator.advance(moment)
    line.coordinator.machine.custodian = there
    assert not line.coordinator.advance(NOW + 2)  # it failed at NOW and NOW + 1, and waits until NOW + 3
    task = line.open(NOW + 3)
    assert drafted is not None
    assert (task.task_id, task.draft_bytes()) == (drafted.task_id, drafted.task.draft_bytes())


def test_a_custodian_that_cannot_close_yet_stops_nothing(line: Line) -> None:
    there = line.coordinator.machine.custodian
    line.fill(line.open(), 4)
    while state_of(line) != "summed":
        line.coordinator.advance(NOW)

    class Gone(Refusing):
        def close(self, task_id: str) -> None:
            raise FederationError("custodian: cannot be asked")

    line.coordinator.machine.custodian = Gone(FederationError("custodian: cannot be asked"))
    line.settle()
    assert state_of(line) == "published"
    assert [one.cleaned for one in line.coordinator.store.rounds(1)] == [False]
    line.coordinator.machine.custodian = there
    line.coordinator.advance(NOW + 1)
    assert [one.cleaned for one in line.coordinator.store.rounds(1)] == [True]
    assert line.custodian.calls[-1] == "close"


def test_old_bundles_are_kept_for_a_while_and_then_deleted(line: Line) -> None:
    versions = [line.coordinator.bundles()[0].version]
    for number in range(3):
        moment = NOW + 1_000 * number
        line.fill(line.open(moment), 4, moment)
        line.settle(moment)
        versions.append(line.coordinator.bundles()[0].version)
    assert [bundle.version for bundle in line.coordinator.bundles()] == versions[:1:-1]
    for place in ("bundles", "steps"):
        assert len(list((line.folder / "state" / place).iterdir())) == 2
    assert Bundle.load(line.folder / "first").version == versions[0]  # not ours to delete


def test_the_previous_bundle_can_be_activated_again_and_trained_on(line: Line) -> None:
    first = line.coordinator.bundles()[0].version
    line.fill(line.open(), 4)
    line.settle()
    bad = line.coordinator.bundles()[0].version
    task = line.open(NOW + 100)
    report = line.report(task)
    line.coordinator.accept(report.to_bytes(), NOW + 100)
    line.coordinator.activate("previous", NOW + 101)
    assert [bundle.version for bundle in line.coordinator.bundles()] == [first, bad]
    newest = line.coordinator.store.newest()
    assert newest is not None
    assert (newest.state, newest.failure) == ("failed", "another bundle was activated")
    with pytest.raises(LateReport):
        line.coordinator.accept(line.report(task).to_bytes(), NOW + 101)
    assert line.open(NOW + 200).bundle_version == first
    line.coordinator.activate(bad, NOW + 300)
    assert line.coordinator.bundles()[0].version == bad
    with pytest.raises(ServingError, match="version=other: must be one of"):
        line.coordinator.activate("other", NOW)


@pytest.mark.parametrize("keep", [2, 3])
def test_previous_never_leads_to_a_bundle_that_was_rolled_back(tmp_path: Path, keep: int) -> None:
    line = a_line(tmp_path, keep_bundles=keep)
    first = line.coordinator.bundles()[0].version
    line.fill(line.open(), 4)
    line.settle()
    line.coordinator.activate("previous", NOW + 1)
    line.fill(line.open(NOW + 100), 4, NOW + 100)
    line.settle(NOW + 100)
    assert [release.steps for release in line.coordinator.store.releases.all()][:2] == [1, 1]
    if keep == 3:
        assert line.coordinator.activate("previous", NOW + 101) == first
    with pytest.raises(NoEarlierVersion):
        line.coordinator.activate("previous", NOW + 102)
    stop(line)


def test_the_line_goes_on_in_its_folder_and_refuses_another_shop(tmp_path: Path) -> None:
    line = a_line(tmp_path)
    line.fill(line.open(), 4)
    line.settle()
    active = line.coordinator.bundles()[0].version
    stop(line)
    line = a_line(tmp_path)
    assert line.coordinator.bundles()[0].version == active
    manifest = json.loads((tmp_path / "first" / "manifest.json").read_text())
    bundle = Bundle.load(tmp_path / "first")
    save_bundle(
        tmp_path / "other",
        name="another shop",
        table=bundle.table,
        catalogue=bundle.catalogue,
        config=bundle.config,
        seed=manifest["seed"],
        data_hash="x",
        privacy="none",
    )
    with pytest.raises(FederationError, match="bundle another shop: the store's rounds are of shop"):
        line.coordinator.begin(tmp_path / "other", NOW)
    stop(line)


def test_devices_are_told_to_come_back_when_there_is_something_to_do(line: Line) -> None:
    task = line.open()
    waits = {line.coordinator.come_back_s(NOW) for _ in range(200)}
    assert task.come_back_at - NOW < min(waits)
    assert max(waits) <= task.come_back_at - NOW + SETTINGS.pause_s
    assert len(waits) > 20  # spread: they do not all come in the same second
    line.fill(task, 4)
    line.settle()
    waits = {line.coordinator.come_back_s(NOW + 10) for _ in range(200)}
    assert SETTINGS.pause_s - 10 < min(waits) <= max(waits) <= 2 * SETTINGS.pause_s


class Killed(BaseException):
    """The process ends here; no round is tried again by it."""


POINTS = (
    "round drafted",
    "round signed",
    "round opened",
    "shares written",
    "shares synced",
    "reports committed",
    "round closed",
    "block answered",
    "block summed",
    "round summed",
    "shares destroyed",
    "key destroyed",
    "step written",
    "round stepped",
    "bundle written",
    "round published",
    "old forgotten",
)


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_a_round_ends_the_same_wherever_it_is_cut(
    tmp_path: Path, point: str, occurrence: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes are killed in test_service_killed.py; here every point is met exactly, twice over."""
    seen: list[str] = []

    def react(here: str) -> None:
        seen.append(here)
        if here == point and seen.count(point) == occurrence:
            raise Killed(point) if threading.current_thread() is threading.main_thread() else RuntimeError(point)

    line = a_line(tmp_path)
    monkeypatch.setattr(write_points, "react", react)
    made: dict[int, tuple[list[Report], np.ndarray]] = {}
    moment, killed = NOW, 0
    for _ in range(200):
        try:
            line.settle(moment)
            task = line.coordinator.task()
            if task is not None and task.round == 0:
                made = made or {block: with_seed(task, block, 4, line) for block in range(2)}
                for reports, _ in made.values():
                    for report in reports:
                        line.coordinator.accept(report.to_bytes(), moment)
            if line.coordinator.bundles()[0].version != line.coordinator.store.releases.all()[-1].version:
                break
        except (Killed, RuntimeError):
            killed += 1
            monkeypatch.setattr(write_points, "react", lambda _: None)
            stop(line)
            line = a_line(tmp_path)
    if occurrence == 1:
        assert killed == 1, seen
    assert killed <= 1
    newest = next(one for one in line.coordinator.store.rounds(5) if one.number == 0)
    assert newest.state == "published"
    assert newest.counted == 8
    stored = line.coordinator.store.sums(newest.task_id)
    for block, (_, exact) in made.items():
        np.testing.assert_array_equal(stored[block].words, exact)
    line.coordinator.advance(moment)
    assert not list((tmp_path / "state" / "shares").iterdir())
    assert len(line.coordinator.store.releases.all()) == 2
    stop(line)


def test_rounds_live_on_postgresql_too(tmp_path: Path, postgres_url: str) -> None:
    line = a_line(tmp_path, url=postgres_url)
    sums = {}
    task = line.open()
    for block in range(2):
        reports, sums[block] = with_seed(task, block, 4, line)
        accept_all(line, reports)
        for report in reports:
            assert line.coordinator.accept(report.to_bytes(), NOW) == "duplicate"
    line.settle()
    assert state_of(line) == "published"
    stored = line.coordinator.store.sums(task.task_id)
    for block in range(2):
        np.testing.assert_array_equal(stored[block].words, sums[block])
    line.coordinator.activate("previous", NOW)
    assert line.coordinator.bundles()[0].version == Bundle.load(tmp_path / "first").version
    stop(line)


def test_an_unknown_kind_of_store_is_refused() -> None:
    for url in ("mysql://localhost/x", "nonsense"):
        with pytest.raises(FederationError, match="store"):
            CoordinatorStore.open(url)


def test_settings_are_bounded() -> None:
    for name, value in asdict(SETTINGS).items():
        if isinstance(value, int) and name not in ("pause_s", "rounds", "mix"):
            with pytest.raises(FederationError, match=f"{name}=0: must be"):
                replace(SETTINGS, **{name: 0})


def test_a_closed_round_that_cannot_be_summed_is_given_up_in_the_end(line: Line) -> None:
    task = line.open()
    line.fill(task, 4)
    line.coordinator.store.close(task.task_id)
    line.coordinator.refresh()
    line.coordinator.machine.custodian = Refusing(FederationError("custodian: status 413"))
    assert not line.coordinator.advance(task.deadline)
    assert state_of(line) == "closed"
    line.coordinator.advance(task.deadline + SUM_WITHIN_S + 1)
    assert state_of(line) == "failed"


def test_a_task_says_when_the_next_round_may_be_there_by_how_long_the_last_one_took(line: Line) -> None:
    first = line.open()
    assert first.come_back_at == NOW + SETTINGS.pause_s
    line.fill(first, 4)
    line.settle(NOW + 100)
    second = line.open(NOW + 100 + SETTINGS.pause_s)
    assert second.come_back_at == NOW + 100 + SETTINGS.pause_s + 100 + SETTINGS.pause_s


def test_two_processes_may_begin_the_same_line(tmp_path: Path) -> None:
    line = a_line(tmp_path)
    store = CoordinatorStore.open(sqlite_url(tmp_path / "rounds.sqlite"))
    active = store.releases.active()
    assert active is not None
    with pytest.raises(IntegrityError):
        store.releases.first(active.version, active.folder, NOW)
    line.coordinator.begin(Path(active.folder), NOW)
    stop(line)
