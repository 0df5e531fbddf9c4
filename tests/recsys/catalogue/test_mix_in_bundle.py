"""A bundle and its catalogue carry the mix under their hashes; one without a mix is as it was before there was one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from data.errors import ModelError
from recsys.catalogue.bundle import CATALOGUE, CLUSTERS, MANIFEST, MIX, TENSORS, Bundle
from recsys.catalogue.catalogue import catalogue_of, decode_catalogue, encode_catalogue
from recsys.catalogue.changes import CatalogueChange
from recsys.catalogue.delta import apply_delta, encode_delta
from recsys.mix.mix_tables import attributes_of, build_tables
from recsys.mix.model import MixModel
from recsys.mix.priors import prior_weights
from tests.recsys.catalogue.test_bundle import catalogue, forge, save
from tests.recsys.mix.worlds import NOW, shop_log


def a_mix(seed: int = 0, prior: str = "purchases") -> MixModel:
    tables = build_tables(shop_log(seed, n_items=12), NOW, attributes_of(catalogue()))
    return MixModel({n: prior_weights(prior, n) for n in ("all", "new")}, {"all": "mix", "new": "mix"}, 200, tables)


def same(ours: MixModel, theirs: MixModel) -> bool:
    tables = [(one.tables.transitions.toarray(), one.tables.trends, one.tables.category) for one in (ours, theirs)]
    return ours.settings == theirs.settings and all(np.array_equal(a, b) for a, b in zip(*tables, strict=True))


def test_a_mix_comes_back_from_a_bundle_and_from_the_file_a_device_downloads(tmp_path):
    bundle = save(tmp_path / "b", mix=a_mix())
    for mix in (
        Bundle.load(tmp_path / "b").mix,
        decode_catalogue(encode_catalogue(bundle)).mix,
        catalogue_of(bundle).mix,
    ):
        assert mix is not None
        assert same(mix, a_mix())
    assert set(json.loads((tmp_path / "b" / MANIFEST).read_text())["files"]) == {TENSORS, CATALOGUE, CLUSTERS, MIX}


def test_weights_and_tables_are_part_of_the_version(tmp_path):
    versions = {
        save(tmp_path / str(place), mix=mix).version
        for place, mix in enumerate((None, a_mix(), a_mix(1), a_mix(prior="sessions")))
    }
    assert len(versions) == 4


def test_a_bundle_of_before_there_was_a_mix_loads_and_its_file_has_the_same_bytes(tmp_path):
    plain = save(tmp_path / "plain")
    assert "mix" not in json.loads((tmp_path / "plain" / MANIFEST).read_text())
    assert not (tmp_path / "plain" / MIX).exists()
    assert Bundle.load(tmp_path / "plain").mix is None
    mixed = save(tmp_path / "mixed", mix=a_mix())
    assert b"mix" not in encode_catalogue(plain)
    without = encode_catalogue(replace(mixed, mix=None, version=plain.version))
    assert without == encode_catalogue(plain)


def test_a_mix_that_was_tampered_with_or_is_missing_is_refused(tmp_path):
    save(tmp_path / "b", mix=a_mix())
    path = tmp_path / "b" / MIX
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="tampered or torn"):
        Bundle.load(tmp_path / "b")
    path.unlink()
    with pytest.raises(ModelError, match="missing"):
        Bundle.load(tmp_path / "b")


def test_weights_without_tables_are_refused(tmp_path):
    save(tmp_path / "b")
    forge(tmp_path / "b", mix=a_mix().settings)
    with pytest.raises(ModelError, match=MIX):
        Bundle.load(tmp_path / "b")


def test_a_delta_brings_a_device_from_a_bundle_without_a_mix_to_one_with_it_and_on(tmp_path):
    bundles = [save(tmp_path / "0"), save(tmp_path / "1", mix=a_mix()), save(tmp_path / "2", mix=a_mix(1))]
    files = [encode_catalogue(bundle) for bundle in bundles]
    for old, new in pairwise(files):
        assert apply_delta(old, encode_delta(old, new)) == new


def test_a_changed_price_is_a_changed_price_for_the_mix_and_a_new_item_has_no_neighbours(tmp_path):
    held = catalogue_of(save(tmp_path / "b", mix=a_mix()))
    changed = held.with_changes(
        [
            CatalogueChange("sku-4", {"title": "x", "category": None, "price": float(np.e), "available": True}, None),
            CatalogueChange(
                "sku-new",
                {"title": "n", "category": "c", "price": 2.0, "available": True},
                np.zeros(5, dtype=np.float32),
            ),
        ]
    )
    assert changed.mix is not None
    assert changed.mix.tables.n_items == changed.table.n_items == 13
    assert changed.mix.tables.log_price[4] == pytest.approx(1.0)
    assert not changed.mix.tables.transitions[[12]].nnz
    assert held.mix is not None
    assert held.mix.tables.n_items == 12
