"""A log ingested in partitions is the very dataset that one ingest makes: contents, numbers, order, refusals, notes."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import data.checked_log
import data.log_reading.opening.csv_repair
import data.log_reading.partitions
from data.dataset import Dataset
from data.errors import DataError
from data.log_reading.ingest import ingest
from data.log_reading.log_source import LogOptions
from data.log_reading.partitions import ingest_folder, partitions_of
from data.log_reading.spill import cut
from serving.cli.main import app
from tests.data.log_reading.test_presets import NAMES, PUBLISHED

BYTES = ("catalogue.parquet", "items.parquet", "users.parquet", "rejects.jsonl")


def assert_same(source, folder: Path, *, partitions: int, batch_rows: int = 4, **options) -> Dataset:
    whole, cut = folder / "whole", folder / "cut"
    dataset = ingest(source, out=whole, **options)
    made = ingest_folder(source, cut, LogOptions(**options), partitions=partitions, batch_rows=batch_rows)
    read = Dataset.open(cut)
    assert made.path == cut
    assert made.summary == read.summary == dataset.summary
    assert read.rejects.equals(dataset.rejects)
    assert read.log.schema == Dataset.open(whole).log.schema
    assert read.events.equals(Dataset.open(whole).events)
    assert made.hash == read.hash == dataset.hash
    for name in BYTES:
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    manifests = [json.loads((one / "manifest.json").read_text()) for one in (whole, cut)]
    assert manifests[0].keys() == manifests[1].keys()
    assert sorted(path.name for path in cut.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["cut", "whole"]
    return dataset


ROW = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "u2", "u3", "u4", "7", ""]),
        "item_id": st.sampled_from(["a", "b", "c", "d", None]),
        "time": st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-03", "2999-01-01", "never"]),
        "event": st.sampled_from(["view", "cart", "purchase", "refund", "remove_from_cart", "stare", "nod"]),
        "price": st.sampled_from(["1", "2.5", "", "-1", "4"]),
        "quantity": st.sampled_from(["", "1", "2", "-1"]),
        "session_id": st.sampled_from(["s", "t", None]),
        "order_in_session": st.sampled_from(["", "1", "2"]),
        "title": st.sampled_from(["Bowl", "Cup", None]),
        "category": st.sampled_from(["clay", None]),
        "available": st.sampled_from(["yes", "no", None]),
        "shop": st.sampled_from(["Oslo", "Rome", None]),
    }
)


@settings(max_examples=40, deadline=None, phases=[Phase.generate])  # each shrinking step writes two folders
@given(rows=st.lists(ROW, min_size=1, max_size=30), partitions=st.integers(2, 6), batch=st.integers(1, 12))
def test_partitions_change_nothing_of_a_dataset(rows, partitions, batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("partitions")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(rows[0], pl.String))
    frame = pl.concat([frame, frame.head(3)])
    try:
        ingest(frame)
    except DataError as error:
        with pytest.raises(DataError, match=f"^{re.escape(str(error))}$"):
            ingest_folder(frame, folder / "cut", partitions=partitions, batch_rows=batch)
        assert list(folder.iterdir()) == []
        return
    assert_same(frame, folder, partitions=partitions, batch_rows=batch)


@pytest.mark.parametrize("published", PUBLISHED, ids=NAMES)
def test_every_published_format_can_be_partitioned(published, tmp_path):
    (tmp_path / published.file).write_text(published.text)
    assert_same(tmp_path / published.file, tmp_path, partitions=2, batch_rows=1)


def test_bad_lines_of_a_file_are_told_by_their_lines(tmp_path):
    rows = [
        ",a,2024-01-01,x",
        'u1,a,2024-01-01,"two\nlines"',
        "u1,b,never,y",
        "u2,c,2024-01-03,z,more",
        "u2,a,2024-01-02,z",
    ]
    (tmp_path / "log.csv").write_text("user_id,item_id,time,note\n" + "\n".join(rows) + "\n")
    dataset = assert_same(tmp_path / "log.csv", tmp_path, partitions=3, batch_rows=2)
    assert dataset.rejects["line"].to_list() == [2, 5, 6]


def test_text_that_needs_patience_or_another_encoding_is_set_down_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(data.log_reading.opening.csv_repair, "_CHUNK_ROWS", 2)
    monkeypatch.setattr(data.log_reading.opening.csv_repair, "_CHUNK_BYTES", 5)
    head = "user_id,item_id,time\n"
    texts = {
        "quotes.csv": (head + 'u1,5" disc,2024-01-01\nu1,"a ""b""",2024-01-02\nu2\nu2,9",2024-01-04\n').encode(),
        "windows.csv": (head + "u1,K\u00e4se,2024-01-01\nu2,5 \u20ac,2024-01-02\n").encode("cp1252"),
        "both.csv": (head + 'u1,K\u00e4se 5",2024-01-01\nu2,5 \u20ac,2024-01-02\n').encode("cp1252"),
        "broken.jsonl": b'{"user_id": 7, "item_id": "a", "time": "2024-01-01"}\n\n{"user_id": broken\n',
        "broken-otto.jsonl": b'{"session":0,"events":[{"aid":7,"ts":1659304800025,"type":"clicks"}]}\n{"session":1,\n',
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
        assert_same(tmp_path / name, tmp_path, partitions=2)


def test_typed_columns_of_several_files_can_be_partitioned(tmp_path):
    frame = pl.DataFrame(
        {
            "user": [9_000_000_000_000, -3, None, 9_000_000_000_000, 12, 12],
            "item": [1.0, 2.0, 1.0, 3.5, None, 2.0],
            "time": pl.Series(
                ["2024-01-03", "2024-01-01", "2024-01-01", "2024-01-02", "2024-01-01", "2024-01-01"]
            ).str.to_date(),
            "price": [1.5, 2.0, None, 2.0, 3.0, 2.5],
            "tags": [["x"], None, [], ["y", "z"], None, ["x"]],
            "size": pl.Series(["s", "l", None, "s", "l", "l"], dtype=pl.Enum(["s", "l"])),
            "seen": [True, None, False, True, None, False],
        }
    )
    for number in range(3):
        frame[2 * number : 2 * number + 2].write_parquet(tmp_path / f"log-{number}.parquet")
    assert_same(pl.scan_parquet(tmp_path / "log-*.parquet"), tmp_path, partitions=2, batch_rows=2)


def test_a_base_and_an_items_file_mean_the_same(tmp_path):
    text = "user_id,item_id,time,title,price\n"
    (tmp_path / "old.csv").write_text(text + "u1,b,2024-01-01,Bee,\nu2,a,2024-01-02,Ant,1\n")
    (tmp_path / "new.csv").write_text(text + "u3,c,2024-01-01,Cat,2\nu2,a,2024-01-02,Ape,3\nu2,a,2024-01-01,,4\n")
    items = pl.DataFrame({"sku": ["c", "z"], "title": ["Cow", "Zoo"], "material": ["fur", "stone"]})
    old = ingest(tmp_path / "old.csv")
    dataset = assert_same(tmp_path / "new.csv", tmp_path, partitions=2, base=old, items=items)
    assert dataset.catalogue["title"].to_list() == ["Bee", "Ape", "Cow", "Zoo"]
    assert dataset.users.ids.to_list() == ["u1", "u2", "u3"]


LOG = "user_id,item_id,time\n" + "".join(f"u{k % 7},i{k % 5},2024-01-{k % 28 + 1:02}\n" for k in range(60))


def test_what_is_interrupted_leaves_nothing_and_the_older_dataset(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    older = ingest(tmp_path / "log.csv", out=tmp_path / "shop", name="shop")
    steps: list[tuple[str, int, int | None]] = []

    def count(*step):
        steps.append(step)

    ingest_folder(tmp_path / "log.csv", tmp_path / "other", partitions=3, batch_rows=20, progress=count)
    assert list(dict.fromkeys(what for what, _, _ in steps)) == [
        "rows read", "rows numbered", "rows distributed", "item ranges described", "user ranges written",
        "contents hashed",
    ]  # fmt: skip
    assert [step for step in steps if step[0] == "rows numbered"] == [("rows numbered", k, 60) for k in (20, 40, 60)]
    (tmp_path / "log.csv").write_text(LOG + "u9,i9,2024-02-01\n")
    for at in range(len(steps)):
        left = iter(range(at))

        def stop(*step, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ingest_folder(tmp_path / "log.csv", tmp_path / "shop", partitions=3, batch_rows=20, progress=stop)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "other", "shop"]
    assert Dataset.open(tmp_path / "shop").hash == older.hash


def test_large_files_are_partitioned_by_themselves_and_others_are_not(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    monkeypatch.setattr(data.log_reading.partitions, "LARGE_LOG_BYTES", len(LOG))
    monkeypatch.setattr(data.log_reading.partitions, "PARTITION_BYTES", len(LOG) // 2)
    assert partitions_of(path) == 1
    path.write_text(LOG + "u9,i9,2024-02-01\n")
    assert partitions_of(path) == 3
    pl.read_csv(path).write_parquet(tmp_path / "log.parquet")
    assert partitions_of(tmp_path / "log.parquet") > 3
    assert partitions_of(pl.read_csv(path)) == partitions_of(tmp_path / "none.csv") == 1
    whole = ingest_folder(path, tmp_path / "whole", partitions=1)
    by_itself = ingest_folder(path, tmp_path / "by-itself")
    assert (by_itself.hash, by_itself.summary) == (whole.hash, whole.summary)
    with pq.ParquetFile(tmp_path / "by-itself" / "events.parquet") as events:
        assert events.num_row_groups == 3


def test_what_cannot_be_partitioned_is_one_clear_error(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    for partitions in (0, 1_001):
        with pytest.raises(DataError, match=rf"^partitions={partitions}: must be 1\.\.1000$"):
            ingest_folder(path, tmp_path / "shop", partitions=partitions)
    with pytest.raises(DataError, match="will not be overwritten"):
        ingest_folder(path, tmp_path, partitions=2)
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("where", ["write_pieces", "write_rest", "refusals"])
def test_a_full_disk_is_one_clear_error_that_leaves_nothing(where, tmp_path, monkeypatch):
    (tmp_path / "log.csv").write_text(LOG + "u1,,2024-01-01\n")

    def full(*_, **__):
        if where == "refusals":  # as polars says it of a sink
            raise pl.exceptions.ComputeError("parquet: underlying IO error: No space left on device (os error 28)")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(data.log_reading.partitions, where, full)
    with pytest.raises(DataError, match=r"^out=.*shop: the disk is full; until it is done, a partitioned ingest needs"):
        ingest_folder(tmp_path / "log.csv", tmp_path / "shop", partitions=2)
    monkeypatch.setattr(data.checked_log, "write_rest", full)
    with pytest.raises(DataError, match=r"^out=.*shop: the disk is full$"):
        ingest_folder(tmp_path / "log.csv", tmp_path / "shop", partitions=1)
    assert [one.name for one in tmp_path.iterdir()] == ["log.csv"]


def test_the_command_line_partitions_a_log(tmp_path):
    (tmp_path / "log.csv").write_text(LOG)
    said = []
    for options in ([], ["--partitions", "4"]):
        out = str(tmp_path / f"shop{len(options)}")
        done = CliRunner().invoke(app, ["ingest", str(tmp_path / "log.csv"), "--out", out, "--json", *options])
        said.append(json.loads(done.stdout))
    assert {**said[0], "out": ""} == {**said[1], "out": ""}
    assert Dataset.open(tmp_path / "shop2").hash == said[0]["hash"]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 8))
def test_ranges_hold_every_index_once_and_none_many_more_rows_than_its_share(rows, parts):
    ranges = cut(np.array(rows), parts)
    of = ranges.of(np.arange(len(rows), dtype=np.int32))
    assert len(ranges) == parts
    for number in range(parts):
        low, high = ranges.bounds(number)
        assert np.flatnonzero(of == number).tolist() == list(range(low, high))
        assert sum(rows[low:high]) <= sum(rows) / parts + max(rows)
