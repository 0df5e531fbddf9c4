"""A difference of two catalogue files leads to the newer one in JavaScript too, byte for byte."""

from __future__ import annotations

import base64
import json
from itertools import pairwise

from recsys.catalogue.delta import encode_delta
from recsys.catalogue.tensor_files import read_tensors, tensor_file
from tests.serving.browser.node import ROOT, node
from tests.vectors.shops import shops

PRICES = (0.0, -0.0, 1.0, 1e-5, 2.5e-7, 123456789.125, 1e15, 1e16, 1.5e22, 0.1, 1e-4)


def made_of(pairs: list[tuple[bytes, bytes]]) -> list[bytes]:
    packed = [[base64.b64encode(part).decode() for part in pair] for pair in pairs]
    made = json.loads(node(ROOT / "tests" / "vectors" / "deltas.mjs", stdin=json.dumps(packed)))
    return [base64.b64decode(file) for file in made]


def test_random_files_one_after_the_other() -> None:
    files = [base64.b64decode(shop["file"]) for shop in shops(60, seed=11)]
    files += [with_prices(files[0], PRICES), with_title(files[1], 'quote " \\ \n é \u2028 \x7f 🎁')]
    pairs = list(pairwise(files))
    assert made_of([(old, encode_delta(old, new)) for old, new in pairs]) == [new for _, new in pairs]


def with_prices(file: bytes, prices: tuple[float, ...]) -> bytes:
    """Prices that Python and JavaScript write differently, in place of the first ones."""
    tensors, texts = read_tensors(file)
    items = json.loads(texts["items"])
    items["price"][: len(prices)] = prices[: len(items["price"])]
    return tensor_file(tensors, texts | {"items": json.dumps(items, ensure_ascii=False)})


def with_title(file: bytes, title: str) -> bytes:
    tensors, texts = read_tensors(file)
    items = json.loads(texts["items"])
    items["title"][0] = title
    return tensor_file(tensors, texts | {"items": json.dumps(items, ensure_ascii=False)})
