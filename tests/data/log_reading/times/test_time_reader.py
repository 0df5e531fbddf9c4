"""Times: every written form of the same moment is the same number; ambiguity is an error, never a guess."""

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.log_reading.times.time_reader import read_times, time_column

MOMENT = 1_704_103_205_000_000  # 2024-01-01 10:00:05 UTC


def micros(values, **options) -> list[int | None]:
    column = values if isinstance(values, pl.Series) else pl.Series(values)
    settings = {"form": None, "likely": (), "unit": None, "timezone": "UTC", **options}
    reader = read_times(pl.col("t"), column, **settings).settled(column.alias("t").to_frame().lazy())
    return column.alias("t").to_frame().select(reader.micros)["t"].to_list()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01 10:00:05",
        "2024-01-01 10:00:05 UTC",
        "2024-01-01T10:00:05",
        "2024-01-01T10:00:05Z",
        "2024-01-01T10:00:05.000Z",
        "2024-01-01T12:00:05+02:00",
        "2024-01-01T12:00:05.000+0200",
        "2024-01-01 05:00:05-05:00",
        "2024-01-01 10:00:05.000",
        "1704103205",
        "1704103205.0",
        "1704103205000",
        "1704103205000000",
        "1704103205000000000",
    ],
)
def test_written_forms_of_one_moment_are_one_number(text):
    assert micros([text]) == [MOMENT]


@pytest.mark.parametrize(
    "value",
    [
        datetime(2024, 1, 1, 10, 0, 5),
        datetime(2024, 1, 1, 10, 0, 5, tzinfo=UTC),
        datetime(2024, 1, 1, 19, 0, 5, tzinfo=timezone(timedelta(hours=9))),
        1704103205,
        1704103205.0,
        1704103205000,
        1704103205000000,
    ],
)
def test_typed_forms_of_one_moment_are_one_number(value):
    assert micros([value]) == [MOMENT]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_every_resolution_of_a_typed_column_is_one_number(unit):
    assert micros(pl.Series([datetime(2024, 1, 1, 10, 0, 5)]).cast(pl.Datetime(unit))) == [MOMENT]


def test_a_date_is_its_midnight():
    assert micros([date(1970, 1, 2)]) == micros(["1970-01-02"]) == [86_400_000_000]


def test_local_times_are_utc_unless_told_and_the_clock_change_is_accounted_for():
    # In London 01:30 happened twice on 2024-10-27 (first at UTC+1) and never on 2024-03-31.
    values = ["2024-07-01 12:00:00", "2024-10-27 01:30:00", "2024-03-31 01:30:00"]
    hour = 3_600_000_000
    summer, twice, never = micros(values, timezone="Europe/London")
    plain = micros(values)
    assert summer == plain[0] - hour
    assert twice == plain[1] - hour
    assert never is None


def test_an_offset_wins_over_the_time_zone():
    assert micros(["2024-01-01T10:00:05Z"], timezone="Asia/Tokyo") == [MOMENT]


def test_day_and_month_are_not_guessed():
    with pytest.raises(DataError, match=r"every date fits '%d/%m/%Y %H:%M' and '%m/%d/%Y %H:%M'"):
        micros(["03/04/2024 10:00", "04/05/2024 10:00"])
    assert micros(["03/04/2024 10:00", "13/05/2024 10:00"])[0] == micros(["2024-04-03"])[0] + 36_000_000_000
    assert micros(["03/04/2024 10:00"], form="%m/%d/%Y %H:%M") == [micros(["2024-03-04"])[0] + 36_000_000_000]


def test_year_month_and_day_may_be_columns_of_their_own():
    frame = pl.DataFrame({"y": [1970], "m": [1], "d": [2]})
    assert frame.select(time_column("y+m+d"))["y"].to_list() == ["1970-01-02"]


@given(st.lists(st.integers(7 * 10**8, 4 * 10**9), min_size=1), st.sampled_from(["s", "ms", "us", "ns"]))
def test_the_unit_of_epochs_is_explicit_or_inferred_by_size(seconds, unit):
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    values = [second * scale for second in seconds]
    wanted = [second * 10**6 for second in seconds]
    assert micros(values, unit=unit) == micros(values) == micros([str(value) for value in values]) == wanted


def test_the_inferred_unit_is_told():
    reader = read_times(pl.col("t"), pl.Series([1704103205000]), form=None, likely=(), unit=None, timezone="UTC")
    assert reader.words == "epoch in ms (inferred from values near 1.704e+12)"


def test_values_out_of_range_are_unreadable_and_do_not_wrap_around():
    assert micros([1704103205, 2**62], unit="s") == [MOMENT, None]
    assert micros(["1704103205", "99999999999999999999", "soon"], unit="s") == [MOMENT, None, None]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1, 2, 3], {}, "no epoch; say time_unit="),
        (["soon"], {}, "'soon' fits no known format"),
        (["2024-01-01"], {"form": "%d.%m.%Y"}, "does not fit time_format='%d.%m.%Y'"),
        ([None, None], {}, "no time at all"),
        ([True], {}, "type Boolean is no time"),
        ([1704103205], {"unit": "h"}, "time_unit='h': must be one of s, ms, us, ns"),
        (["2024-01-01"], {"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus'"),
    ],
)
def test_times_that_cannot_be_read_say_what_to_do(values, options, message):
    with pytest.raises(DataError, match=message):
        micros(values, **options)


@pytest.mark.parametrize(
    ("values", "moment"),
    [
        (["20240101100005"], MOMENT),
        (["20240101"], MOMENT - 36_005_000_000),
        ([20240101], MOMENT - 36_005_000_000),
        ([20240101100005], MOMENT),
    ],
)
def test_digits_that_are_a_date_are_no_epoch(values, moment):
    assert micros(values) == [moment]


def test_what_the_caller_says_wins_over_how_a_column_looks():
    assert micros(["20240101100005"], form="%Y%m%d%H%M%S") == [MOMENT]
    assert micros(["20240101"], form="%Y%m%d") == micros([20240101], form="%Y%m%d") == [MOMENT - 36_005_000_000]
    with pytest.raises(DataError, match="%Z has names that mean several zones"):
        micros(["2024-01-01 10:00:05 CET"], form="%Y-%m-%d %H:%M:%S %Z")


def test_impossible_pasts_are_no_times_unless_the_caller_says_how_they_are_written():
    assert micros(["2024-01-01 10:00:05", "1970-01-01 00:00:00", "1899-12-30 00:00:00"]) == [MOMENT, None, None]
    assert None not in micros(["1985-06-01", "1984-01-01"])  # a log of that time
    assert micros([1_704_103_205_000] * 3 + [1_704_103_205, 0]) == [MOMENT] * 3 + [None, None]
    assert micros([1_704_103_205_000, 0], unit="ms") == [MOMENT, 0]
