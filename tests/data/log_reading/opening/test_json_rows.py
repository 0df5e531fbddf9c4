"""JSON: the plain reader and polars' give the same rows of every file that polars reads; others are read plainly."""

import json

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.log_reading.opening.json_files import open_json
from data.log_reading.opening.json_rows import lookup, parse, plain_rows, read_records, text_of
from data.log_reading.opening.source import LINE

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**18), 10**18),
    st.integers(-(10**12), 10**12).map(lambda n: n / 8),  # no float whose shortest digits are a tie
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=2), inner, max_size=2)),
    max_leaves=4,
)
RECORDS = st.lists(st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES, "c": SCALARS}), min_size=1, max_size=8)


@settings(max_examples=150)
@given(RECORDS.filter(lambda records: any(records)))
@example([{"a": ['x"y', "\n\r\\"]}])
def test_both_readers_give_the_same_rows(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("json") / "log.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    source = open_json(path, path.name, path.read_bytes(), frozenset(), "", None)
    assert source.patient is not None, "polars was not asked"
    quick = source.frame.select(LINE, *source.columns).collect().rows()
    assert quick == [tuple(row) for row in plain_rows(path, source.columns)]


@given(RECORDS, st.sampled_from(["lines", "array", "object", "pretty"]))
def test_an_object_is_the_same_wherever_it_stands(tmp_path_factory, records, form):
    path = tmp_path_factory.mktemp("json") / "log.json"
    text = {
        "lines": "\n".join(map(json.dumps, records)),
        "array": json.dumps(records),
        "object": '{\n"rows": ' + json.dumps(records) + "}",
        "pretty": json.dumps(records, indent=2),
    }[form]
    path.write_text(text)
    assert [record for _, record in read_records(path)] == records


def test_an_array_larger_than_a_buffer_is_read_with_its_lines(tmp_path):
    records = [{"a": "x" * 1_000, "b": k} for k in range(300)]
    path = tmp_path / "log.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]")
    assert list(read_records(path)) == [(k + 2, record) for k, record in enumerate(records)]


@pytest.mark.parametrize(
    "text", ["NaN", '{"a": NaN}', '{"a": 1e999}', "[1]", "null", '{"a":', '{"a": 1} x', "[" * 100_000, "{'a': 1}"]
)
def test_what_is_no_object_is_none(text):
    assert parse(text) is None


def test_a_broken_line_a_blank_one_and_half_a_surrogate_are_read_plainly(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": "\\ud800"}\n\n{"a": \n{"a": "ok"}\n')
    source = open_json(path, path.name, path.read_bytes(), frozenset(), "", None)
    assert source.frame.collect().rows() == [(1, "\ufffd"), (3, None), (4, "ok")]


def test_dotted_paths_step_into_objects_and_lists():
    record = {"a": {"b": [{"c": 1}]}, "x.y": 2}
    assert (lookup(record, "a.b.0.c"), lookup(record, "x.y"), lookup(record, "a.z"), lookup(record, "a.b.7")) == (
        1, 2, None, None,
    )  # fmt: skip


def test_text_is_what_polars_writes():
    values = [1.0, -0.0, 1e22, 1e-7, True, None, [1.0, None, "x"], {"b": 1.5}]
    frame = pl.read_ndjson("\n".join(json.dumps({"v": value}) for value in values).encode(), schema={"v": pl.String})
    assert frame["v"].to_list() == [text_of(value) for value in values]
