"""What the messages of each mode give an attacker who keeps them all: small versions of `ownshelf bench modes`."""

from __future__ import annotations

import numpy as np
import pytest

from federation.device.asking.direction_noise import leading_directions
from federation.device.noise_ledger import DAY_S, NoiseAccount, NoisePolicy
from federation.private_sum.randomness import seeded_bytes
from recsys.model.items import INTENT, TASTE, ItemTable
from tests.benchmarks import modes_intent
from tests.benchmarks.attacks_leak import Pairs
from tests.benchmarks.attacks_modes import membership_auc, recognised
from tests.benchmarks.modes import few_modes, noised, on_the_device, whole_profile, with_clusters
from tests.benchmarks.modes_intent import last_named, ways
from tests.benchmarks.modes_world import Floats, World, world

EPSILON = 8.0


@pytest.fixture(scope="module")
def shop() -> World:
    """3,000 items, 500 devices with 38 or more events."""
    return world(3_000, 3_000, 200_000, 20, seed=0, users=500, asked=40)


def sequence(shop: World, seed: int, *, redrawn: bool) -> Floats:
    """(20, users, dim): what is sent at each of 20 events, by the account that a device keeps."""
    basis = leading_directions(shop.table.gram)
    random = seeded_bytes(np.random.default_rng(seed))
    policy = NoisePolicy(EPSILON, period_days=0.5 if redrawn else 30.0, max_epsilon=1_000.0)
    sent, account = [], NoiseAccount()
    for day, profiles in enumerate(reversed(shop.sequence)):
        draw = lambda profiles=profiles: noised(profiles, basis, EPSILON, random)  # noqa: E731  # one account for all
        account, said = account.with_draw("v1", policy, day * DAY_S, draw)
        sent.append(said.vector)
    assert account.drawn == (20 if redrawn else 1)
    return np.stack(sent)


def test_averaging_wins_when_noise_is_redrawn_for_every_event(shop: World) -> None:
    sent = sequence(shop, 1, redrawn=True)
    one, all_of_them = recognised(sent[-1], shop.now), recognised(sent.mean(0), shop.now)
    assert one < 0.35
    assert all_of_them > 0.9
    V = shop.table.item_embeddings
    assert membership_auc(V, sent.mean(0), shop.pairs) > membership_auc(V, sent[-1], shop.pairs) + 0.05


def test_averaging_gains_nothing_when_it_is_drawn_once_a_period(shop: World) -> None:
    sent = sequence(shop, 2, redrawn=False)
    assert len({message.tobytes() for message in sent}) == 1
    one, all_of_them = recognised(sent[0], shop.now), recognised(sent.mean(0), shop.now)
    assert all_of_them == pytest.approx(one, abs=0.005)
    assert one < 0.35
    V = shop.table.item_embeddings
    averaged = membership_auc(V, sent.mean(0), shop.pairs)
    assert averaged == pytest.approx(membership_auc(V, sent[0], shop.pairs), abs=0.005)


def test_messages_of_two_periods_are_hardly_linked_and_of_one_period_always(shop: World) -> None:
    first, second = sequence(shop, 3, redrawn=False), sequence(shop, 4, redrawn=False)
    assert recognised(first[0], second[0]) < 0.05
    assert recognised(first[0], first[19]) == pytest.approx(1.0)


def test_the_vector_gives_everybody_away_and_the_catalogue_nobody(shop: World) -> None:
    assert whole_profile(shop)["reidentified"] > 0.99
    assert whole_profile(shop)["auc"] > 0.85
    assert on_the_device(shop)["reidentified"] == pytest.approx(1 / 500)


def test_more_clusters_say_more(shop: World) -> None:
    one, four = with_clusters(shop, 1, 200), with_clusters(shop, 4, 200)
    assert 0.6 < one["auc"] <= four["auc"] + 0.02
    assert one["reidentified"] < four["reidentified"] < 0.99


def test_the_attack_is_at_chance_where_there_is_nothing_to_find(shop: World) -> None:
    """Messages of somebody else: a guard against an attack that knows the answer."""
    stranger = np.roll(shop.now, 1, axis=0)
    assert recognised(stranger, shop.now) < 0.02
    assert abs(membership_auc(shop.table.item_embeddings, stranger, shop.pairs) - 0.5) < 0.06
    same = np.repeat(shop.table.mean_profile[None], 500, axis=0)
    assert recognised(same, shop.now) == pytest.approx(1 / 500)


def test_the_figures_of_an_attack_by_hand() -> None:
    """Messages nearest to the first, to the first, and equally near to all three: (1 + 0 + 1/3) / 3."""
    known = np.eye(3, dtype=np.float32)
    messages = np.array([[2, 1, 0], [3, 0, 0], [1, 1, 1]], dtype=np.float32)
    assert recognised(messages, known) == pytest.approx((1 + 0 + 1 / 3) / 3)
    pairs = Pairs(np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 0, 0, 2]), np.array([True, False] * 3))
    assert membership_auc(known, messages, pairs) == pytest.approx((1 + 0 + 0.5) / 3)  # 2 > 1, 0 < 3, 1 = 1


def test_the_last_pool_of_an_intent_names_the_last_item_and_the_columns_are_the_pools() -> None:
    """Taste 2 wide, pools ρ 0.5 and 0: the last two columns are 3·v of item 1, whatever the others say."""
    V = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    table = ItemTable(
        np.hstack([V, np.zeros((3, 4), np.float32)]), np.zeros(3, np.float32), np.zeros(6, np.float32),
        ((TASTE, 2), (INTENT, 4)),
    )  # fmt: skip
    message = np.array([[1, 0, -1, 0, 0, 3]], dtype=np.float32)
    assert [part.tolist() for _, part in ways(table, message)[2:]] == [[[-1, 0]], [[0, 3]]]
    assert last_named(table, message, np.array([1], dtype=np.int32)) == 1.0
    assert last_named(table, np.zeros((1, 6), np.float32), np.array([1], dtype=np.int32)) == 1 / 3


def test_a_profile_with_an_intent_says_the_last_item_and_a_noised_one_seldom_does() -> None:
    found = modes_intent.rows(
        "synthetic", seed=0, users=150, asked=5, say=lambda _: None, measured=few_modes, n_items=300
    )
    assert [row["profile"] for row in found] == ["taste"] * 7 + ["taste and intent"] * 7
    device, profile, _, _, noised, *_ = found[7:]
    assert "ε 4" in noised["setting"]
    assert (device["auc"], device["last"]) == (0.5, pytest.approx(1 / 300, abs=1e-4))
    assert profile["last"] > 0.95
    assert noised["last"] < 0.1
    assert noised["auc"] < profile["auc"] - 0.1
