from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from data.errors import ModelError
from recsys.catalogue.attribute_columns import decode_attributes, encode_attributes, select_attributes

FRAME = pl.DataFrame(
    {
        "brand": ["oak", None, "elm", "oak"],
        "size": [38, 36, None, 38],
        "weight": [1.5, float("nan"), None, 2.0],
        "new": [True, None, False, True],
        "tags": [["a"], [], None, ["b"]],
        "nothing": [None, None, None, None],
    }
)


def test_columns_come_back_as_they_were_in_one_byte_an_item() -> None:
    selected = select_attributes(FRAME, ["brand", "size", "weight", "new"])
    tensors, meaning = encode_attributes(selected)
    assert {name: tensor.dtype for name, tensor in tensors.items()} == dict.fromkeys(tensors, np.dtype(np.uint8))
    assert tensors["attribute_0"].tolist() == [2, 0, 1, 2]
    assert meaning[0] == {"name": "brand", "kind": "text", "values": ["elm", "oak"]}
    assert_frame_equal(decode_attributes(meaning, tensors, 4), selected)
    assert selected["weight"].to_list() == [1.5, None, None, 2.0]


def test_what_no_filter_can_name_is_left_out() -> None:
    assert select_attributes(FRAME, ["tags", "nothing", "colour"]).columns == []


def test_many_values_take_two_bytes() -> None:
    tensors, meaning = encode_attributes(pl.DataFrame({"sku": [f"s{n:04d}" for n in range(300)]}))
    assert tensors["attribute_0"].dtype == np.uint16
    assert decode_attributes(meaning, tensors, 300)["sku"].to_list() == [f"s{n:04d}" for n in range(300)]


@pytest.mark.parametrize(
    "meaning",
    [{}, [{}], [{"name": "a", "kind": "list", "values": []}], [{"name": "a", "kind": "number", "values": ["x"]}],
     [{"name": "a", "kind": "text", "values": ["x"]}]],
)  # fmt: skip
def test_impossible_columns_are_refused(meaning: object) -> None:
    with pytest.raises(ModelError, match="attributes"):
        decode_attributes(meaning, {"attribute_0": np.array([0, 2], dtype=np.uint8)}, 2)
