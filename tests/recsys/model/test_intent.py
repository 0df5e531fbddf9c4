from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.evaluation.arms import GlobalProfile, Personalized
from recsys.lists.reasons import because
from recsys.model.fold_in import fold_in
from recsys.model.intent import event_queries, intent_queries, intent_query, intent_share
from recsys.model.items import INTENT, TASTE, ItemTable
from recsys.model.log_profiles import profiles_of
from recsys.model.profile import event_targets, event_weights, make_profile
from recsys.model.profile_config import ProfileConfig, finite, read_config
from recsys.model.scoring import score
from tests.federation.learning.test_taste_update import NOW, random_log

POOLS = ProfileConfig(intent_pools=(0.9, 0.5, 0.0), intent_scale=0.2, intent_share=0.7, half_life=5.0)
LOG = random_log(3, n_users=9)


def table_of(log=LOG, dim: int = 4, pools: int = 3, seed: int = 0) -> ItemTable:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(log.n_items, dim * (1 + pools))).astype(np.float32)
    rows.flags.writeable = False
    return ItemTable(
        rows,
        rng.random(log.n_items, dtype=np.float32),
        np.zeros(rows.shape[1], dtype=np.float32),
        ((TASTE, dim), (INTENT, dim * pools)),
    )


def test_a_query_computed_by_hand() -> None:
    """Rows 1, 10 and a disliked 100, scale 2, pools .5 and 0: 2·(.25·1 + .5·10 − 100) = −189.5 and 2·(−100) = −200."""
    config = ProfileConfig(intent_pools=(0.5, 0.0), intent_scale=2.0, kind_weights=(1, 1, 1, 1, 1))
    rows = np.array([[1.0], [10.0], [100.0]], dtype=np.float32)
    assert intent_query(rows, np.array([0, 2, 4], dtype=np.uint8), config).tolist() == [-189.5, -200.0]


def test_an_empty_history_asks_for_nothing() -> None:
    assert not intent_query(np.zeros((0, 4), np.float32), np.zeros(0, np.uint8), POOLS).any()
    assert intent_query(np.zeros((0, 4), np.float32), np.zeros(0, np.uint8), POOLS).shape == (12,)


def test_all_users_at_once_have_the_queries_that_each_has_alone() -> None:
    V = table_of().rows_of(TASTE)
    found = intent_queries(LOG, V, POOLS)
    for user in range(LOG.n_users):
        own = LOG.of(user)
        np.testing.assert_allclose(
            found[user], intent_query(V[LOG.item_idx[own]], LOG.kind[own], POOLS), rtol=1e-5, atol=1e-6
        )


@given(st.lists(st.integers(0, 24), min_size=1, max_size=12), st.integers(0, 1_000))
def test_what_events_add_to_a_query_adds_up_to_it(items: list[int], seed: int) -> None:
    V = np.random.default_rng(seed).normal(size=(25, 3)).astype(np.float32)
    kind = np.random.default_rng(seed).integers(0, 5, len(items)).astype(np.uint8)
    np.testing.assert_allclose(
        event_queries(V[items], kind, POOLS).sum(0), intent_query(V[items], kind, POOLS), rtol=1e-4, atol=1e-5
    )


def test_a_profile_is_the_fold_in_and_the_query_side_by_side_in_their_shares() -> None:
    table, own = table_of(), LOG.of(2)
    columns = LOG.item_idx[own], LOG.kind[own], LOG.time[own]
    vector = make_profile(table, *columns, NOW, POOLS, "b").vector
    taste = table.part(TASTE)
    folded = fold_in(
        table.item_embeddings[columns[0], taste],
        table.gram,
        event_weights(columns[1], columns[2], NOW, POOLS),
        event_targets(columns[1]),
        n_items=table.n_items,
        alpha=POOLS.alpha,
        reg=POOLS.reg,
    )
    np.testing.assert_allclose(vector[taste], 0.3 * folded, rtol=1e-5)
    query = intent_query(table.rows_of(TASTE)[columns[0]], columns[1], POOLS)
    np.testing.assert_allclose(vector[table.part(INTENT)], 0.7 * query, rtol=1e-5)


def test_all_profiles_at_once_are_those_that_devices_make() -> None:
    table = table_of()
    found = profiles_of(table, POOLS, LOG, NOW)
    for user in range(LOG.n_users):
        own = LOG.of(user)
        alone = make_profile(table, LOG.item_idx[own], LOG.kind[own], LOG.time[own], NOW, POOLS, "b").vector
        np.testing.assert_allclose(found[user], alone, rtol=2e-3, atol=2e-4)


def test_a_table_of_taste_alone_is_served_as_before_whatever_the_share() -> None:
    whole = table_of()
    taste = ItemTable(whole.rows_of(TASTE), whole.trend, whole.mean_profile[whole.part(TASTE)])
    users = np.arange(LOG.n_users)
    plain = Personalized("p", taste, replace(POOLS, intent_pools=())).scores(LOG, users, NOW)
    np.testing.assert_array_equal(Personalized("p", taste, POOLS).scores(LOG, users, NOW), plain)


def test_pools_that_do_not_fit_the_table_are_refused() -> None:
    with pytest.raises(ModelError, match="2 intent_pools ask for a part 'intent' of width 8"):
        intent_share(table_of().parts, replace(POOLS, intent_pools=(0.9, 0.0)))


def test_the_shares_of_past_events_in_a_score_of_both_parts_add_up_to_it() -> None:
    table, own = table_of(), LOG.of(4)
    columns = LOG.item_idx[own], LOG.kind[own], LOG.time[own]
    listed = np.array([0, 7, 21], dtype=np.int32)
    vector = make_profile(table, *columns, NOW, POOLS, "b").vector
    expected = score(table, vector[None], 0.0)[0][listed]
    np.testing.assert_allclose(
        because(table, *columns, NOW, POOLS, listed).parts.sum(1), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"intent_pools": (1.0,)}, "intent_pools"),
        ({"intent_pools": (0.5,) * 9}, "at most 8"),
        ({"intent_share": 1.5}, "intent_share=1.5: must be 0..1"),
        ({"intent_scale": 0.0}, "intent_scale=0.0: must be > 0"),
    ],
)
def test_settings_out_of_bounds_are_named(wrong: dict, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        ProfileConfig(**wrong)


def test_settings_of_a_bundle_from_before_there_was_an_intent_are_read() -> None:
    from dataclasses import asdict

    written = finite(asdict(POOLS))
    assert read_config(written) == POOLS
    old = {name: value for name, value in written.items() if not name.startswith("intent_")}
    assert read_config(old) == replace(POOLS, intent_pools=(), intent_scale=0.2, intent_share=0.5)


def test_the_mean_profile_is_scored_in_the_shares_of_any_other_profile() -> None:
    """A population of one: its mean profile, fold-in beside query, gives the very list of its one member."""
    table, one = table_of(), LOG.users(np.array([3]))
    alone = replace(POOLS, trend_weight=0.0, repeat_weight=0.0)
    halves = profiles_of(table, replace(alone, intent_share=0.5), one, NOW)[0] * 2
    mean = replace(table, mean_profile=halves)
    found = GlobalProfile(mean, alone).scores(one, np.array([0]), NOW)
    np.testing.assert_allclose(found, Personalized("p", table, alone).scores(one, np.array([0]), NOW), rtol=1e-5)
