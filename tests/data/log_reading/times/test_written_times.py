"""Times value by value: every notation of a moment is that moment, and the quick reader is the plain one."""

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.log_reading.times.written_times import PLAINLY, Reading, read_written, written_column

MOMENT = 1_705_321_800_000_000  # 2024-01-15 12:30:00 UTC


def quick(texts, reading=PLAINLY):
    return pl.DataFrame({"t": texts}).select(written_column(pl.col("t"), reading))["t"].to_list()


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15 12:30:00",
        "2024-01-15T12:30:00Z",
        "2024-01-15T12:30:00+00:00",
        "2024-01-15T13:30:00+01:00",
        "2024-01-15 13:30:00+0100",
        "2024-01-15 13:30:00 +01",
        "2024-01-15 12:30:00.000000 UTC",
        "2024-01-15 12:30",
        "2024/01/15 12:30:00,000",
        "15.01.2024 12:30",
        "15/01/24 12:30",
        "15/01/2024 12:30 PM",
        "20240115123000",
        "202401151230",
        "20240115T123000Z",
        "15 Jan 2024 12:30:00",
        "15/Jan/2024:12:30:00 +0000",
        "Mon, 15 Jan 2024 12:30:00 GMT",
        "January 15, 2024 12:30",
        "1705321800",
        "1705321800.0",
        "1.7053218e9",
        "1705321800000",
        "1705321800000000",
        "1705321800000000000",
        "  2024-01-15 12:30:00 ",
    ],
)
def test_every_notation_of_a_moment_is_that_moment(text):
    assert read_written(text) == MOMENT
    assert quick([text]) == [MOMENT]


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "1970-01-01", "1899-12-30", "0024-01-15", "1700", "2024-13-01", "2024-02-30", "n/a", "", "20241301",
     "31/31/2024", "2024-01-15 25:00:00", "2024-01-15 10:00:60", "13:00 PM", "15 Foo 2024", "1e400", "99999999999999"],
)  # fmt: skip
def test_what_is_no_likely_time_is_none(text):
    assert read_written(text) is None
    assert quick([text]) == [None]


def test_a_fraction_is_kept_and_a_local_time_is_of_its_zone():
    assert read_written("2024-01-15 12:30:00.25") == MOMENT + 250_000
    zurich = Reading(timezone="Europe/Zurich")
    assert read_written("2024-01-15 13:30:00", zurich) == MOMENT
    assert read_written("2024-01-15 12:30:00Z", zurich) == MOMENT
    assert read_written("2024-03-31 02:30:00", zurich) is None  # the clocks went from 2 to 3


def test_month_first_is_for_slashes_and_not_for_dots():
    american = Reading(month_first=True)
    assert read_written("01/15/2024 12:30", american) == MOMENT
    assert read_written("15.01.2024 12:30", american) == MOMENT


PIECES = st.sampled_from(
    ["2024", "1970", "24", "01", "1", "15", "31", "02", "30", "12", "Jan", "may", "-", "/", ".", " ", "T", ":", "Z",
     "+01:00", "-0530", "UTC", "AM", "pm", ",", "00", "59", "60", ".25", "1700000000", "000", "e3", "x"]
)  # fmt: skip
BUILT = st.lists(PIECES, max_size=14).map("".join)
SHAPED = st.builds(
    "{}{}{:02}{}{:02}{}{:02}:{:02}{}{}".format,
    st.sampled_from([2024, 1999, 24, 1989]), st.sampled_from("-/."), st.integers(0, 13), st.sampled_from("-/."),
    st.integers(0, 32), st.sampled_from(["T", " ", ", ", "_"]), st.integers(0, 25), st.integers(0, 60),
    st.sampled_from(["", ":00", ":59.123456789", ":7"]), st.sampled_from(["", "Z", " UTC", "+02:00", "-0330", " pm"]),
)  # fmt: skip
EPOCHS = st.one_of(st.integers(-(10**10), 10**19).map(str), st.floats(1e8, 1e19).map(lambda x: f"{x:.3f}"))


@settings(max_examples=300)
@given(
    st.lists(st.one_of(BUILT, SHAPED, EPOCHS, st.text(max_size=8)), min_size=1, max_size=30),
    st.sampled_from(
        [Reading(), Reading("Europe/London", True), Reading(unit="ms"), Reading("America/Sao_Paulo", unit="s")]
    ),
)
@example(["2024-10-27 01:30:00", "2024-03-31 01:30:00"], Reading("Europe/London"))
def test_the_quick_reader_gives_what_the_plain_one_gives(texts, reading):
    plain = [read_written(text, reading) for text in texts]
    for text, ours, theirs in zip(texts, quick(texts, reading), plain, strict=True):
        if "." in text and ours is not None and theirs is not None:
            assert abs(ours - theirs) <= 1, text  # a float of an epoch ends at about a microsecond
        else:
            assert ours == theirs, text
