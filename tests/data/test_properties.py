from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import properties
from data.errors import DataError
from data.properties import as_of, read_properties

START = datetime(2015, 5, 1, tzinfo=UTC)


def table(rows):
    schema = properties.SCHEMA
    found = [(item, name, value, START + timedelta(seconds=second)) for item, name, value, second in rows]
    return pl.DataFrame(found, schema=schema, orient="row").lazy()


def events(rows):
    moments = [START + timedelta(seconds=second) for _, second in rows]
    return pl.DataFrame({"item_id": [item for item, _ in rows], "time": moments}).with_columns(
        pl.col("item_id").cast(pl.String), pl.col("time").cast(pl.Datetime("us", "UTC"))
    )


def test_retailrockets_files_are_read_as_published_and_joined_as_of_each_event(tmp_path):
    header = "timestamp,itemid,property,value\n"
    (tmp_path / "item_properties_part1.csv").write_text(
        header + "1433041200000,206783,888,1116713 960601 n277.200\n1431226800000,355908,available,0\n"
    )
    (tmp_path / "item_properties_part2.csv").write_text(header + "1433646000000,355908,available,1\n")
    parts = sorted(tmp_path.iterdir())
    known = read_properties(parts, properties=["available"])
    assert known.collect()["value"].to_list() == ["0", "1"]
    seen = pl.DataFrame(
        {"item_id": ["355908"] * 4, "time": [1431226799999, 1433646000000, 1433645999999, 1431226800000]}
    )
    seen = seen.with_columns(pl.from_epoch("time", time_unit="ms").dt.replace_time_zone("UTC").dt.cast_time_unit("us"))
    assert as_of(seen, known, ["available"])["available"].to_list() == [None, "1", "0", "0"]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("pq"), st.integers(0, 20)), max_size=25),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), max_size=25),
)
def test_a_later_value_is_never_joined_and_the_last_known_one_always_is(changes, seen):
    numbered = [(item, name, str(row), second) for row, (item, name, second) in enumerate(changes)]
    joined = as_of(events(seen), table(numbered), ["p"])
    assert joined.select("item_id", "time").equals(events(seen))
    for (item, second), value in zip(seen, joined["p"].to_list(), strict=True):
        known = [row for row in numbered if row[0] == item and row[1] == "p" and row[3] <= second]
        assert value == (max(known, key=lambda row: (row[3], int(row[2])))[2] if known else None)


def test_slices_change_nothing(monkeypatch):
    changes = table([("a", "p", str(second), second) for second in range(0, 60, 7)])
    seen = events([("a", (37 * row) % 60) for row in range(50)])
    whole = as_of(seen, changes, ["p"])
    monkeypatch.setattr(properties, "SLICE", 7)
    assert as_of(seen, changes, ["p"]).equals(whole)


def test_what_cannot_be_joined_is_one_clear_error(tmp_path):
    (tmp_path / "p.csv").write_text("when,itemid,property,value\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"p.csv: needs one column each for valid_from \(known as timestamp"):
        read_properties([tmp_path / "p.csv"])
    with pytest.raises(DataError, match="must name at least one file"):
        read_properties([])
    with pytest.raises(DataError, match="names='time': the events have a column"):
        as_of(events([]), table([]), ["time"])
