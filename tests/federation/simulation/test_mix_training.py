"""Simulated training of the mix: it finds what a log rewards, judges on others, and noise costs what it should."""

from __future__ import annotations

import numpy as np

from data.interactions import MICROS_PER_DAY, EventKind, interactions
from federation.simulation.mix_training import Earlier, MixConfig, train_mix
from recsys.mix.features import FEATURES
from recsys.mix.mix_tables import build_tables
from recsys.mix.model import MixModel
from recsys.mix.pools import Signals
from recsys.mix.priors import CAUTIOUS, MIN_DEVICES, prior_weights
from tests.recsys.mix.worlds import CONFIG, NOW, item_table

N_ITEMS = 150


def habits(seed: int, n_users: int) -> Earlier:
    """Everybody buys the same three items again and again; nothing else foretells anything."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, N_ITEMS, (n_users, 3))
    users = np.repeat(np.arange(n_users), 12)
    items = np.concatenate(
        [np.append(rng.choice(own[user], 9), rng.integers(0, N_ITEMS, 3)) for user in range(n_users)]
    )
    times = rng.integers(0, NOW, len(users))
    kinds = np.full(len(users), EventKind.PURCHASE)
    before = interactions(users, items, times, n_users=n_users, n_items=N_ITEMS, kind=kinds)
    after = interactions(
        np.repeat(np.arange(n_users), 3), own.ravel(), np.full(3 * n_users, NOW + MICROS_PER_DAY), n_users=n_users,
        n_items=N_ITEMS, kind=np.full(3 * n_users, EventKind.PURCHASE),
    )  # fmt: skip
    return Earlier(Signals(item_table(seed, N_ITEMS), CONFIG, build_tables(before, NOW)), before, after, NOW)


def learned(earlier: Earlier, config: MixConfig, prior: str = "sessions") -> MixModel:
    return train_mix(earlier, earlier.signals.tables, prior, config, seed=0)


def own_weight(mix: MixModel) -> float:
    """Of what was bought three times within days, in the list of all items."""
    column = [FEATURES.index(name) for name in ("own_20_events", "bought_180d", "bought_5_baskets")]
    return float(mix.weights["all"][column].sum())


def test_it_learns_that_everybody_buys_again():
    mix = learned(habits(0, 600), MixConfig())
    assert mix.served["all"] in ("mix", "bought_180d", "bought_60d", "bought_5_baskets", "own_20_events")
    assert mix.devices == 600
    assert own_weight(mix) > 1.0
    assert own_weight(mix) > own_weight(MixModel({n: prior_weights("sessions", n) for n in ("all", "new")},
                                                 {"all": "prior", "new": "prior"}, 0, mix.tables))  # fmt: skip


def test_the_same_seed_gives_the_same_bits():
    earlier = habits(1, 300)
    ours, theirs = learned(earlier, MixConfig()), learned(earlier, MixConfig())
    assert ours.settings == theirs.settings


def test_a_small_fleet_serves_its_prior():
    mix = learned(habits(2, MIN_DEVICES - 1), MixConfig(), "purchases")
    assert mix.served["all"] != "mix"
    if mix.served["all"] == "prior":
        np.testing.assert_array_equal(mix.weights["all"], prior_weights("purchases", "all"))


def test_little_noise_changes_little_and_much_noise_is_caught():
    """Noise that drowns 300 devices leaves the weights near the prior: the eigenvalues' floor holds the steps back."""
    earlier = habits(3, 300)
    exact = learned(earlier, MixConfig()).weights["all"]
    quiet = learned(earlier, MixConfig(noise_multiplier=0.01)).weights["all"]
    assert np.abs(quiet - exact).max() < 0.2 * np.abs(exact).max()
    loud = learned(earlier, MixConfig(noise_multiplier=1_000.0))
    prior = prior_weights("sessions", "all")
    if loud.served["all"] == "mix":
        assert np.abs(loud.weights["all"] - prior).max() < 2.0


def test_where_nobody_has_an_example_the_cautious_weights_are_served():
    earlier = habits(4, 50)
    nothing = earlier.later.where(np.zeros(earlier.later.n_events, dtype=bool))
    mix = learned(Earlier(earlier.signals, earlier.histories, nothing, NOW), MixConfig())
    assert mix.devices == 0
    assert mix.served == {"all": CAUTIOUS, "new": CAUTIOUS}
