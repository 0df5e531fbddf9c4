"""A device's list by the mix is the evaluation's list for the same history, and its reasons add up to its scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from data.errors import ServingError
from data.interactions import EventKind
from federation.device.device import Device
from federation.device.experiments.interleaving import arm_list
from federation.device.lists import join
from federation.device.mixed_list import mixed_list
from recsys.catalogue.bundle import Bundle, save_bundle
from recsys.catalogue.catalogue import Catalogue, catalogue_of, decode_catalogue, encode_catalogue
from recsys.evaluation.arm_names import DEVICE_ARMS
from recsys.evaluation.arms import arm
from recsys.experiments.definition.arm import ArmSettings
from recsys.experiments.device.settings_arm import settings_arm
from recsys.experiments.rehearsal.arm_lists import ArmLists
from recsys.mix.features import SIGNALS
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.mixed_arm import Mixed
from recsys.mix.model import MixModel
from recsys.mix.priors import LISTS, prior_weights
from recsys.search.ranking import rank
from tests.recsys.mix.worlds import CONFIG, NOW, item_table, shop_log

N_ITEMS = 130
LOG = shop_log(21, n_items=N_ITEMS)
CATALOGUE = pl.DataFrame(
    {
        "item_id": [f"sku-{item}" for item in range(N_ITEMS)],
        "title": [f"Thing {item}" for item in range(N_ITEMS)],
        "category": [None if item % 9 == 0 else f"c{item % 6}" for item in range(N_ITEMS)],
        "price": [float(1 + item % 13) for item in range(N_ITEMS)],
        "available": [True] * N_ITEMS,
    }
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    weights = {name: prior_weights("purchases", name) + 0.1 * prior_weights("sessions", name) for name in LISTS}
    tables = build_tables(LOG, NOW, attributes_of(CATALOGUE))
    return save_bundle(
        tmp_path_factory.mktemp("mixed") / "bundle",
        name="shop",
        table=item_table(1, N_ITEMS),
        catalogue=CATALOGUE,
        config=CONFIG,
        seed=0,
        data_hash="x",
        privacy="none: random numbers",
        mix=MixModel(weights, {"all": "mix", "new": "mix"}, 200, tables),
    )


def arm_of(bundle: Bundle | Catalogue, name: str = "personalized") -> Mixed:
    made = arm(name, bundle.table, bundle.config, mix=bundle.mix)
    assert isinstance(made, Mixed)
    return made


def device_of(folder, bundle: Bundle, user: int) -> Device:
    device = Device.create(folder, consent="observe", key_store="file", bundle=bundle)
    rows = LOG.of(user)
    for item, kind, time in zip(LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows], strict=True):
        device.observe(f"sku-{item}", EventKind(kind), int(time))
    return device


@pytest.mark.parametrize("user", [0, 4, 7])
def test_the_list_of_a_device_is_the_list_of_the_evaluation(tmp_path, bundle, user):
    device, users = device_of(tmp_path / "d", bundle, user), np.array([user])
    lists = arm_of(bundle).scores_by_list(LOG, users, NOW)
    expected = [f"sku-{item}" for item in rank(lists["all"], 20)[0]]
    assert device.recommend(20, now=NOW).item_ids == expected
    fresh = lists["new"].copy()
    fresh[0, LOG.item_idx[LOG.of(user)]] = -np.inf
    assert device.recommend(20, unseen=True, now=NOW).item_ids == [f"sku-{item}" for item in rank(fresh, 20)[0]]
    alone = arm_of(bundle, "personalized_no_repeat").scores(LOG, users, NOW)
    assert device.recommend(20, repeat=False, now=NOW).item_ids == [f"sku-{item}" for item in rank(alone, 20)[0]]


@pytest.mark.parametrize("name", DEVICE_ARMS)
@pytest.mark.parametrize("mixed", [True, False])
def test_a_devices_list_by_an_arm_is_that_arms_list_in_an_evaluation(tmp_path, bundle, name, mixed):
    shop = bundle if mixed else replace(bundle, mix=None)
    device = device_of(tmp_path / "d", shop, 4)
    scores = arm(name, shop.table, shop.config, mix=shop.mix).scores(LOG, np.array([4]), NOW)
    listed = device.recommend(20, arm=name, reasons=True, now=NOW)
    assert listed.item_ids == [f"sku-{item}" for item in rank(scores, 20)[0]]
    assert listed.fallback == ("trend" if name == "global" else None)
    if name == "global":
        assert {item.reason.kind for item in listed.items} == {"trend"}


@pytest.mark.parametrize(
    ("settings", "by_mix"),
    [
        ({}, True),
        ({"model": "personalized_no_repeat"}, True),
        ({"diversity": 0.4}, True),
        ({"trend_weight": 3.0}, False),
        ({"repeat_weight": 0.0}, False),
        ({"model": "global"}, False),
        ({"model": "global_profile", "trend_weight": 0.0}, False),
    ],
)
def test_a_rehearsal_lists_what_a_device_lists_by_the_same_settings(tmp_path, bundle, settings, by_mix):
    of = ArmSettings(**settings)
    made = settings_arm(of, bundle.table, bundle.config, bundle.mix)
    assert isinstance(made, Mixed) is by_mix
    lists = ArmLists(made, bundle.table.item_embeddings, of.diversity or 0.0, 20)
    rehearsed = lists.at(LOG, np.array([4]), np.array([LOG.of(4).stop]), np.array([NOW]))[0]
    on_device = arm_list(device_of(tmp_path / "d", bundle, 4).state, catalogue_of(bundle), NOW, 20, of)
    assert on_device.item_ids == [f"sku-{item}" for item in rehearsed]


def test_what_a_device_cannot_make_is_refused(tmp_path, bundle):
    device = device_of(tmp_path / "d", bundle, 4)
    with pytest.raises(ServingError, match="arm='central': must be one of personalized, personalized_no_repeat, glob"):
        device.recommend(5, arm="central", now=NOW)


def test_without_a_history_the_list_is_that_of_everybody(tmp_path, bundle):
    device = Device.create(tmp_path / "d", consent="observe", key_store="file", bundle=bundle)
    nobody = np.array([LOG.n_users - 1])
    expected = rank(arm_of(bundle).scores(LOG, nobody, NOW), 10)[0]
    listed = device.recommend(10, now=NOW)
    assert listed.fallback == "trend"
    assert listed.item_ids == [f"sku-{item}" for item in expected]


def test_a_bundle_without_a_mix_is_ranked_by_the_plain_score(tmp_path, bundle):
    plain, mixed = device_of(tmp_path / "p", replace(bundle, mix=None), 4), device_of(tmp_path / "m", bundle, 4)
    assert plain.recommend(20, now=NOW).item_ids != mixed.recommend(20, now=NOW).item_ids
    reasons = [item.reason for item in plain.recommend(5, reasons=True, now=NOW).items]
    assert all(reason is None or not reason.signals for reason in reasons)


@pytest.mark.parametrize("unseen", [False, True])
def test_what_the_signals_add_is_the_score(tmp_path, bundle, unseen):
    listed = device_of(tmp_path / "d", bundle, 4).recommend(10, reasons=True, unseen=unseen, now=NOW)
    kinds = set()
    for item in listed.items:
        assert item.reason is not None
        assert set(item.reason.signals) == set(SIGNALS)
        assert sum(item.reason.signals.values()) == pytest.approx(item.score, rel=1e-4, abs=1e-4)
        positive = sum(value for value in item.reason.signals.values() if value > 0)
        assert item.reason.share == pytest.approx(max(item.reason.signals.values()) / positive)
        kinds.add(item.reason.kind)
        if unseen:
            assert item.reason.signals["own"] == 0.0
    assert kinds


def test_a_filter_is_answered_from_a_pool_of_what_it_allows(tmp_path, bundle):
    device = device_of(tmp_path / "d", bundle, 4)
    listed = device.recommend(15, filter={"category": "c2"}, now=NOW)
    assert {item.category for item in listed.items} == {"c2"}
    assert len(listed.items) == 15


def test_the_downloaded_file_ranks_as_the_bundle_does_but_for_its_bytes(bundle):
    """int8 rows move a score a little; the tables of the mix are the same bit by bit."""
    exact, small = catalogue_of(bundle), decode_catalogue(encode_catalogue(bundle))
    rows = LOG.of(4)
    history = (LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows])
    ours, theirs = (mixed_list(arm_of(one), history, NOW, "all") for one in (exact, small))
    common = np.intersect1d(ours.pool.item_idx, theirs.pool.item_idx)
    assert len(common) > 0.95 * len(ours.pool.item_idx)
    np.testing.assert_allclose(ours.scores[common], theirs.scores[common], atol=0.2)
    top = [set(rank(one.scores[None], 20)[0].tolist()) for one in (ours, theirs)]
    assert len(top[0] & top[1]) >= 18


def test_a_mixed_list_prints_nothing_of_a_history(bundle):
    rows = LOG.of(4)
    made = mixed_list(arm_of(bundle), (LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows]), NOW, "all")
    assert "array" not in repr(made)
    assert "array" not in repr(made.pool)


def test_candidates_of_a_coarse_question_are_ranked_by_the_mix_and_own_items_join(tmp_path, bundle):
    device, held = device_of(tmp_path / "d", bundle, 4), catalogue_of(bundle)
    rows = LOG.of(4)
    history = (LOG.item_idx[rows], LOG.kind[rows], LOG.time[rows])
    offered = np.arange(0, N_ITEMS, 3, dtype=np.int32)
    candidates = ([f"sku-{item}" for item in offered], np.zeros(len(offered), dtype=np.float32))
    listed = join(device.state, held, NOW, candidates, 15, ["sku-3"], True, "cluster")
    allowed = np.zeros(N_ITEMS, dtype=bool)
    allowed[np.concatenate((offered, history[0]))] = True
    allowed[3] = False
    made = mixed_list(arm_of(held), history, NOW, "all", allowed)
    expected = rank(np.where(allowed, made.scores, -np.inf)[None].astype(np.float32), 15)[0]
    assert listed.item_ids == [f"sku-{item}" for item in expected]
    assert listed.mode == "cluster"
    alone = join(device.state, held, NOW, candidates, 15, [], False, "cluster")
    assert set(alone.item_ids) <= set(candidates[0])
    plain = join(device.state, replace(held, mix=None), NOW, candidates, 15, [], True, "cluster")
    assert plain.item_ids != listed.item_ids
