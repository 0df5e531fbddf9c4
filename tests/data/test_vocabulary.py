import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.vocabulary import Vocabulary

ids = st.lists(st.text(max_size=4), max_size=30)


def test_index_of_finds_known_ids_and_says_minus_one_for_others():
    vocabulary = Vocabulary(("b", "a"))
    assert vocabulary.index_of(["a", "x", "b"]).tolist() == [1, -1, 0]
    assert vocabulary.index_of(["a"]).dtype == np.int32
    assert vocabulary.ids[0] == "b"
    assert len(vocabulary) == 2


def test_many_ids_are_found_as_few_are():
    vocabulary = Vocabulary([f"i{k}" for k in range(3_000)])
    wanted = [f"i{k}" for k in (2_999, 5_000, 0)] * 700
    assert vocabulary.index_of(wanted).tolist() == [2_999, -1, 0] * 700


def test_ids_are_strings_not_numbers():
    assert Vocabulary(("007", "7")).index_of(["7", "007"]).tolist() == [1, 0]


@given(ids, ids)
def test_growing_never_renumbers(old, new):
    first = Vocabulary(list(dict.fromkeys(old)))
    grown = first.extend(new)
    assert grown.ids.to_list() == list(dict.fromkeys(old + new))
    assert grown.ids.to_list()[: len(first)] == first.ids.to_list()


@given(ids, ids)
def test_hash_tells_content_and_order(one, other):
    a, b = Vocabulary(list(dict.fromkeys(one))), Vocabulary(list(dict.fromkeys(other)))
    assert (a.hash == b.hash) == (a.ids.to_list() == b.ids.to_list()) == (a == b)


def test_hash_is_not_fooled_by_joining():
    assert Vocabulary(("ab", "c")).hash != Vocabulary(("a", "bc")).hash


def test_nulls_and_repeated_ids_are_refused():
    with pytest.raises(DataError, match="occurs twice"):
        Vocabulary(("a", "b", "a"))
    with pytest.raises(DataError, match="1 nulls"):
        Vocabulary(pl.Series(["a", None]))


def test_one_id_is_no_list_of_its_letters():
    with pytest.raises(DataError, match=r"ids='12': must be a list of ids, such as \['12'\]"):
        Vocabulary(["1", "2", "12"]).index_of("12")
