"""Sources that look odd and must neither shift a column, nor guess, nor end in a traceback."""

import json

import pandas as pd
import polars as pl
import pytest

from data.errors import DataError
from data.interactions import EventKind
from data.log_reading.ingest import ingest


def written(folder, text, name="log.csv"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("quoted", ['"name, full"', '"name\nfull"', '"a ""b"", c"'])
def test_a_quoted_name_with_a_separator_or_a_line_end_shifts_no_column(tmp_path, quoted):
    text = f"user,item,time,{quoted},quantity,price\nu,a,2024-01-01,hello,3,9.99\nu,b,2024-01-02,x,,bad\n"
    dataset = ingest(written(tmp_path, text))
    assert dataset.events["quantity"].to_list() == [3.0]
    assert dataset.events["price"].to_list() == [9.99]
    line = 3 + quoted.count("\n")
    assert dataset.rejects.rows() == [(line, "price is not a number", "bad")]


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    dataset = ingest(written(tmp_path, "\n  \nuser,item,time\nu,a,2024-01-01\nu,,2024-01-01\n"))
    assert len(dataset.events) == 1
    assert dataset.rejects.rows() == [(5, "item is missing", None)]


def test_a_separator_is_counted_outside_of_quotes(tmp_path):
    dataset = ingest(written(tmp_path, 'user;item;time;"a,b,c,d,e"\nu;a;2024-01-01;x\n'))
    assert dataset.events["a,b,c,d,e"].to_list() == ["x"]


def test_a_quote_that_belongs_to_a_name_ends_with_its_line(tmp_path):
    rows = "".join(f"u,a{row},2024-01-01,x\n" for row in range(100))
    dataset = ingest(written(tmp_path, 'user,item,time,"size 5\n' + rows))
    assert len(dataset.events) == 100
    assert dataset.events["size 5"].to_list() == ["x"] * 100


def dates(rows):
    return "user,item,time\n" + "".join(f"u{row},a,{moment}\n" for row, moment in enumerate(rows))


def test_day_and_month_are_told_by_rows_far_down(tmp_path):
    open_ = [f"01/01/2024 10:{minute % 60:02}" for minute in range(1_100)]
    american = ingest(written(tmp_path, dates([*open_, "01/02/2024 10:00", "01/13/2024 10:00"])))
    assert str(american.events["time"].max()) == "2024-01-13 10:00:00+00:00"
    british = ingest(written(tmp_path, dates([*open_, "01/02/2024 10:00", "13/01/2024 10:00"])))
    assert str(british.events["time"].max()) == "2024-02-01 10:00:00+00:00"
    assert len(american.rejects) == len(british.rejects) == 0


def test_day_and_month_that_nothing_tells_are_an_error_and_not_a_guess(tmp_path):
    open_ = [f"01/01/2024 10:{minute % 60:02}" for minute in range(1_100)]
    with pytest.raises(DataError, match="say which by time_format="):
        ingest(written(tmp_path, dates([*open_, "01/02/2024 10:00", "01/09/2024 10:00"])))
    same = ingest(written(tmp_path, dates(open_)))  # either way the same days
    assert str(same.events["time"].max())[:10] == "2024-01-01"


@pytest.mark.parametrize("moment", ["0000-01-01", "-200000000000", "10000-01-01"])
def test_a_time_that_no_calendar_has_is_one_bad_row(tmp_path, moment):
    dataset = ingest(written(tmp_path, f"user,item,time\nu,a,{moment}\nu,b,2024-01-01\n"))
    assert dataset.rejects.rows() == [(2, "time is not readable", moment)]


def test_typed_times_that_no_calendar_has_are_bad_rows():
    times = pl.Series([-(10**17), 0], dtype=pl.Datetime("us"))
    dataset = ingest(pl.DataFrame({"user": ["u", "u"], "item": ["a", "b"], "time": times}))
    assert len(dataset.events) == len(dataset.rejects) == 1


@pytest.mark.parametrize(
    ("word", "truth"),
    [("1.0", True), ("Y", True), ("in stock", True), ("TRUE", True), ("2", True), ("", True),
     ("0", False), ("0.0", False), ("No", False), ("out of stock", False), ("f", False)],
)  # fmt: skip
def test_availability_is_read_in_its_usual_words(tmp_path, word, truth):
    items = written(tmp_path, f"item,available\nx,{word}\ny,1\n", "items.csv")
    dataset = ingest(written(tmp_path, "user,item,time\nu,x,2024-01-01\n"), items=items)
    assert dataset.catalogue["available"].to_list() == [truth, True]


def test_availability_of_pandas_with_gaps_is_read():
    items = pd.DataFrame({"item": ["x", "y"], "available": [1, None]})
    log = pd.DataFrame({"user": ["u", "u"], "item": ["x", "y"], "time": ["2024-01-01"] * 2})
    assert ingest(log, items=items).catalogue["available"].to_list() == [True, True]


def test_another_word_for_availability_is_an_error_that_names_it(tmp_path):
    items = written(tmp_path, "item,available\nx,perhaps\n", "items.csv")
    with pytest.raises(DataError, match="available='perhaps': must be one of true"):
        ingest(written(tmp_path, "user,item,time\nu,x,2024-01-01\n"), items=items)


def test_a_field_that_first_occurs_far_down_a_jsonl_counts(tmp_path):
    lines = [
        json.dumps({"user": 1, "item": 2, "time": 1_704_000_000 + 60 * n, "event": "purchase"}) for n in range(1_500)
    ]
    lines.append(json.dumps({"user": 1, "item": 2, "time": 1_704_200_000, "event": "purchase", "quantity": -1}))
    dataset = ingest(written(tmp_path, "\n".join(lines), "log.jsonl"))
    assert dataset.summary["cancellations"] == 1
    mapped = [*lines[:-1], json.dumps({"user": 1, "item": 2, "time": 1_704_200_000, "event": "purchase", "units": -1})]
    found = ingest(written(tmp_path, "\n".join(mapped), "log.jsonl"), mapping={"quantity": "units"})
    assert found.summary["cancellations"] == 1


def test_ids_that_are_hashes_of_64_bits_are_kept():
    ids = pl.Series([2**64 - 1, 1, 2**63], dtype=pl.UInt64)
    dataset = ingest(pl.DataFrame({"user": ids, "item": ids, "time": ["2024-01-01"] * 3}))
    assert set(dataset.items.ids) == {str(2**64 - 1), "1", str(2**63)}


@pytest.mark.parametrize("where", ["log", "items"])
def test_a_list_where_a_word_should_be_is_one_clear_error(where):
    log = pl.DataFrame({"user": ["u"], "item": ["x"], "time": ["2024-01-01"]})
    lists = pl.Series("category", [["c", "d"]])
    items = pl.DataFrame({"item": ["x"]})
    sources = {"log": (log.with_columns(lists), items), "items": (log, items.with_columns(lists))}
    with pytest.raises(DataError, match="source="):
        ingest(sources[where][0], items=sources[where][1])


@pytest.mark.parametrize("name", ["__more", "__line"])
def test_a_column_may_have_any_name(tmp_path, name):
    dataset = ingest(written(tmp_path, f"user,item,time,{name}\nu,a,2024-01-01,7\n"))
    assert dataset.events[name].to_list() == ["7"]


def test_item_ids_that_no_address_can_carry_are_bad_rows():
    items = ["x" * 128, "y" * 129, "a\nb"]
    dataset = ingest(pl.DataFrame({"user": ["u"] * 3, "item": items, "time": ["2024-01-01"] * 3}))
    assert list(dataset.items.ids) == ["x" * 128]
    assert [reason for _, reason, _ in dataset.rejects.rows()] == [
        "item_id is longer than 128 characters or has a line end or control character"
    ] * 2
    assert dataset.events["kind"].to_list() == [EventKind.VIEW.name.lower()]
