from __future__ import annotations

import hashlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ModelError
from recsys.catalogue.catalogue import encode_catalogue
from recsys.catalogue.delta import MAX_BYTES, apply_delta, encode_delta
from recsys.catalogue.tensor_files import tensor_file
from tests.shop import make_bundle

MARK = b"OSDELTA1"
numbers = st.sampled_from([0.0, -0.0, 1.0, -1.5, 3.25, 1e-30, float(np.float32(1) / 3)])
texts = st.sampled_from(["", "a", "Thing “1”", "ü\n", '"'])


@st.composite
def files(draw: st.DrawFn, like: tuple[int, int] | None = None) -> bytes:
    """A catalogue file of few items, in which every number may be either zero."""
    n, dim = like or (draw(st.integers(1, 6)), draw(st.integers(1, 3)))
    if like is not None:
        n += draw(st.integers(-min(n - 1, 2), 2))

    def floats(*shape: int) -> np.ndarray:
        count = int(np.prod(shape))
        return np.array(draw(st.lists(numbers, min_size=count, max_size=count)), dtype=np.float32).reshape(shape)

    def column(values: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(values, min_size=n, max_size=n))

    rows = draw(st.lists(st.integers(-127, 127), min_size=n * dim, max_size=n * dim))
    items = {
        "item_id": [f"sku-{item}" for item in range(n)],
        "title": column(st.none() | texts),
        "category": column(st.none() | texts),
        "price": column(st.none() | numbers),
        "available": column(st.booleans()),
    }
    tensors = {
        "gram": floats(dim, dim),
        "mean_profile": floats(dim),
        "scale": floats(n),
        "trend": floats(n),
        "item_embeddings": np.array(rows, dtype=np.int8).reshape(n, dim),
    }
    metadata = {"bundle_version": draw(texts), "items": json.dumps(items, ensure_ascii=False), "name": draw(texts)}
    return tensor_file(tensors, metadata)


@given(files(), files())
def test_any_catalogue_is_made_of_any_other_byte_for_byte(old: bytes, new: bytes) -> None:
    """Of other sizes and dims too; 0.0 and −0.0 are two files although they are equal numbers."""
    assert apply_delta(old, encode_delta(old, new)) == new


@given(st.data())
def test_a_catalogue_with_changed_rows_and_more_or_fewer_items_comes_back(data: st.DataObject) -> None:
    old, new = data.draw(files((4, 3))), data.draw(files((4, 3)))
    assert apply_delta(old, encode_delta(old, new)) == new


def catalogue(folder: Path, seed: int = 0, n_items: int = 40, dim: int = 8) -> bytes:
    return encode_catalogue(make_bundle(folder / f"b{seed}-{n_items}-{dim}", seed=seed, n_items=n_items, dim=dim))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    folder = tmp_path_factory.mktemp("pair")
    return catalogue(folder), catalogue(folder, seed=1)


def test_equal_catalogues_differ_by_next_to_nothing(tmp_path: Path) -> None:
    file = catalogue(tmp_path, n_items=400)
    assert len(encode_delta(file, file)) < 300


def test_a_change_of_one_percent_of_the_prices_costs_bytes_for_those_alone(tmp_path: Path) -> None:
    """40 of 4,000 items: a place (≤ 5 digits) and a price (≤ 8) each, 40 · 15 = 600 bytes before compression."""
    bundle = make_bundle(tmp_path / "b", n_items=4_000, dim=16)
    old = encode_catalogue(bundle)
    price = bundle.catalogue["price"].to_list()
    for place in range(0, 4_000, 100):
        price[place] = 9.99
    frame = bundle.catalogue.with_columns(price=pl.Series(price))
    object.__setattr__(bundle, "catalogue", frame)
    new = encode_catalogue(bundle)
    delta = encode_delta(old, new)
    assert apply_delta(old, delta) == new
    assert len(delta) < 300 + 600


def test_small_moves_of_all_rows_cost_less_than_the_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    V = rng.normal(size=(1_000, 64)).astype(np.float32)
    moved = V + rng.normal(0, 0.01, V.shape).astype(np.float32)
    trend = np.zeros(1_000, np.float32)
    old, new = (
        encode_catalogue(make_bundle(tmp_path / str(at), n_items=1_000, dim=64, embeddings=table, trend=trend))
        for at, table in enumerate((V, moved))
    )
    assert len(encode_delta(old, new)) < 0.45 * len(zlib.compress(new, 6))


def packed(header: object, raw: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return zlib.compress(MARK + struct.pack("<Q", len(text)) + text + raw)


def header_of(pair: tuple[bytes, bytes], **changed: object) -> dict[str, object]:
    content = zlib.decompress(encode_delta(*pair))
    (length,) = struct.unpack_from("<Q", content, 8)
    return json.loads(content[16 : 16 + length]) | changed


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_delta_is_one_clear_error(pair: tuple[bytes, bytes], data: st.DataObject) -> None:
    delta = bytearray(encode_delta(*pair))
    cut = data.draw(st.integers(0, len(delta) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "more"]))
    if how == "flip":
        delta[cut] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del delta[cut:]
    else:
        delta += b"x"
    try:
        found = apply_delta(pair[0], bytes(delta))
    except ModelError:
        return
    assert found == pair[1]  # a bit of the stream that means nothing


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(["order", "texts", "names", "items", "tensors", "to"]), value=JSON)
def test_a_delta_whose_head_is_nonsense_is_one_clear_error(pair: tuple[bytes, bytes], name: str, value: object) -> None:
    with pytest.raises(ModelError, match=r"^delta: "):
        apply_delta(pair[0], packed(header_of(pair, **{name: value})))


@pytest.mark.parametrize(
    "tensors",
    [
        [["item_embeddings", "int8", [2**40, 2**40]]],
        [["item_embeddings", "int8", [-1, -40]]],
        [["item_embeddings", "int8", []]],
        [["item_embeddings", "object", [1]]],
        [["item_embeddings", "float32", [2**62]]],
    ],
)
def test_a_tensor_larger_than_the_delta_is_refused_before_it_is_made(pair, tensors) -> None:
    with pytest.raises(ModelError, match=r"^delta: "):
        apply_delta(pair[0], packed(header_of(pair, tensors=tensors)))


def test_nested_json_is_one_clear_error(pair: tuple[bytes, bytes]) -> None:
    deep = b"[" * 200_000
    with pytest.raises(ModelError, match="RecursionError"):
        apply_delta(pair[0], zlib.compress(MARK + struct.pack("<Q", len(deep)) + deep))


def test_a_bomb_is_given_up_at_the_bound(pair: tuple[bytes, bytes]) -> None:
    squeezed = zlib.compressobj(9)
    bomb = b"".join(squeezed.compress(bytes(2**24)) for _ in range(MAX_BYTES // 2**24 + 1)) + squeezed.flush()
    assert len(bomb) < 2**20
    with pytest.raises(ModelError, match="not a delta"):
        apply_delta(pair[0], bomb)


def test_a_delta_of_another_catalogue_is_refused(pair: tuple[bytes, bytes]) -> None:
    with pytest.raises(ModelError, match="not for the catalogue at hand"):
        apply_delta(pair[1], encode_delta(*pair))


def test_a_delta_for_a_file_that_is_none_is_one_clear_error(pair: tuple[bytes, bytes]) -> None:
    held = b"not a catalogue"
    head = header_of(pair) | {"from": hashlib.sha256(held).hexdigest()}
    with pytest.raises(ModelError, match=r"^delta: "):
        apply_delta(held, packed(head))


def test_a_delta_that_gives_another_file_than_it_promises_is_refused(pair: tuple[bytes, bytes]) -> None:
    content = bytearray(zlib.decompress(encode_delta(*pair)))
    content[-1] ^= 1
    with pytest.raises(ModelError, match="promises"):
        apply_delta(pair[0], zlib.compress(bytes(content)))


def test_other_dims_are_sent_whole(tmp_path: Path) -> None:
    old, new = catalogue(tmp_path), catalogue(tmp_path, dim=6)
    delta = encode_delta(old, new)
    assert apply_delta(old, delta) == new
    assert len(delta) < len(zlib.compress(new)) + 400
