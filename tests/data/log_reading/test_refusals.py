"""Lines of refused rows are those of the file, however many rows are looked at at a time."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from data.log_reading.log_source import LogOptions, open_log, read_planned
from data.log_reading.refusals import placed, refusals

TEXT = (
    "user_id,item_id,time,note\n,a,2024-01-01,x\n"
    'u1,a,2024-01-01,"two\nlines"\n,b,2024-01-01,"three\n\nlines"\n,c,never,y\n'
)


def test_only_refused_rows_and_rows_with_line_ends_are_collected(tmp_path):
    (tmp_path / "log.csv").write_text(TEXT + "u1,c,2024-01-01,z\n" * 5)
    _, found = read_planned(open_log(tmp_path / "log.csv", LogOptions()), lambda plan: (plan, refusals(plan).collect()))
    assert found["breaks"].to_list() == [0, 1, 2, 0]
    refused, breaks = placed(found)
    assert refused.rows() == [(2, "user is missing", None), (5, "user is missing", None), (8, "user is missing", None)]
    assert breaks == 3


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=20), st.integers(1, 7))
def test_pieces_of_rows_have_the_lines_of_the_whole(rows, size):
    reasons = ["odd" if refused else None for refused, _ in rows]
    frame = pl.DataFrame(
        {"line": range(2, len(rows) + 2), "reason": reasons, "value": "x", "breaks": [breaks for _, breaks in rows]},
        schema={"line": pl.Int64, "reason": pl.String, "value": pl.String, "breaks": pl.Int64},
    )
    expected, line = [], 2
    for refused, breaks in rows:
        expected += [line] if refused else []
        line += 1 + breaks
    lines, before = [], 0
    for start in range(0, len(rows), size):
        told, before = placed(frame[start : start + size], before)
        lines += told["line"].to_list()
    assert lines == placed(frame)[0]["line"].to_list() == expected
    assert before == sum(breaks for _, breaks in rows)
