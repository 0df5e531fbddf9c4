"""Csv: polars reads the rows that the standard library reads, whatever stands between the quotes."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import read_log
from data.log_reading.opening.sources import open_source

FIELD = st.text('ab,;"\n \u20ac1', max_size=5)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_a_csv_that_a_program_wrote_is_read_as_it_was_written(tmp_path_factory, rows, quoting):
    text = io.StringIO()
    writer = csv.writer(text, quoting=quoting, lineterminator="\n")
    writer.writerows([("a", "b", "c"), *rows])
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    path.write_text(text.getvalue())
    source = open_source(path, separators=(",",))
    if source.rows is not None:
        assert source.rows == len(rows)
    found = source.frame.select("a", "b", "c").collect().rows()
    assert [tuple(field or "" for field in row) for row in found] == rows
    assert (
        source.patient is None
        or [
            tuple(field or "" for field in row) for row in source.patient().frame.select("a", "b", "c").collect().rows()
        ]
        == rows
    )


@pytest.mark.parametrize("ending", ["\n", "\r\n", ""])
def test_rows_are_counted_by_the_ends_of_lines(tmp_path, ending):
    path = tmp_path / "log.csv"
    path.write_bytes(("user,item,time\nu,a,2024-01-01\nu,b,2024-01-02" + ending).encode())
    assert open_source(path, separators=(",",)).rows == 2
    assert read_log(path).summary["rows"] == 2
