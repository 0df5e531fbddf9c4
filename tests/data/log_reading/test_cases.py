"""Small logs that once went wrong, each in a file of its own: what is right is read, what is not is accounted for."""

import bz2
import gzip
import json
import math
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from data.dataset import Dataset, read_log
from data.errors import DataError
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder

CASES = Path(__file__).parents[1] / "cases"


def both(source, tmp_path, **options):
    """The dataset of a log, which is the same in one piece and in three."""
    dataset = read_log(source, **options)
    made = ingest_folder(source, tmp_path / "cut", LogOptions(**options), partitions=3)
    assert made.hash == dataset.hash
    assert made.summary == dataset.summary
    told = dataset.summary
    refused = sum(told["rejected"].values())
    assert told["rows"] == told["events"] + told["duplicates"] + told["cancellations"] + refused
    assert len(dataset.rejects) == refused
    return dataset


def moments(dataset):
    return [moment.strftime("%F %T") for moment in dataset.events["time"].sort()]


def rows_of(*moments, header="user_id,item_id,timestamp"):
    return "\n".join([header, *(f"u{k},i,{moment}" for k, moment in enumerate(moments))]) + "\n"


def test_a_fraction_that_begins_after_a_thousand_rows_is_read(tmp_path):
    dataset = both(CASES / "r1_fraction_after_1000.csv", tmp_path)
    assert dataset.summary["events"] == 6_000
    assert (
        "time: it is written in more than one way; each value was read by its own notation" in dataset.summary["notes"]
    )


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("2024-01-15T00:00:{:02}Z", "2024-01-15T01:00:{:02}+00:00"),
        ("17052768{:02}", "17052769{:02}.5"),
        ("2024-01-15 00:00:{:02} UTC", "2024-01-15 01:00:{:02}.123456 UTC"),
        ("2024-01-15 00:00:{:02}", "15.01.2024 13:00:{:02}"),
        ("2024-01-15 00:00:{:02}", "17052768{:02}"),
        ("n/a{}", "2024-01-15 00:00:{:02}"),
    ],
)
def test_rows_written_otherwise_than_the_first_thousand_are_read(tmp_path, first, then):
    path = tmp_path / "log.csv"
    path.write_text(
        rows_of(*(first.format(k % 60) for k in range(1_000)), *(then.format(k % 60) for k in range(5_000)))
    )
    dataset = both(path, tmp_path, max_refused=1.0)
    assert dataset.summary["events"] == (5_000 if first.startswith("n/a") else 6_000)


def test_offsets_may_be_mixed(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(rows_of("2024-01-15T12:00:00Z", "2024-01-15T12:00:00+00:00", "2024-01-15T13:00:00+01:00"))
    assert moments(both(path, tmp_path)) == ["2024-01-15 12:00:00"] * 3


def test_a_compact_time_is_read_with_and_without_its_format(tmp_path):
    for options in ({"time_format": "%Y%m%d%H%M%S"}, {}):
        dataset = both(CASES / "r2_yyyymmddhhmmss.csv", tmp_path, **options)
        assert moments(dataset) == ["2024-01-15 12:30:00", "2024-01-16 12:30:00"]
    (tmp_path / "days.csv").write_text(rows_of("20240115"))
    for options in ({"time_format": "%Y%m%d"}, {}):
        assert moments(both(tmp_path / "days.csv", tmp_path, **options)) == ["2024-01-15 00:00:00"]


def test_a_price_that_json_lacks_is_none_and_told(tmp_path):
    dataset = both(CASES / "r3_log.csv", tmp_path, items=CASES / "r3_items.csv")
    assert dataset.catalogue.sort("item_id")["price"].to_list() == [None, 12.5, None, 5.0, 1299.0, 7.0]
    json.dumps(dataset.catalogue.to_dicts(), allow_nan=False)
    assert (
        "items: price: 2 values are no price ('1e400', '-4'); the price of these is unknown" in dataset.summary["notes"]
    )


def test_a_row_whose_item_is_a_list_is_refused_with_its_line(tmp_path):
    dataset = both(CASES / "r4_lost_row.jsonl", tmp_path)
    assert dataset.summary["events"] == 1
    assert [(line, reason) for line, reason, _ in dataset.rejects.rows()] == [(1, "item is a list or an object")]
    short = tmp_path / "short.jsonl"
    short.write_text(
        '{"user_id":"u","item_id":["a"],"time":1705276800}\n{"user_id":"u","item_id":"b","time":1705276800}\n'
    )
    assert both(short, tmp_path).items.ids.to_list() == ["b"]


def test_three_orders_of_a_day_are_three_events(tmp_path):
    assert both(CASES / "r5_orders.csv", tmp_path).summary["events"] == 3
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,timestamp,event\n" + "u1,i1,2024-01-10,purchase\n" * 3)
    dataset = both(path, tmp_path)
    assert (dataset.summary["events"], dataset.summary["duplicates"]) == (1, 2)
    assert any(
        note.startswith("duplicates: 2 rows repeat another in every column") for note in dataset.summary["notes"]
    )


def test_a_year_of_two_digits_is_of_this_century(tmp_path):
    assert moments(both(CASES / "r6_two_digit_year.csv", tmp_path)) == ["2024-01-15 10:00:00", "2024-01-16 10:00:00"]


def test_seconds_among_milliseconds_are_no_1970(tmp_path):
    dataset = both(CASES / "r7_mixed_unit.csv", tmp_path)
    assert dataset.summary["events"] == 10
    assert {moment[:4] for moment in moments(dataset)} == {"2023"}
    assert any(note.startswith("time: it is written in more than one way") for note in dataset.summary["notes"])
    said = both(CASES / "r7_mixed_unit.csv", tmp_path, time_unit="ms")  # then it is as said, and told
    assert "time: events are before 1990, the first on 1970-01-20: is it read as meant?" in said.summary["notes"]


def test_an_items_file_of_other_ids_is_told_by_both_looks(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,time\n" + "".join(f"u{k},{k},2024-01-01\n" for k in range(6)))
    dataset = both(log, tmp_path, items=CASES / "r8_items_zero.csv")
    told = (
        "items: 0 of 6 items of the log are in it; its ids look like 000, 001, the log's like 0, 1, 2; "
        "none of it was taken"
    )
    assert told in dataset.summary["notes"]
    assert len(dataset.catalogue) == 6


def test_a_nested_key_with_a_known_name_is_no_column(tmp_path):
    dataset = both(CASES / "r9_nested.jsonl", tmp_path)
    assert dataset.items.ids.to_list() == ["A", "C"]
    mapped = both(CASES / "r9_nested.jsonl", tmp_path, mapping={"item": "properties.sku"})
    assert mapped.items.ids.to_list() == ["B", "D"]


def test_numbers_of_an_items_csv_are_numbers(tmp_path):
    frame = pl.read_csv(CASES / "r10_items.csv")
    datasets = [both(CASES / "r3_log.csv", tmp_path, items=items) for items in (CASES / "r10_items.csv", frame)]
    assert datasets[0].catalogue.sort("item_id")["size"].to_list() == [38, 39, 40, 41, 42, 43]
    assert datasets[0].hash == datasets[1].hash


def test_event_words_are_folded_and_what_is_unknown_is_asked_once(tmp_path):
    words = [
        "Buy",
        "BUY",
        "buy ",
        "Add To Cart",
        "product_viewed",
        "OrderCompleted",
        "view",
        "Look",
        "Gaze",
        "page_ping",
    ]
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,time,event\n"
        + "".join(f"u{k},i{k % 7},{1_705_276_800 + k},{words[k % len(words)]}\n" for k in range(100))
    )
    dataset = both(path, tmp_path, max_refused=0.3)
    assert dataset.summary["kinds"] == {"view": 20, "cart": 10, "purchase": 40}
    assert dataset.summary["rejected"] == {"event of no product": 10, "unknown event kind": 20}
    asked = [note for note in dataset.summary["notes"] if "of unknown meaning" in note]
    assert len(asked) == 1
    assert "'Gaze' (10), 'Look' (10)" in asked[0]
    assert "Gaze=KIND Look=KIND" in asked[0]
    told = both(path, tmp_path, kinds={"look": "view", "Gaze": "ignore"})
    assert told.summary["kinds"]["view"] == 30
    assert told.summary["rejected"] == {"event of no product": 20}


def test_a_refund_booked_negative_undoes_its_purchase(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,time,event,price\nu,a,2024-01-01,purchase,10\nu,b,2024-01-01,purchase,4\nu,a,2024-01-02,purchase,-10\n"
    )
    dataset = both(path, tmp_path)
    assert (dataset.summary["events"], dataset.summary["undone"], dataset.summary["rejected"]) == (2, 1, {})
    assert dataset.events["undone_time"].null_count() == 1
    assert dataset.catalogue["price"].to_list() == [10.0, 4.0]


def test_goods_that_nobody_has_bought_yet_are_in_the_catalogue(tmp_path):
    items = pl.DataFrame({"item_id": [*map(str, range(6)), "n1", "n2"], "title": [f"T{k}" for k in range(8)]})
    dataset = both(CASES / "r3_log.csv", tmp_path, items=items)
    assert dataset.catalogue["item_id"].to_list()[-2:] == ["n1", "n2"]
    assert len(dataset.items) == dataset.interactions().n_items == 8
    assert dataset.items.index_of(["n2"]).tolist() == [7]
    notes = dataset.summary["notes"]
    assert "items: 6 of 6 items of the log are in it" in notes
    assert "items: 2 are only in it: new to everybody, the catalogue places them by content" in notes


@pytest.mark.parametrize(
    ("word", "truth"),
    [("in stock", True), ("in_stock", True), ("preorder", True), ("backorder", True),
     ("https://schema.org/InStock", True),
     ("sold out", False), ("out_of_stock", False), ("out of stock", False), ("discontinued", False),
     ("outofstock", False)],
)  # fmt: skip
def test_availability_is_read_in_the_words_of_feeds(tmp_path, word, truth):
    items = pl.DataFrame({"item_id": list(map(str, range(6))), "availability": ["in stock"] * 5 + [word]})
    dataset = both(CASES / "r3_log.csv", tmp_path, items=items)
    assert dataset.catalogue.sort("item_id")["available"].to_list() == [True] * 5 + [truth]


def test_a_log_that_is_mostly_refused_replaces_nothing(tmp_path):
    path, out = tmp_path / "log.csv", tmp_path / "shop"
    path.write_text(rows_of(*["2024-01-01"] * 20))
    kept = read_log(path, out=out)
    path.write_text(rows_of(*["2024-01-01"] * 10, *["n/a"] * 990))
    for partitions in (1, 3):
        with pytest.raises(DataError, match=r"990 of 1000 rows would be refused \(99%, more than max_refused=0.2\)"):
            ingest_folder(path, out, partitions=partitions)
        assert read_log(path, out=tmp_path / "other", max_refused=1.0).summary["events"] == 10
        assert json.loads((out / "manifest.json").read_text())["hash"] == kept.hash


def test_words_for_nobody_are_missing_and_ids_of_many_are_named(tmp_path):
    words = ["NULL", "None", "nan", "<NA>", "(not set)", "\\N", ""]
    people = [f"u{k % 50}" for k in range(1_000)]
    path = tmp_path / "log.csv"
    users = [*people, *words, *["0"] * 900, *["-1"] * 10]
    path.write_text(
        "user_id,item_id,time\n" + "".join(f"{user},i{k % 7},{1_705_276_800 + k}\n" for k, user in enumerate(users))
    )
    dataset = both(path, tmp_path)
    assert dataset.summary["rejected"] == {"user is missing": 7}
    assert "user: shopper '0' has 47% of all events: a guest id? say guests=0" in dataset.summary["notes"]
    without = both(path, tmp_path, guests=["0", "-1"])
    assert without.summary["rejected"] == {"user is a guest": 910, "user is missing": 7}
    assert without.summary["users"] == 50
    bots = both(path, tmp_path, max_per_day=100)
    assert bots.summary["rejected"] == {"user is a bot": 900, "user is missing": 7}
    named = both(path, tmp_path, null=["-1"])
    assert named.summary["rejected"] == {"user is missing": 17}


def test_times_are_finite_dates_and_ids_are_addresses(tmp_path):
    frame = pl.DataFrame(
        {
            "user_id": ["u"] * 5,
            "item_id": [".", "..", "a\x00b", "ok", "a\tb"],
            "time": [datetime(2024, 1, 1, tzinfo=UTC)] * 5,
        }
    )
    dataset = both(frame, tmp_path)
    assert dataset.items.ids.to_list() == ["ok"]
    assert math.isfinite(dataset.interactions().time[0])


def test_a_log_without_times_is_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id\nu,b\nv,b\nu,a\nu,c\n")
    dataset = both(path, tmp_path)
    assert dataset.events.filter(user_id="u")["item_id"].to_list() == ["b", "a", "c"]
    assert any("events are in the order of the file" in note for note in dataset.summary["notes"])
    path.write_text("user_id,item_id,colour\nu,b,red\n")
    with pytest.raises(DataError, match=r"for a log without times say no_time"):
        read_log(path)
    assert both(path, tmp_path, no_time=True).summary["columns"]["time"] == "order of the file"


def test_a_file_without_a_header_is_asked_about(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("u1,i1,2024-01-01\nu2,i2,2024-01-02\n")
    with pytest.raises(DataError, match="the first line looks like a row: say no_header"):
        read_log(path)
    mapping = {"user": "column_1", "item": "column_2", "time": "column_3"}
    assert both(path, tmp_path, no_header=True, mapping=mapping).summary["events"] == 2


def test_an_event_column_counts_under_a_preset_that_has_none(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("sessionId,itemId,timeframe,eventdate,event\n1,a,10,2024-01-01,purchase\n1,b,20,2024-01-01,view\n")
    assert both(path, tmp_path, preset="diginetica").summary["kinds"] == {"view": 1, "purchase": 1}
    assert both(path, tmp_path, preset="diginetica", kinds={"view": "like"}).summary["kinds"] == {
        "purchase": 1,
        "like": 1,
    }
    path.write_text("sessionId,itemId,timeframe,eventdate\n1,a,10,2024-01-01\n")
    with pytest.raises(DataError, match="kinds: no column says what happened"):
        read_log(path, preset="diginetica", kinds={"view": "like"})


def test_a_session_is_offered_where_no_shopper_is_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("SessionId,item_id,time\ns,a,2024-01-01\n")
    with pytest.raises(DataError, match="a session may stand for a shopper: user=SessionId"):
        read_log(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.jsonl", b'\xef\xbb\xbf{"user_id":"u","item_id":"a","time":1705276800}\n'),
        ("array.json", b'[\n {"user_id":"u","item_id":"a","time":1705276800}\n]\n'),
        ("object.json", b'{\n "rows": [{"user_id":"u","item_id":"a","time":1705276800}]\n}\n'),
        ("sep.csv", b"sep=;\nuser_id;item_id;time\nu;a;1705276800\n"),
        ("utf16.csv", "user_id\titem_id\ttime\nu\ta\t1705276800\n".encode("utf-16")),
        ("mac.csv", b"user_id,item_id,time\ru,a,1705276800\r"),
        ("blank.csv", b" user_id , item_id ,time\n u , a ,1705276800\n"),
    ],
)
def test_a_log_is_read_however_it_was_saved(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    dataset = both(tmp_path / name, tmp_path)
    assert dataset.events.select("user_id", "item_id").rows() == [("u", "a")]
    assert moments(dataset) == ["2024-01-15 00:00:00"]


def test_a_nul_byte_is_told_wherever_it_is(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id,time\n" + b"u,a,2024-01-01\n" * 100_000 + b"u,\0,2024-01-01\n")
    with pytest.raises(DataError, match="line 100002 has a NUL byte"):
        read_log(path)


def test_addresses_are_refused_in_one_line():
    for name in ("https://shop.example/log.csv", "s3://bucket/log.parquet"):
        with pytest.raises(DataError, match="is an address; download it first"):
            read_log(name)


def test_two_currencies_in_a_log_are_an_error_that_names_both(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user_id,item_id,time,price,currency\nu,a,2024-01-01,5,EUR\nu,b,2024-01-02,5,CZK\n")
    with pytest.raises(DataError, match="currency: prices in CZK and in EUR"):
        read_log(path)


def test_frames_of_every_library_and_files_in_a_list_are_one_log(tmp_path):
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "b"], "time": ["2024-01-01", "2024-01-02"]})
    for number in range(2):
        frame[number : number + 1].write_parquet(tmp_path / f"part{number}.parquet")
    parts = sorted(tmp_path.glob("part*.parquet"))
    sources = [
        frame, frame.lazy(), frame.to_pandas(), frame.to_arrow(), parts, [str(part) for part in parts],
        f"{tmp_path}/part*.parquet",
    ]  # fmt: skip
    assert len({Dataset.open(source).hash for source in sources}) == 1


def test_nested_events_of_other_programs_are_mapped_by_dotted_paths(tmp_path):
    path = tmp_path / "mixpanel.jsonl"
    path.write_text(
        '{"event": "Product Viewed", "properties": {"distinct_id": "u", "product_id": "A", "time": 1705276800}}\n'
        '{"event": "Product Added", "properties": {"distinct_id": "u", "product_id": "A", "time": 1705276860}}\n'
    )
    mapping = {role: f"properties.{name}" for role, name in
               (("user", "distinct_id"), ("item", "product_id"), ("time", "time"))}  # fmt: skip
    assert both(path, tmp_path, mapping=mapping).summary["kinds"] == {"view": 1, "cart": 1}


@pytest.mark.parametrize("packing", ["gz", "bz2", "zst", "zip"])
def test_a_packed_log_is_read(tmp_path, packing):
    text = rows_of(*["2024-01-15 00:00:00"] * 30).encode()
    path = tmp_path / f"log.csv.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("log.csv", text)
    elif packing == "zst":
        path.write_bytes(pa.compress(text, codec="zstd", asbytes=True))
    else:
        path.write_bytes({"gz": gzip, "bz2": bz2}[packing].compress(text))
    dataset = both(path, tmp_path)
    assert dataset.summary["events"] == 30
    assert f"file: unpacked from {packing}" in dataset.summary["notes"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_log(path)
