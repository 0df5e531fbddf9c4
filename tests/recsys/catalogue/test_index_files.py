from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from recsys.catalogue.bundle import Bundle
from recsys.catalogue.index_files import DESCRIPTION, EXACT, open_index
from recsys.search.retrieval import ItemIndex
from tests.shop import make_bundle


@pytest.fixture
def lists_of_one(monkeypatch):
    monkeypatch.setattr("recsys.search.index.MIN_LIST", 1)
    monkeypatch.setattr("recsys.search.selection.FEW", 0)
    monkeypatch.setattr("recsys.search.selection.FEW_SHARE", 0.0)
    monkeypatch.setattr("recsys.search.retrieval.APPROXIMATE_FROM", 4_000)


def answers(index: ItemIndex) -> list[object]:
    """Lists of the ways of searching: unfiltered, one category, a mask."""
    mask = np.arange(index.n_items) % 3 > 0
    category = index.names[0]
    rng = np.random.default_rng(0)
    return [
        [array.tolist() for array in index.search(query, 7, trend_weight=0.1, selection=chosen)]
        for query in rng.normal(size=(5, index.table.dim)).astype(np.float32)
        for chosen in (None, index.select(None, category), index.select(mask), index.select(mask, category))
    ]


def test_the_mapped_index_answers_like_the_one_in_memory(tmp_path, lists_of_one):
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(4_000, 8)) * rng.lognormal(0, 1, (4_000, 1))
    bundle = make_bundle(tmp_path / "bundle", n_items=4_000, embeddings=drawn.astype(np.float32))
    mapped = open_index(bundle, tmp_path / "cache")
    assert mapped.approximate is not None
    assert answers(mapped) == answers(open_index(bundle))
    assert answers(open_index(bundle, tmp_path / "cache")) == answers(mapped)


def test_another_version_has_files_of_its_own(tmp_path):
    for seed in (1, 2):
        open_index(make_bundle(tmp_path / f"bundle{seed}", seed=seed), tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("index-*"))) == 2


@pytest.mark.parametrize("name", [EXACT, DESCRIPTION])
def test_a_damaged_or_missing_file_is_built_anew(tmp_path, lists_of_one, name):
    bundle = make_bundle(tmp_path / "bundle", n_items=400)
    whole = answers(open_index(bundle, tmp_path / "cache"))
    (place,) = (tmp_path / "cache").glob("index-*")
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink):
        damage(place / name)
        assert answers(open_index(bundle, tmp_path / "cache")) == whole
        assert (place / name).is_file()


def race(folder: Path, bundle: Path, inodes: multiprocessing.Queue) -> None:
    index = open_index(Bundle.load(bundle), folder)
    (place,) = folder.glob("index-*")
    items, _ = index.search(np.ones(index.table.dim, np.float32), 3, trend_weight=0.0)
    inodes.put(((place / EXACT).stat().st_ino, items.tolist()))


def test_processes_that_race_share_one_build(tmp_path):
    make_bundle(tmp_path / "bundle", n_items=3_000)
    context = multiprocessing.get_context("spawn")
    inodes = context.Queue()
    racers = [context.Process(target=race, args=(tmp_path / "cache", tmp_path / "bundle", inodes)) for _ in range(3)]
    for racer in racers:
        racer.start()
    found = [inodes.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join()
    assert found == [found[0]] * 3
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".index-")] == [
        f".index-{Bundle.load(tmp_path / 'bundle').version}.lock"
    ]
