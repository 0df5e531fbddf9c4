from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recsys.items import ItemTable
from serving.readiness import Readiness, measure_recall
from serving.refusal import Refusal
from serving.served import ServedBundle, Shelf, serve_bundle
from tests.shop import make_bundle


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf([make_bundle(tmp_path / "b", unavailable=(3, 4))])


def reason(readiness: Readiness) -> str:
    with pytest.raises(Refusal) as refused:
        asyncio.run(readiness.check())
    assert refused.value.code == "not_ready"
    return str(refused.value.details["reason"])


def of_another_table(one: ServedBundle, bundle: Path) -> ServedBundle:
    """An index that was built from other embeddings: it answers, and wrongly."""
    table = one.bundle.table
    shuffled = np.array(table.item_embeddings)[::-1].copy()
    other = serve_bundle(make_bundle(bundle, embeddings=shuffled, trend=np.array(table.trend), unavailable=(3, 4)))
    return replace(one, index=other.index)


def test_a_good_bundle_is_ready(shelf: Shelf) -> None:
    assert asyncio.run(Readiness(shelf).check()) == shelf.current.version
    assert measure_recall(shelf.current) == 1.0


def test_an_index_that_answers_wrongly_is_not(shelf: Shelf, tmp_path: Path) -> None:
    wrong = of_another_table(shelf.current, tmp_path / "other")
    recall = measure_recall(wrong)
    assert recall < 0.8  # 20 of 38: half are found by chance
    shelf._served = {wrong.version: wrong}
    assert reason(Readiness(shelf)) == "index"
    assert asyncio.run(Readiness(shelf, floor=0.0).check()) == wrong.version


def test_an_index_that_does_not_answer_is_not(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("recsys.retrieval.ItemIndex.search", broken)
    assert reason(Readiness(shelf)) == "bundle"


def test_a_state_that_fails_or_hangs_is_not_and_takes_one_thread_at_most(shelf: Shelf) -> None:
    def fails() -> None:
        raise OSError("secret")

    assert reason(Readiness(shelf, fails)) == "state"
    hangs, threads = threading.Event(), threading.active_count()

    async def asked() -> list[str]:
        readiness = Readiness(shelf, lambda: hangs.wait(20))
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
    assert measure_recall(serve_bundle(make_bundle(tmp_path / "a", n_items=2))) == 1.0
    assert measure_recall(serve_bundle(make_bundle(tmp_path / "c", n_items=2, unavailable=(0, 1)))) == 1.0


def test_the_table_is_not_written_to(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b")
    assert isinstance(bundle.table, ItemTable)
    before = np.array(bundle.table.item_embeddings)
    measure_recall(serve_bundle(bundle))
    np.testing.assert_array_equal(before, bundle.table.item_embeddings)
