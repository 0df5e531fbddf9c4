"""A bundle with a current intent in devices' hands and in live rounds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import ModelError
from federation.device.asking.ask_coarse import profile_from_rows
from federation.device.contribution import OwnHistory, training_vectors
from federation.device.device import Device
from federation.device.noise_ledger import NoisePolicy
from federation.learning.item_step import StepState, item_step
from federation.learning.training_sum import round_sums, training_plan
from federation.private_sum.fixed_point import decode
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.refusals import TaskRefused
from federation.simulation.intent_sums import sum_intent_updates
from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import (
    catalogue_of,
    decode_catalogue,
    encode_catalogue,
    intent_config,
)
from recsys.catalogue.changes import CatalogueChange
from recsys.catalogue.tensor_files import read_tensors, tensor_file
from recsys.model.intent_config import IntentConfig
from recsys.model.items import INTENT, TASTE
from recsys.model.profile import make_profile
from recsys.model.scoring import score
from tests.federation.learning.test_taste_update import CONFIG, NOW, random_log
from tests.federation.service.a_lineage import NOW as LIVE_NOW
from tests.federation.service.a_lineage import SETTINGS, a_line, stop
from tests.federation.service.live_round import CLIPS, training_task
from tests.modes_service import modes_service
from tests.shop import make_bundle

PROFILE = replace(CONFIG, intent_pools=(0.9, 0.0), intent_share=0.6)
PARTS = ((TASTE, 6), (INTENT, 12))
LOG = random_log(5, n_users=12)
N_ITEMS, N_BLOCK = 25, 9


def a_bundle(folder: Path, n_items: int = N_ITEMS) -> Bundle:
    return make_bundle(folder, n_items=n_items, dim=18, config=PROFILE, parts=PARTS)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return a_bundle(tmp_path_factory.mktemp("b") / "b")


def own_of(device: int) -> OwnHistory:
    rows = LOG.of(device)
    return OwnHistory(LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows], NOW)


@pytest.mark.parametrize(("device", "block"), [(0, 0), (3, 1), (6, 2), (9, 0)])
def test_a_live_device_says_of_its_intent_what_the_simulation_makes_of_its_history(
    bundle: Bundle, device: int, block: int
) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1, n_block=N_BLOCK)
    assert [part.name for part in task.plan.parts] == [
        "intent_rows", "counts", "second", "first", "one", "metrics",
    ]  # fmt: skip
    vectors = training_vectors(own_of(device), catalogue_of(bundle), task, block)
    found = decode(task.plan, sum_in_process(task.plan, [vectors], np.random.default_rng(0)))
    expected = sum_intent_updates(
        bundle.table.rows_of(TASTE),
        bundle.table.rows_of(INTENT),
        LOG,
        np.array([device]),
        PROFILE,
        IntentConfig(),
        CLIPS,
        blocks=3,
        device_block=np.array([block], dtype=np.int32),
    )
    items = slice(block * N_BLOCK, min((block + 1) * N_BLOCK, N_ITEMS))
    length = items.stop - items.start
    steps = {part.name: 1.5 / part.scale + 2e-6 for part in task.plan.parts}
    rows = found["intent_rows"].reshape(N_BLOCK, 12)[:length]
    np.testing.assert_allclose(rows, expected.rows[items], atol=steps["intent_rows"])
    np.testing.assert_allclose(found["counts"][:length], expected.counts[items], atol=steps["counts"])
    np.testing.assert_allclose(found["second"], expected.second, atol=steps["second"])
    np.testing.assert_allclose(found["first"], expected.first, atol=steps["first"])
    assert found["metrics"][0] == pytest.approx(1.0, abs=1e-3)


def test_a_task_of_the_other_part_is_refused(bundle: Bundle) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1, n_block=N_BLOCK)
    wrong = training_plan(N_BLOCK, 6, CLIPS, min_reports=1, max_reports=1000, trained=TASTE)
    with pytest.raises(TaskRefused, match="intent_rows"):
        training_vectors(own_of(0), catalogue_of(bundle), replace(task, plan=wrong), 0)


def test_a_live_round_moves_the_intent_by_its_item_step_and_leaves_the_taste(tmp_path: Path) -> None:
    before = a_bundle(tmp_path / "first", 40)
    line = a_line(tmp_path)
    task = line.open()
    line.fill(task, 4)
    line.settle()
    after = line.coordinator.bundles()[0]
    sums = {block: one.words for block, one in line.coordinator.store.sums(task.task_id).items()}
    assert all(words is not None for words in sums.values())
    expected = item_step(
        replace(StepState.start(40, 12, 0), item_embeddings=np.array(before.table.rows_of(INTENT))),
        round_sums(task.plan, sums, n_items=40, n_block=25, dim=12),  # type: ignore[arg-type]
        SETTINGS.step,
        alpha=IntentConfig().alpha,
        reg=IntentConfig().reg,
        step=SETTINGS.step.step_at(0, SETTINGS.rounds),
    )
    assert after.table.parts == PARTS
    np.testing.assert_array_equal(after.table.rows_of(INTENT), expected.item_embeddings)
    np.testing.assert_array_equal(after.table.rows_of(TASTE), before.table.rows_of(TASTE))
    assert (after.table.rows_of(INTENT) != before.table.rows_of(INTENT)).any()
    line.fill(line.open(LIVE_NOW + 100), 4, LIVE_NOW + 100)
    line.settle(LIVE_NOW + 100)
    assert [release.steps for release in line.coordinator.store.releases.all()] == [2, 1]
    stop(line)


def test_a_catalogue_says_how_the_intent_is_learned_and_scores_as_the_bundle(bundle: Bundle) -> None:
    catalogue = decode_catalogue(encode_catalogue(bundle))
    assert catalogue.intent == IntentConfig() == intent_config(bundle)
    columns = own_of(2)
    found, exact = (
        score(
            table,
            make_profile(table, columns.item_idx, columns.kind, columns.time, NOW, PROFILE, "b").vector[None],
            0.1,
        )
        for table in (catalogue.table, bundle.table)
    )
    assert np.corrcoef(found[0], exact[0])[0, 1] > 0.999


def test_a_catalogue_carries_the_gram_matrix_of_the_taste_and_no_other(bundle: Bundle) -> None:
    """6 of 18 columns are taste. A file with all of it is of an earlier shape, and is fetched anew."""
    tensors, metadata = read_tensors(encode_catalogue(bundle))
    assert tensors["gram"].shape == (6, 6)
    np.testing.assert_array_equal(tensors["gram"], bundle.table.gram)
    whole = tensor_file(tensors | {"gram": bundle.clusters.gram}, metadata)
    with pytest.raises(ModelError, match=r"gram: shape \(18, 18\), must be \(6, 6\) and finite; fetch the file anew"):
        decode_catalogue(whole)


def test_an_item_that_is_new_adds_its_taste_to_the_gram_matrix(bundle: Bundle) -> None:
    catalogue, row = decode_catalogue(encode_catalogue(bundle)), np.arange(18, dtype=np.float32)
    now = catalogue.with_changes([CatalogueChange("new", {"title": "N", "available": True}, row)])
    np.testing.assert_allclose(now.table.gram - catalogue.table.gram, np.outer(row[:6], row[:6]), atol=1e-3)


def test_a_catalogue_of_taste_alone_is_the_file_that_it_always_was(tmp_path: Path) -> None:
    _, metadata = read_tensors(encode_catalogue(make_bundle(tmp_path / "b")))
    assert "intent" not in metadata
    assert set(json.loads(metadata["config"])) >= {"alpha", "reg"}
    assert decode_catalogue(encode_catalogue(make_bundle(tmp_path / "b"))).intent is None


def test_every_mode_of_asking_lists_what_the_device_lists_itself(tmp_path: Path) -> None:
    bundle = a_bundle(tmp_path / "b", 60)
    client = modes_service(bundle)
    whole = Device.create(tmp_path / "whole", consent="observe", key_store="file", bundle=bundle)
    light = Device.create(tmp_path / "light", consent="observe", key_store="file")
    light.refresh_clusters(client)
    for hour, item in enumerate((3, 8, 8, 21)):
        row, when = np.array(bundle.table.item_embeddings[item]), NOW - (9 - hour) * 3_600_000_000
        whole.observe(f"sku-{item}", "view", when)
        light.observe(f"sku-{item}", "view", when, row=row)
    profile, own = whole.profile(NOW), profile_from_rows(light.state, bundle.clusters, NOW)
    assert profile is not None
    assert own is not None
    assert profile.vector[bundle.table.part(INTENT)].any()
    np.testing.assert_allclose(own.vector, profile.vector, atol=1e-6)
    here = [item.score for item in whole.recommend(10, now=NOW).items]
    noise = NoisePolicy(epsilon=8.0, period_days=30.0, max_epsilon=16.0)
    for mode in ("cluster", "noised"):
        for device in (whole, light):
            asked = device.recommend_from(client, 10, mode=mode, candidates=2000, noise=noise, now=NOW)
            np.testing.assert_allclose([item.score for item in asked.items], here, atol=0.05)
    asked = whole.recommend_from(client, 10, mode="profile", now=NOW)
    np.testing.assert_allclose([item.score for item in asked.items], here, atol=0.01)
    reasons = whole.recommend(10, now=NOW, reasons=True).items
    assert {item.reason.item_id for item in reasons if item.reason is not None} & {"sku-3", "sku-8", "sku-21"}
