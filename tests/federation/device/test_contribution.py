from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from federation.device.contribution import OwnHistory, training_vectors
from federation.learning.taste_update import METRICS
from federation.private_sum.fixed_point import decode
from federation.private_sum.in_process import sum_in_process
from federation.simulation.taste_sums import sum_updates
from recsys.catalogue.catalogue import catalogue_of, decode_catalogue, encode_catalogue
from recsys.evaluation.holdout import basket_ndcg, hold_out_last
from recsys.model.histories import merge_histories
from recsys.model.scoring import score
from recsys.model.solver import Solver
from tests.federation.learning.test_taste_update import CONFIG, NOW, random_log
from tests.federation.service.live_round import CLIPS, training_task
from tests.shop import make_bundle

N_ITEMS, DIM, N_BLOCK = 25, 6, 9
LOG = random_log(5, n_users=12)
BLOCKS = [(device, block) for device in range(0, 12, 3) for block in range(3)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory):
    return make_bundle(tmp_path_factory.mktemp("b") / "b", n_items=N_ITEMS, dim=DIM, config=CONFIG)


def own_of(device: int) -> OwnHistory:
    rows = LOG.of(device)
    return OwnHistory(LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows], NOW)


@pytest.mark.parametrize(("device", "block"), BLOCKS)
def test_a_live_device_says_what_the_simulation_makes_of_its_history(bundle, device: int, block: int) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1, n_block=N_BLOCK)
    vectors = training_vectors(own_of(device), catalogue_of(bundle), task, block)
    found = decode(task.plan, sum_in_process(task.plan, [vectors], np.random.default_rng(0)))

    V = bundle.table.item_embeddings.astype(np.float64)
    solver = Solver(torch.from_numpy(V), alpha=CONFIG.alpha, reg=CONFIG.reg)
    histories, blocks = merge_histories(LOG, CONFIG, NOW), np.array([block], dtype=np.int32)
    expected = sum_updates(solver, histories, np.array([device]), CLIPS, blocks=3, device_block=blocks)
    items = slice(block * N_BLOCK, min((block + 1) * N_BLOCK, N_ITEMS))
    length = items.stop - items.start
    steps = {part.name: 1.5 / part.scale for part in task.plan.parts}
    np.testing.assert_allclose(
        found["rows"].reshape(N_BLOCK, DIM)[:length], expected.rows[items], atol=steps["rows"] + 2e-6
    )
    np.testing.assert_allclose(found["counts"][:length], expected.counts[items], atol=steps["counts"] + 2e-6)
    np.testing.assert_allclose(found["second"], expected.second, atol=steps["second"] + 2e-6)
    np.testing.assert_allclose(found["first"], expected.first, atol=steps["first"] + 2e-6)
    assert found["one"][0] == pytest.approx(expected.one, abs=steps["one"])
    assert not found["rows"].reshape(N_BLOCK, DIM)[length:].any()


@pytest.mark.parametrize("measures_only", [False, True])
def test_a_device_measures_its_last_basket_as_the_simulation_does(bundle, measures_only: bool) -> None:
    task, _ = training_task(bundle, noise=0.0, min_reports=1, n_block=N_BLOCK)
    held = hold_out_last(LOG)
    solver = Solver(torch.from_numpy(bundle.table.item_embeddings.copy()), alpha=CONFIG.alpha, reg=CONFIG.reg)
    profiles = solver.profiles(merge_histories(held.before, CONFIG, held.moments), np.arange(12))
    figures = basket_ndcg(score(bundle.table, profiles, 0.0), held.basket)
    assert np.isfinite(figures).any()
    for device, figure in enumerate(figures):
        vectors = training_vectors(own_of(device), catalogue_of(bundle), task, 0, measures_only=measures_only)
        named = dict(zip(METRICS, vectors["metrics"].tolist(), strict=True))
        own, other = ("holdout", "train") if measures_only else ("train", "holdout")
        assert named[f"{other}_devices"] == named[f"{other}_ndcg"] == 0.0
        assert named[f"{own}_devices"] == float(np.isfinite(figure))
        assert named[f"{own}_ndcg"] == pytest.approx(np.nan_to_num(figure), abs=1e-6)


def test_the_byte_a_coordinate_that_devices_download_costs_under_two_per_cent(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", n_items=200, dim=32, config=CONFIG)
    task, _ = training_task(bundle, n_block=200)
    exact, small = catalogue_of(bundle), decode_catalogue(encode_catalogue(bundle))
    rng = np.random.default_rng(0)
    for _ in range(20):
        n = int(rng.integers(1, 40))
        own = OwnHistory(rng.integers(0, 200, n, dtype=np.int32), np.full(n, 2, np.uint8), np.full(n, NOW), NOW)
        there, here = (training_vectors(own, catalogue, task, 0) for catalogue in (exact, small))
        for part in ("rows", "second", "first"):
            error = np.linalg.norm(there[part] - here[part]) / np.linalg.norm(there[part])
            assert 0 < error < 0.02
        np.testing.assert_array_equal(there["counts"], here["counts"])
