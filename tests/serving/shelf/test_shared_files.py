from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from recsys.catalogue.bundle import Bundle
from recsys.catalogue.catalogue import encode_catalogue
from serving.shelf import shared_files
from serving.shelf.served import serve_bundle
from serving.shelf.shared_files import SharedIds, open_shared
from tests.shop import make_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "b", item_ids=["é/1", "a b", "x" * 128])


def test_what_is_mapped_is_what_was_written(bundle: Bundle, tmp_path: Path) -> None:
    made, again = (open_shared(bundle, tmp_path / "cache") for _ in range(2))
    for one in (made, again):
        assert one.bundle.catalogue.equals(bundle.catalogue)
        assert bytes(one.catalogue) == encode_catalogue(bundle)
        assert one.etag == hashlib.sha256(bytes(one.catalogue)).hexdigest()
        assert one.texts.of_items(np.arange(40)) == open_shared(bundle, None).texts.of_items(np.arange(40))


def test_every_id_is_found_and_no_other(bundle: Bundle, tmp_path: Path) -> None:
    items = open_shared(bundle, tmp_path / "cache").bundle.items
    ids = bundle.catalogue["item_id"].to_list()
    asked = [*ids, "nobody", "", "é/", *reversed(ids)]
    assert items.places(asked) == bundle.items.places(asked)
    np.testing.assert_array_equal(items.index_of(asked), bundle.items.index_of(asked))
    assert items.places([]) == []


def test_ids_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "_hash", len)
    one = SharedIds.of(["aa", "b", "cc", "dd"])
    assert one.places(["dd", "cc", "aa", "b", "zz", "c", "aaa"]) == [3, 2, 0, 1, -1, -1, -1]


def test_a_bundle_served_from_files_answers_as_one_in_memory(bundle: Bundle, tmp_path: Path) -> None:
    mapped, held = serve_bundle(bundle, tmp_path / "cache"), serve_bundle(bundle)
    query = np.array(bundle.table.item_embeddings[3])
    for one, other in zip(
        mapped.live.search(query, 10, trend_weight=0.1), held.live.search(query, 10, trend_weight=0.1), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert mapped.catalogue.etag == held.catalogue.etag


@pytest.mark.parametrize("n", [1, 2, 3, 500, 4_096, 5_000])
def test_many_ids_are_found_wherever_their_hashes_fall(n: int) -> None:
    ids = [f"sku/{at * 7}" for at in range(n)]
    unknown = [f"other-{at}" for at in range(500)]
    made = SharedIds.of(ids)
    assert made.places([*ids, *unknown]) == [*range(n), *[-1] * 500]
    assert len(made) == n
