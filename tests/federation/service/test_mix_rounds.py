"""Rounds of the mix in a coordinator: after the table's, one sum each, and at their end nothing more is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from federation.device.report import make_report
from federation.learning.mix_step import next_sum
from federation.learning.mix_sum import STEPS, mix_sum_of
from federation.learning.privacy_plan import PrivacyPlan
from federation.protocol.messages import Task
from federation.simulation.mix_training import cautious_mix
from recsys.catalogue.bundle import Bundle
from recsys.mix.mix_tables import build_tables
from recsys.mix.priors import LISTS, MIN_DEVICES, prior_weights
from tests.end_to_end.live_mix import mix_bundle
from tests.federation.service.a_lineage import CLIPS, NOW, Line, a_line, stop
from tests.recsys.mix.worlds import CONFIG, item_table, shop_log
from tests.recsys.mix.worlds import NOW as AS_OF

N_ITEMS, REPORTS = 30, 4
PLAN = PrivacyPlan.off(CLIPS, max_participations=5, min_reports=3, max_reports=2_000)


def a_mix_line(folder: Path, **changes: object) -> Line:
    ids = [f"sku-{item}" for item in range(N_ITEMS)]
    if not (folder / "first").exists():
        mix = cautious_mix(build_tables(shop_log(1, n_items=N_ITEMS), AS_OF), "purchases")
        catalogue = pl.DataFrame({"item_id": ids})
        mix_bundle(folder / "first", ids, item_table(1, N_ITEMS), CONFIG, mix, catalogue)
    options = {"rounds": 0, "goal_reports": REPORTS, "block_items": N_ITEMS, "keep_bundles": 10} | changes
    return a_line(folder, plan=PLAN, **options)


def answer(line: Line, task: Task, devices: int, now: int) -> None:
    """One report of each of so many devices, and every transition that is due then."""
    rng = np.random.default_rng(0)
    for _ in range(devices):
        vectors = {part.name: rng.normal(0, 0.01, part.length) for part in task.plan.parts} | {"one": np.ones(1)}
        report = make_report(task, 0, vectors, line.token(task))
        assert line.coordinator.accept(report.to_bytes(), now) == "accepted"
    line.settle(now)


def mix_of(line: Line) -> Bundle:
    return line.coordinator.bundles()[0]


def kinds_of(line: Line) -> list[str | None]:
    rounds = line.coordinator.store.rounds(20)
    return [mix_sum_of([part.name for part in one.task.plan.parts]) for one in reversed(rounds)]


def test_too_few_devices_leave_what_is_served_and_end_the_rounds(tmp_path: Path) -> None:
    line = a_mix_line(tmp_path)
    before = mix_of(line).mix
    answer(line, line.open(), REPORTS, NOW)
    after = mix_of(line).mix
    assert before is not None
    assert after is not None
    assert after.served == before.served
    assert next_sum(after) is None
    assert not line.coordinator.advance(NOW + 1_000)  # no device is asked again for what cannot be learned
    assert kinds_of(line) == ["first_step"]
    assert line.coordinator.store.spent_rounds() == 1
    stop(line)


def test_six_rounds_and_a_restart_between_any_two(tmp_path: Path) -> None:
    now = NOW
    for step in range(STEPS + 1):
        line = a_mix_line(tmp_path, goal_reports=MIN_DEVICES)
        answer(line, line.open(now), MIN_DEVICES, now)
        mix = mix_of(line).mix
        assert mix is not None
        assert mix.fit is not None
        assert mix.fit.step == step + 1
        now += 100
        stop(line)
    line = a_mix_line(tmp_path, goal_reports=MIN_DEVICES)
    assert not line.coordinator.advance(now)
    assert kinds_of(line) == ["first_step", "step", "step", "step", "step", "guard"]
    assert line.coordinator.store.spent_rounds() == 1
    assert [one.record["mix"]["sum"] for one in line.coordinator.store.rounds(1)] == ["guard"]
    learned = mix_of(line).mix
    assert learned is not None
    assert learned.devices == 2 * MIN_DEVICES
    assert all(np.isfinite(learned.weights[name]).all() for name in LISTS)
    stop(line)


def test_the_table_is_trained_first_and_goes_on_from_where_it_was(tmp_path: Path) -> None:
    """A line of two item steps: the mix comes third, and keeps the state that a further step would go on from."""
    line = a_mix_line(tmp_path, rounds=2, block_items=15)
    for round_ in range(2):
        task = line.open(NOW + 100 * round_)
        assert mix_sum_of([part.name for part in task.plan.parts]) is None
        line.fill(task, REPORTS, NOW + 100 * round_)
        line.settle(NOW + 100 * round_)
    trained = line.coordinator.store.releases.active()
    assert trained is not None
    task = line.open(NOW + 200)
    assert task.task_id.startswith("mix-2-")
    answer(line, task, REPORTS, NOW + 200)
    active = line.coordinator.store.releases.active()
    assert active is not None
    assert active.steps == trained.steps == 2
    lineage = line.coordinator._line
    np.testing.assert_array_equal(lineage.state(active).item_embeddings, lineage.state(trained).item_embeddings)
    stop(line)


@pytest.mark.parametrize("off", ["switched off", "no prior"])
def test_no_round_of_a_mix_that_nobody_wants_or_that_cannot_be_learned(tmp_path: Path, off: str) -> None:
    ids = [f"sku-{item}" for item in range(N_ITEMS)]
    mix = cautious_mix(build_tables(shop_log(1, n_items=N_ITEMS), AS_OF), "purchases")
    mix = replace(mix, prior=None) if off == "no prior" else mix
    mix_bundle(tmp_path / "first", ids, item_table(1, N_ITEMS), CONFIG, mix, pl.DataFrame({"item_id": ids}))
    line = a_mix_line(tmp_path, mix=off != "switched off")
    assert not line.coordinator.advance(NOW)
    assert line.coordinator.task() is None
    stop(line)


def test_rounds_that_the_same_device_adds_to_count_once_for_every_five(tmp_path: Path) -> None:
    """Three guards and one step: a judging device spent three fifths, a fitting one a fifth, so one participation."""
    line = a_mix_line(tmp_path)
    store = line.coordinator.store
    task = line.open()
    asked = []
    for n, kind in enumerate(("guard", "guard", "guard", "step", "guard", "guard", "guard")):
        draft = replace(task, task_id=f"mix-{n + 1}", round=n + 1, plan=PLAN.mix_plan(kind, 19), signature=b"")
        store.draft(draft, NOW)
        store.opened(replace(task, task_id=draft.task_id, round=draft.round, plan=draft.plan))
        store.close(draft.task_id)
        store.asked(draft.task_id)
        asked.append(store.spent_rounds())
    assert asked == [1, 1, 1, 1, 1, 1, 2]
    assert prior_weights("purchases", "all").shape == (19,)
    stop(line)
