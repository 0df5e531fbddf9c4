"""A mix comes back from its arrays bit by bit, and is refused when it is of another catalogue or version."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import ModelError
from recsys.mix.features import N_FEATURES
from recsys.mix.mix_tables import ItemAttributes, attributes_of, build_tables, round_transitions
from recsys.mix.model import MixModel, read_mix
from recsys.mix.priors import PRIORS, prior_weights
from tests.recsys.mix.worlds import NOW, attributes, shop_log, tables_of


def a_mix(seed: int = 1, n_items: int = 130) -> MixModel:
    log = shop_log(seed, n_items=n_items)
    weights = {"all": prior_weights("purchases", "all"), "new": np.arange(N_FEATURES, dtype=np.float64)}
    return MixModel(weights, {"all": "prior", "new": "mix"}, 120, tables_of(seed, log))


def test_a_mix_comes_back_bit_by_bit():
    mix = a_mix()
    back = read_mix(mix.settings, mix.tensors, attributes(1))
    assert back.settings == mix.settings
    for name in ("data", "indices", "indptr"):
        ours, theirs = getattr(mix.tables.transitions, name), getattr(back.tables.transitions, name)
        np.testing.assert_array_equal(ours, theirs)
    assert back.tables.trends.tobytes() == mix.tables.trends.tobytes()


def test_an_item_costs_few_bytes():
    """50 neighbours of 2 + 1 bytes, a scale and a count, 5 trends: at most 160 bytes an item."""
    mix = a_mix(2, n_items=400)
    assert sum(tensor.nbytes for tensor in mix.tensors.values()) <= 400 * 160 + 5 * 4


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"mix_transition_item": np.full(3, 999, np.uint16)}, "rows of transitions"),
        ({"mix_transition_count": np.zeros(7, np.uint8)}, "rows of transitions"),
        ({"mix_trends": np.zeros((2, 130), np.uint8), "mix_trend_scale": np.ones(2, np.float32)}, "trends"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(broken, words):
    mix = a_mix()
    with pytest.raises(ModelError, match=words):
        read_mix(mix.settings, mix.tensors | broken, attributes(1))


def test_settings_of_another_version_are_refused():
    mix = a_mix()
    for settings, words in (
        (mix.settings | {"features": ["taste"]}, "this version reads"),
        ({"features": mix.settings["features"]}, "not a mix of this version"),
        (mix.settings | {"weights": {"all": [0.0], "new": [0.0]}}, "finite numbers"),
        ("mix", "must be an object"),
    ):
        with pytest.raises(ModelError, match=words):
            read_mix(settings, mix.tensors, attributes(1))
    with pytest.raises(ModelError, match="transitions to items"):
        read_mix(
            mix.settings,
            {**mix.tensors, "mix_transition_item": mix.tensors["mix_transition_item"] + 200},
            attributes(1),
        )


def test_new_items_are_known_to_nobody():
    mix = a_mix()
    more = ItemAttributes(np.zeros(133, np.int32), np.zeros(133, np.float32))
    grown = mix.grown(more).tables
    assert grown.n_items == 133
    assert not grown.trends[:, 130:].any()
    assert not grown.transitions[130:].nnz
    np.testing.assert_array_equal(grown.transitions[:130].toarray()[:, :130], mix.tables.transitions.toarray())


def test_rounding_keeps_order_within_a_row_and_all_entries():
    tables = build_tables(shop_log(3), NOW)
    again = round_transitions(tables.transitions)
    np.testing.assert_allclose(again.data, tables.transitions.data, rtol=1e-6)
    assert (tables.transitions.data > 0).all()


def test_attributes_of_a_catalogue():
    import polars as pl

    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "category": ["x", None, "w"], "price": [1.0, 0.0, np.e]})
    found = attributes_of(frame)
    assert found.category.tolist() == [1, -1, 0]
    np.testing.assert_allclose(found.log_price, [0.0, np.nan, 1.0], atol=1e-6)
    bare = attributes_of(frame.select("item_id"))
    assert bare.category.tolist() == [-1, -1, -1]
    assert np.isnan(bare.log_price).all()


def test_every_prior_has_both_lists():
    for name in PRIORS:
        assert prior_weights(name, "all").shape == prior_weights(name, "new").shape == (N_FEATURES,)
