"""A bundle comes back bit by bit, mapped and read-only, or is refused with the name of the file that is wrong."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from data.atomic import file_hash
from data.errors import DataError, ModelError
from recsys.catalogue.bundle import CATALOGUE, CLUSTERS, MANIFEST, TENSORS, Bundle, _version, save_bundle
from recsys.catalogue.catalogue import catalogue_of, decode_catalogue, encode_catalogue
from recsys.catalogue.clusters import check_part_of_bundle, decode_clusters, encode_clusters, version_of
from recsys.model.items import ItemTable
from recsys.model.profile import ProfileConfig

NAMES = ("item_embeddings", "trend", "mean_profile")


def table(seed: int = 0, n_items: int = 12, dim: int = 5) -> ItemTable:
    rng = np.random.default_rng(seed)
    return ItemTable(
        rng.normal(size=(n_items, dim)).astype(np.float32),
        rng.random(n_items).astype(np.float32),
        rng.normal(size=dim).astype(np.float32),
        (("taste", 3), ("intent", 2)),
    )


def catalogue(n_items: int = 12) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item_id": [f"sku-{item}" for item in range(n_items)],
            "title": [None if item == 3 else f"Ting nº {item}" for item in range(n_items)],
            "price": [0.1 * item for item in range(n_items)],
            "available": [item % 2 == 0 for item in range(n_items)],
        }
    )


def save(folder: Path, **changed) -> Bundle:
    settings = {
        "name": "shop",
        "table": table(),
        "catalogue": catalogue(),
        "config": ProfileConfig(half_life=float("inf"), half_life_unit="events"),
        "seed": 3,
        "data_hash": "abc",
        "privacy": "none: random numbers",
        "training": {"rounds": 7},
    }
    return save_bundle(folder, **(settings | changed))


def forge(folder: Path, **changed) -> None:
    """A manifest that says what it is told, with hashes and version that fit: no tampering to notice.

    It is one of before clusters were part of a bundle.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"] = {name: file_hash(folder / name) for name in (TENSORS, CATALOGUE)}
    manifest |= changed
    manifest["version"] = _version(manifest) if isinstance(manifest["files"], dict) else ""
    (folder / MANIFEST).write_text(json.dumps(manifest))


# round trip


def test_a_bundle_comes_back_bit_by_bit(tmp_path):
    saved = save(tmp_path / "b")
    loaded = Bundle.load(tmp_path / "b")
    for one in (saved, loaded):
        for name in NAMES:
            assert getattr(one.table, name).tobytes() == getattr(table(), name).tobytes()
        assert one.table.parts == (("taste", 3), ("intent", 2))
        assert one.table.gram.tobytes() == table().gram.tobytes()
        assert_frame_equal(one.catalogue, catalogue())
        assert one.config == ProfileConfig(half_life=float("inf"), half_life_unit="events")
        assert (one.name, one.version) == ("shop", saved.version)
        assert one.items.index_of(["sku-11", "sku-0", "?"]).tolist() == [11, 0, -1]


def test_the_manifest_says_where_the_bundle_comes_from(tmp_path):
    manifest = save(tmp_path / "b").manifest
    assert manifest["seed"] == 3
    assert manifest["data_hash"] == "abc"
    assert manifest["privacy"] == "none: random numbers"
    assert manifest["training"] == {"rounds": 7}
    assert (manifest["n_items"], manifest["dim"]) == (12, 5)
    assert manifest["files"] == {name: file_hash(tmp_path / "b" / name) for name in (TENSORS, CATALOGUE, CLUSTERS)}


def test_the_folder_holds_four_files_and_no_others(tmp_path):
    save(tmp_path / "b")
    assert {path.name for path in (tmp_path / "b").iterdir()} == {TENSORS, CATALOGUE, CLUSTERS, MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def root_of(array: np.ndarray) -> object:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@pytest.mark.parametrize("name", NAMES)
def test_tensors_are_mapped_and_nobody_can_write_into_them(tmp_path, name):
    tensor = getattr(save(tmp_path / "b").table, name)
    mapped = root_of(tensor)
    assert isinstance(mapped, np.memmap)
    assert mapped.mode == "r"
    with pytest.raises(ValueError, match="read-only"):
        tensor[...] = 0.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        tensor.flags.writeable = True


# version


def test_the_version_is_a_hash_over_the_clusters_and_the_rest(tmp_path):
    bundle = save(tmp_path / "b")
    check_part_of_bundle(decode_clusters(encode_clusters(bundle.clusters)))
    assert bundle.clusters.content_hash == bundle.manifest["files"][CLUSTERS] == catalogue_of(bundle).clusters_hash
    assert decode_catalogue(encode_catalogue(bundle)).clusters_hash == bundle.clusters_hash
    other = replace(bundle.clusters, centroids=-bundle.clusters.centroids)
    with pytest.raises(ModelError, match=f"are not those of bundle {bundle.version}"):
        check_part_of_bundle(other)


def test_a_bundle_of_before_has_clusters_that_no_device_believes(tmp_path):
    before = save(tmp_path / "b")
    (tmp_path / "b" / CLUSTERS).unlink()
    forge(tmp_path / "b")
    bundle = Bundle.load(tmp_path / "b")
    content = {key: value for key, value in bundle.manifest.items() if key != "version"}
    assert bundle.version == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    np.testing.assert_array_equal(bundle.clusters.centroids, before.clusters.centroids)
    assert (bundle.clusters_hash, bundle.clusters.bundle_version) == (None, bundle.version)
    with pytest.raises(ModelError, match=f"no part of bundle {bundle.version}"):
        check_part_of_bundle(bundle.clusters)


def test_centroids_that_ask_more_than_a_direction_are_refused(tmp_path):
    """Longer centroids, or more than the items allow, under a version that fits them."""
    clusters = save(tmp_path / "b").clusters
    for centroids, message in (
        (clusters.centroids * np.float32(2), "must be of length 1"),
        (np.concatenate([clusters.centroids, clusters.centroids]), "2 centroids of 12 items, must be at most 1"),
    ):
        forged = replace(clusters, centroids=centroids)
        forged = replace(forged, bundle_version=version_of(str(forged.manifest_hash), forged.content_hash))
        with pytest.raises(ModelError, match=message):
            check_part_of_bundle(forged)


def test_the_version_is_that_of_the_content(tmp_path):
    first, second = save(tmp_path / "a"), save(tmp_path / "b")
    assert first.version == second.version
    assert len(first.version) == 16
    assert int(first.version, 16) >= 0


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "another"},
        {"table": table(1)},
        {"table": ItemTable(table().item_embeddings, table().trend, table().mean_profile)},
        {"catalogue": catalogue().with_columns(pl.lit("x").alias("title"))},
        {"config": replace(ProfileConfig(), reg=0.5)},
        {"seed": 4},
        {"data_hash": "abd"},
        {"privacy": "ε = 1"},
        {"training": {"rounds": 8}},
    ],
)
def test_any_change_of_content_is_another_version(tmp_path, changed):
    assert save(tmp_path / "a").version != save(tmp_path / "b", **changed).version


# saving


def test_an_existing_bundle_is_refused_unless_it_may_be_overwritten(tmp_path):
    old = save(tmp_path / "b")
    with pytest.raises(DataError, match="exists already"):
        save(tmp_path / "b", table=table(1))
    new = save(tmp_path / "b", table=table(1), overwrite=True)
    assert Bundle.load(tmp_path / "b").version == new.version != old.version
    assert old.table.item_embeddings.tobytes() == table().item_embeddings.tobytes()  # the old mapping still stands


def test_overwriting_replaces_a_bundle_and_nothing_else(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "vault").write_bytes(b"years of history")
    with pytest.raises(DataError, match=r"holds vault.*will not be overwritten"):
        save(home, overwrite=True)
    with pytest.raises(DataError, match=r"no folder.*will not be overwritten"):
        save(home / "vault", overwrite=True)
    assert (home / "vault").read_bytes() == b"years of history"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_another_user_of_the_machine_may_serve_a_bundle(tmp_path):
    save(tmp_path / "b")
    assert {path.stat().st_mode & 0o044 for path in (tmp_path / "b").iterdir()} == {0o044}


@pytest.mark.parametrize("step", ["save_file", "file_hash", "_version"])
def test_an_interrupted_save_leaves_nothing_or_the_old_bundle(tmp_path, monkeypatch, step):
    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"recsys.catalogue.bundle.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []
    old = save(tmp_path / "b")
    with monkeypatch.context() as patched:
        patched.setattr(f"recsys.catalogue.bundle.{step}", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / "b", table=table(1), overwrite=True)
    assert Bundle.load(tmp_path / "b").version == old.version
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_catalogue_that_does_not_fit_the_table_is_refused(tmp_path):
    with pytest.raises(ModelError, match="catalogue: 11 rows, the item table has 12"):
        save(tmp_path / "b", catalogue=catalogue(11))
    with pytest.raises(ModelError, match="catalogue: no column item_id"):
        save(tmp_path / "b", catalogue=catalogue().drop("item_id"))
    twice = catalogue().with_columns(pl.lit("same").alias("item_id"))
    with pytest.raises(ModelError, match=r"catalogue: .*'same' occurs twice"):
        save(tmp_path / "b", catalogue=twice)
    assert list(tmp_path.iterdir()) == []


# loading what is wrong


@pytest.mark.parametrize("name", [TENSORS, CATALOGUE])
def test_a_file_with_one_bit_flipped_is_named(tmp_path, name):
    save(tmp_path / "b")
    path = tmp_path / "b" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: sha256 is .* tampered"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("name", [TENSORS, CATALOGUE])
def test_a_truncated_file_is_named(tmp_path, name):
    save(tmp_path / "b")
    path = tmp_path / "b" / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelError, match=rf"{name}: sha256 is .* torn"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("name", [TENSORS, CATALOGUE])
def test_a_missing_file_is_named(tmp_path, name):
    save(tmp_path / "b")
    (tmp_path / "b" / name).unlink()
    with pytest.raises(ModelError, match=rf"{name}: missing"):
        Bundle.load(tmp_path / "b")


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ModelError, match=f"no {MANIFEST} in it; not a bundle"):
            Bundle.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", {"alpha": 9.0}),
        ("name", "x"),
        ("seed", 9),
        ("privacy", "ε = 0.1"),
        ("added", 1),
        ("version", "0" * 16),
    ],
)
def test_an_edited_manifest_is_refused(tmp_path, key, value):
    save(tmp_path / "b")
    path = tmp_path / "b" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest[key] = manifest[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=rf"{MANIFEST}: content hashes to"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'"x"', b'{"format": 1}', b"null"])
def test_a_manifest_that_is_none_is_named(tmp_path, content):
    save(tmp_path / "b")
    (tmp_path / "b" / MANIFEST).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{MANIFEST}: not a bundle's manifest"):
        Bundle.load(tmp_path / "b")


def test_a_newer_format_is_refused_with_what_this_version_reads(tmp_path):
    save(tmp_path / "b")
    forge(tmp_path / "b", format=2)
    with pytest.raises(ModelError, match=r"format=2: this version reads format 1"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize("files", [{}, {TENSORS: "0"}, {TENSORS: "0", CATALOGUE: "0", "../other": "0"}, 3, None])
def test_a_manifest_must_vouch_for_both_files_and_no_others(tmp_path, files):
    save(tmp_path / "b")
    forge(tmp_path / "b", files=files)
    with pytest.raises(ModelError, match=rf"{MANIFEST}: .*files"):
        Bundle.load(tmp_path / "b")


@pytest.mark.parametrize(
    "changed",
    [
        {"config": {"alpha": -1.0}},
        {"config": {"colour": "blue"}},
        {"config": {"kind_weights": 3}},
        {"config": []},
        {"parts": [["taste", 4]]},
        {"parts": 7},
    ],
)
def test_a_manifest_with_settings_that_cannot_be_is_refused(tmp_path, changed):
    save(tmp_path / "b")
    if isinstance(changed.get("config"), dict):
        changed = {"config": json.loads((tmp_path / "b" / MANIFEST).read_text())["config"] | changed["config"]}
    forge(tmp_path / "b", **changed)
    with pytest.raises(ModelError, match=rf"{MANIFEST}: config: |{TENSORS}: "):
        Bundle.load(tmp_path / "b")


def safetensors(header: bytes, body: bytes = b"\0" * 4096) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def entry(shape: list[int], dtype: str = "F32", end: int = 4) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        struct.pack("<Q", 2**62),
        safetensors(b"{not json"),
        safetensors(b"[1, 2]"),
        safetensors(b"\xff\xff"),
        safetensors(json.dumps({"item_embeddings": entry([12, 5])}).encode()),  # no trend
        safetensors(json.dumps(dict.fromkeys(NAMES, 3)).encode()),
        safetensors(json.dumps({name: entry([12, 5], "F16") for name in NAMES}).encode()),
        safetensors(json.dumps({name: entry([9_999_999, 5]) for name in NAMES}).encode()),  # beyond the file
        safetensors(json.dumps({name: entry([-1, 5]) for name in NAMES}).encode()),
        safetensors(json.dumps({name: {"dtype": "F32", "shape": [12, 5]} for name in NAMES}).encode()),
        safetensors(json.dumps({name: entry([12, 5]) | {"data_offsets": [-9, 4]} for name in NAMES}).encode()),
        safetensors(json.dumps({"item_embeddings": entry([12, 5], end=240)}).encode(), b"\0" * 240),  # alone
        safetensors(json.dumps({name: entry([0]) | {"data_offsets": [0, 0]} for name in NAMES}).encode(), b""),
    ],
)
def test_a_tensor_file_that_is_none_is_refused_even_with_a_fitting_hash(tmp_path, content):
    save(tmp_path / "b")
    (tmp_path / "b" / TENSORS).write_bytes(content)
    forge(tmp_path / "b")
    with pytest.raises(ModelError, match=TENSORS):
        Bundle.load(tmp_path / "b")


def test_a_catalogue_file_that_is_none_or_another_is_refused_even_with_a_fitting_hash(tmp_path):
    save(tmp_path / "b")
    path = tmp_path / "b" / CATALOGUE
    for content, message in ((b"PAR1 or so", "not a parquet file"), (None, "11 rows, the item table has 12")):
        if content is None:
            catalogue(11).write_parquet(path)
        else:
            path.write_bytes(content)
        forge(tmp_path / "b")
        with pytest.raises(ModelError, match=rf"{CATALOGUE}: .*{message}"):
            Bundle.load(tmp_path / "b")


def test_a_table_with_values_that_are_not_finite_is_refused(tmp_path):
    save(tmp_path / "b")
    path = tmp_path / "b" / TENSORS
    content = bytearray(path.read_bytes())
    content[-4:] = struct.pack("<f", float("nan"))
    path.write_bytes(content)
    forge(tmp_path / "b")
    with pytest.raises(ModelError, match="not finite"):
        Bundle.load(tmp_path / "b")
