"""A dataset folder: written whole, read back the same, refused when anything in it was touched."""

import json
from dataclasses import replace

import polars as pl
import pytest

import data.checked_log
from data.checked_log import content_hash, scan_log
from data.dataset import Dataset, open_known
from data.errors import DataError
from data.log_reading.ingest import ingest

LOG = pl.DataFrame(
    {
        "user_id": ["u1", "u2", "u1", None, "u1"],
        "item_id": ["a", "b", "b", "a", "a"],
        "time": [f"2024-01-0{day} 10:00:00" for day in (1, 2, 3, 3, 4)],
        "event": ["purchase", "view", "like", "view", "purchase"],
        "quantity": [2, 1, 1, 1, -2],
        "price": [1.0, None, 2.0, 1.0, 1.0],
        "session_id": ["s1", None, "s2", "s3", "s4"],
        "shop": ["Oslo", None, "Rome", "Rome", "Oslo"],
    }
)  # fmt: skip


def test_a_saved_dataset_reads_back_the_same(tmp_path):
    made = ingest(LOG, out=tmp_path / "shop")
    read = Dataset.open(tmp_path / "shop")
    assert read.name == made.name == "shop"
    assert read.hash == made.hash
    assert read.events.equals(made.events)
    assert read.catalogue.equals(made.catalogue)
    assert read.rejects.equals(made.rejects)
    assert read.summary == made.summary
    assert (read.items, read.users) == (made.items, made.users)
    one, other = made.interactions(), read.interactions()
    for field in ("offsets", "item_idx", "kind", "time", "quantity", "undone_row", "undone_time"):
        assert getattr(one, field).tolist() == getattr(other, field).tolist()
    assert one.undone_row.tolist() == [0]
    rejects = [json.loads(line) for line in (tmp_path / "shop" / "rejects.jsonl").read_text().splitlines()]
    assert rejects == [{"line": 4, "reason": "user is missing", "value": None}]


def test_the_folder_holds_what_is_documented(tmp_path):
    ingest(LOG, out=tmp_path / "shop")
    assert {path.name for path in (tmp_path / "shop").iterdir()} == {
        "events.parquet", "catalogue.parquet", "items.parquet", "users.parquet", "rejects.jsonl", "manifest.json",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


@pytest.mark.parametrize(
    "file", ["events.parquet", "catalogue.parquet", "items.parquet", "users.parquet", "rejects.jsonl"]
)
def test_a_touched_or_missing_file_is_refused(tmp_path, file):
    ingest(LOG, out=tmp_path / "shop")
    path = tmp_path / "shop" / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=f"{file} was changed"):
        Dataset.open(tmp_path / "shop")
    path.unlink()
    with pytest.raises(DataError, match=f"{file} is missing"):
        Dataset.open(tmp_path / "shop")


def test_what_a_dataset_knows_is_read_without_its_events(tmp_path):
    made = ingest(LOG, out=tmp_path / "shop")
    (tmp_path / "shop" / "events.parquet").unlink()
    known = open_known(tmp_path / "shop")
    assert (known.items, known.users) == (made.items, made.users)
    assert known.catalogue.equals(made.catalogue)
    assert open_known("sample:eshop-2008").users == Dataset.open("sample:eshop-2008").users
    newer = LOG.head(1).with_columns(user_id=pl.lit("u0"), item_id=pl.lit("c"))
    assert ingest(newer, base=known).hash == ingest(newer, base=made).hash
    assert ingest(newer, base=known).items.ids.to_list() == ["a", "b", "c"]
    path = tmp_path / "shop" / "items.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match=r"items\.parquet was changed"):
        open_known(tmp_path / "shop")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "not readable"),
        ("[]", "not readable"),
        ("{}", "not readable"),
        ('{"format": 99, "files": {}}', "format=99"),
    ],
)
def test_a_broken_manifest_is_one_clear_error(tmp_path, manifest, message):
    ingest(LOG, out=tmp_path / "shop")
    (tmp_path / "shop" / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path / "shop")


def test_a_folder_that_is_no_dataset_is_one_clear_error(tmp_path):
    for source in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match=r"no manifest\.json there"):
            Dataset.open(source)


def test_saving_replaces_a_dataset_but_nothing_else(tmp_path):
    ingest(LOG, out=tmp_path / "shop")
    ingest(LOG.head(2), out=tmp_path / "shop")
    assert Dataset.open(tmp_path / "shop").summary["events"] == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.png").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"x")
    for other in ("photos", "file"):
        with pytest.raises(DataError, match="will not be overwritten"):
            ingest(LOG, out=tmp_path / other)
    assert (tmp_path / "photos" / "me.png").read_bytes() == b"x"


def test_the_hash_tells_contents_not_names():
    dataset = ingest(LOG)
    assert replace(dataset, name="other").hash == dataset.hash
    for change in (
        pl.col("price").fill_null(0.0),
        pl.col("session_id").fill_null(""),
        pl.col("time").replace("2024-01-02 10:00:00", "2024-01-02 10:00:01"),
        pl.col("shop").replace("Rome", "Roma"),
        pl.col("user_id").replace("u2", "u3"),
    ):
        assert ingest(LOG.with_columns(change)).hash != dataset.hash


def test_the_hash_of_a_log_stays_what_it_was_when_it_was_saved():
    assert ingest(LOG).hash == "798f4d2af488742d620707a1c7d4689a23ec37a48157eccf6e1d69908092dfbc"


def test_a_log_in_a_file_has_the_hash_of_the_log_in_memory_whatever_its_columns_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(data.checked_log, "_SLICE", 2)
    odd = LOG.with_columns(
        paid=pl.Series([True, None, False, True, None]),
        tags=pl.Series([["x"], [], None, ["y", "z"], ["x"]]),
        box=pl.Series([{"w": 1.5}, {"w": None}, None, {"w": 2.0}, {"w": 0.0}]),
        day=pl.col("time").str.to_datetime().dt.date(),
        colour=pl.Series(["é", None, "", "é", "b"], dtype=pl.Categorical),
        size=pl.Series(["s", "l", None, "s", "l"], dtype=pl.Enum(["s", "l"])),
    )
    made = ingest(odd, out=tmp_path / "shop")
    scanned = scan_log(tmp_path / "shop" / "events.parquet")
    assert made.log.height > 2
    assert (
        content_hash(made.items, made.users, scanned, made.catalogue)
        == made.hash
        == Dataset.open(tmp_path / "shop").hash
    )


def test_interactions_share_memory_with_the_log_and_cannot_be_written():
    inter = ingest(LOG).interactions()
    with pytest.raises(ValueError, match="read-only"):
        inter.item_idx[0] = 1


def test_the_names_that_a_guess_finds_work_or_say_what_to_call(tmp_path):
    from data import Dataset as PublicDataset
    from data import read_log as public_read_log

    made = public_read_log(LOG)
    assert isinstance(made, PublicDataset)
    assert PublicDataset.open(LOG).hash == PublicDataset.open(LOG.to_pandas()).hash == made.hash
    assert PublicDataset.open(LOG.lazy()).hash == made.hash
    LOG.write_parquet(tmp_path / "log.parquet")
    assert public_read_log(tmp_path / "log.parquet").hash == made.hash
    assert PublicDataset.open(tmp_path / "log.parquet", timezone="UTC").hash == made.hash
    with pytest.raises(DataError, match=r"is a file, must be a folder; .* or call read_log\("):
        PublicDataset.open(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"Dataset\(DataFrame\): call Dataset.open\(log\)"):
        PublicDataset(LOG)
    saved = made.save(tmp_path / "shop")
    assert isinstance(saved, PublicDataset)
    assert PublicDataset.open(tmp_path / "shop").hash == made.hash
