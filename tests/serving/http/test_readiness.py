from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.errors import ModelError
from recsys.catalogue.index_files import INDEX_FORMAT, open_index
from recsys.model.items import ItemTable
from serving.http.readiness import Readiness
from serving.refusal import Refusal
from serving.shelf.served import Apps, ServedBundles, serve_bundle
from tests.shop import make_bundle


@pytest.fixture
def shelf(tmp_path: Path) -> ServedBundles:
    return ServedBundles([make_bundle(tmp_path / "b", unavailable=(3, 4))])


def ready(shelf: ServedBundles, state: Callable[[], object] | None = None, **options: float) -> Readiness:
    return Readiness(Apps({"shop": shelf}), state, **options)


def reason(readiness: Readiness) -> str:
    with pytest.raises(Refusal) as refused:
        asyncio.run(readiness.check())
    assert refused.value.code == "not_ready"
    return str(refused.value.details["reason"])


def test_a_good_bundle_is_ready(shelf: ServedBundles) -> None:
    assert asyncio.run(ready(shelf).check()) == shelf.current.version
    assert shelf.current.recall == 1.0


def test_an_index_of_another_table_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", unavailable=(3, 4))
    shuffled = np.array(bundle.table.item_embeddings)[::-1].copy()
    other = make_bundle(tmp_path / "other", embeddings=shuffled, trend=np.array(bundle.table.trend))
    cache = tmp_path / "cache"
    open_index(other, cache)
    (cache / f"index-{other.version}-{INDEX_FORMAT}").rename(cache / f"index-{bundle.version}-{INDEX_FORMAT}")
    with pytest.raises(ModelError, match="for an index to serve"):
        serve_bundle(bundle, cache)


def test_an_index_below_the_floor_is_not(shelf: ServedBundles) -> None:
    wrong = replace(shelf.current, recall=0.7)
    shelf._served = {wrong.version: wrong}
    assert reason(ready(shelf)) == "index"
    assert asyncio.run(ready(shelf, floor=0.0).check()) == wrong.version


def test_an_index_that_does_not_answer_is_not(shelf: ServedBundles, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("recsys.search.retrieval.ItemIndex.search", broken)
    assert reason(ready(shelf)) == "bundle"


def test_a_state_that_fails_or_hangs_is_not_and_takes_one_thread_at_most(shelf: ServedBundles) -> None:
    def fails() -> None:
        raise OSError("secret")

    assert reason(ready(shelf, fails)) == "state"
    hangs, threads = threading.Event(), threading.active_count()

    async def asked() -> list[str]:
        readiness = ready(shelf, lambda: hangs.wait(20))
        found = []
        for _ in range(3):
            try:
                found.append(await readiness.check())
            except Refusal as refusal:
                found.append(str(refusal.details["reason"]))
        assert threading.active_count() <= threads + 1
        hangs.set()
        await asyncio.sleep(0.1)
        return [*found, await readiness.check()]

    begun = time.monotonic()
    assert asyncio.run(asked()) == ["state", "state", "state", shelf.current.version]
    assert time.monotonic() - begun < 10


def test_a_catalogue_smaller_than_the_sample_and_one_with_nothing_to_show(tmp_path: Path) -> None:
    assert serve_bundle(make_bundle(tmp_path / "a", n_items=2)).recall == 1.0
    assert serve_bundle(make_bundle(tmp_path / "c", n_items=2, unavailable=(0, 1))).recall == 1.0


def test_the_table_is_not_written_to(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    assert isinstance(bundle.table, ItemTable)
    before = np.array(bundle.table.item_embeddings)
    serve_bundle(bundle)
    np.testing.assert_array_equal(before, bundle.table.item_embeddings)
