"""Every preset reads a file written by hand from its publisher's columns, is recognised, and is UTC everywhere."""

import json
import time
from dataclasses import dataclass

import polars as pl
import pytest
from typer.testing import CliRunner

from data.errors import DataError
from data.log_reading.formats import PRESETS
from data.log_reading.ingest import ingest
from data.log_reading.recognition import recognise
from serving.cli.main import app


@dataclass(frozen=True)
class Published:
    """A file as published, and its events (user, item, kind, UTC time) in the order of a Dataset."""

    preset: str
    file: str
    text: str
    events: tuple[tuple[str, str, str, str], ...]
    refused: tuple[tuple[int, str, str | None], ...] = ()


PUBLISHED = [
    Published(
        "online-retail",
        "data.csv",
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
        "536365,85123A,WHITE HANGING HEART,6,12/13/2010 8:26,2.55,17850,United Kingdom\n"
        "536366,POST,POSTAGE,1,12/13/2010 8:28,18,17850,France\n",
        (("17850", "85123A", "purchase", "2010-12-13 08:26:00.000"),),
        ((3, "not a product", "POST"),),
    ),
    Published(
        "eshop-2008",
        "e-shop clothing 2008.csv",
        "year;month;day;order;country;session ID;page 1 (main category);page 2 (clothing model);colour;location;"
        "model photography;price;price 2;page\n2008;4;1;1;29;1;1;A13;1;5;1;28;2;1\n",
        (("1", "A13", "view", "2008-04-01 00:00:00.000"),),
    ),
    Published(
        "retailrocket",
        "events.csv",
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
        "1433221332118,257597,addtocart,355908,\n1433221332119,257597,transaction,355908,4000\n"
        "1433221332120,257597,stare,355908,\n",
        (
            ("257597", "355908", "view", "2015-06-02 05:02:12.117"),
            ("257597", "355908", "cart", "2015-06-02 05:02:12.118"),
            ("257597", "355908", "purchase", "2015-06-02 05:02:12.119"),
        ),
        ((5, "unknown event kind", "stare"),),
    ),
    Published(
        "rees46",
        "2019-Oct.csv",
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n"
        "2019-10-01 00:00:01 UTC,purchase,3900821,2053013552326770905,appliances.boiler,,33.20,541312140,72d76fde\n"
        "2019-10-01 00:00:01 UTC,purchase,3900821,2053013552326770905,appliances.boiler,,33.20,541312140,72d76fde\n",
        (
            ("541312140", "44600062", "view", "2019-10-01 00:00:00.000"),
            ("541312140", "3900821", "purchase", "2019-10-01 00:00:01.000"),
        ),
    ),
    Published(
        "yoochoose",
        "yoochoose-clicks.dat",
        "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n",
        (
            ("1", "214536502", "view", "2014-04-07 10:51:09.277"),
            ("1", "214536500", "view", "2014-04-07 10:54:09.868"),
        ),
    ),
    Published(
        "yoochoose-buys",
        "yoochoose-buys.dat",
        "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n420374,2014-04-06T18:44:58.325Z,214537850,10471,2\n",
        (
            ("420374", "214537888", "purchase", "2014-04-06 18:44:58.314"),
            ("420374", "214537850", "purchase", "2014-04-06 18:44:58.325"),
        ),
    ),
    Published(
        "diginetica",
        "train-item-views.csv",
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;9654;12387;2016-05-09\n1;NA;33043;529;2016-05-09\n",
        (  # the timeframe orders the session, not the lines of the file
            ("1", "33043", "view", "2016-05-09 00:00:00.000"),
            ("1", "9654", "view", "2016-05-09 00:00:00.000"),
        ),
    ),
    Published(
        "diginetica-purchases",
        "train-purchases.csv",
        "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n150;18278;17100868;2016-05-06;16421;25911\n",
        (("150", "25911", "purchase", "2016-05-06 00:00:00.000"),),
    ),
    Published(
        "otto",
        "otto-recsys-train.jsonl",
        '{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"},'
        '{"aid":1563459,"ts":1659304904511,"type":"carts"}]}\n'
        '{"session":1,"events":[{"aid":424964,"ts":1659304800025,"type":"orders"}]}\n',
        (
            ("0", "1517085", "view", "2022-07-31 22:00:00.025"),
            ("0", "1563459", "cart", "2022-07-31 22:01:44.511"),
            ("1", "424964", "purchase", "2022-07-31 22:00:00.025"),
        ),
    ),
    Published(
        "amazon-2023",
        "Video_Games.csv",
        "user_id,parent_asin,rating,timestamp\nAGKASBHYZPGTEPO6LWZPVJWB2BVA,B07SBR7X2P,5.0,1420070400123\n",
        (("AGKASBHYZPGTEPO6LWZPVJWB2BVA", "B07SBR7X2P", "like", "2015-01-01 00:00:00.123"),),
    ),
    Published(
        "movielens",
        "ratings.dat",
        "1::1193::5::978300760\n1::661::3::978302109\n",
        (
            ("1", "1193", "like", "2000-12-31 22:12:40.000"),
            ("1", "661", "like", "2000-12-31 22:35:09.000"),
        ),
    ),
    Published(
        "movielens", "u.data", "196\t242\t3\t881250949\n", (("196", "242", "like", "1997-12-04 15:55:49.000"),)
    ),
    Published(
        "movielens",
        "ratings.csv",
        "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n",
        (("1", "31", "like", "2009-12-14 02:52:24.000"),),
    ),
    Published(
        "movielens",
        "ml-1m.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t1193\t5\t978300760\n",
        (("1", "1193", "like", "2000-12-31 22:12:40.000"),),
    ),
    Published(
        "generic",
        "shop.csv",
        "user_id,item_id,event,time\nu1,i1,click,2025-01-02 03:04:05\n",
        (("u1", "i1", "view", "2025-01-02 03:04:05.000"),),
    ),
]  # fmt: skip
NAMES = [one.file for one in PUBLISHED]


def read(published, tmp_path, **options):
    path = tmp_path / published.file
    path.write_text(published.text)
    dataset = ingest(path, **options)
    events = dataset.events.select("user_id", "item_id", "kind", pl.col("time").dt.strftime("%F %T%.3f"))
    return dataset, tuple(events.iter_rows())


def test_every_preset_has_a_file_here_or_a_test_of_its_own():
    assert {one.preset for one in PUBLISHED} >= PRESETS.keys() - {"open-bandit"}


@pytest.mark.parametrize("published", PUBLISHED, ids=NAMES)
def test_a_published_file_is_recognised_and_read_as_documented(published, tmp_path):
    dataset, events = read(published, tmp_path)
    assert events == published.events
    assert tuple(dataset.rejects.iter_rows()) == published.refused
    assert dataset.summary["preset"] == published.preset
    told = [note for note in dataset.summary["notes"] if note.startswith("format: ")]
    assert len(told) == (published.preset != "generic")
    named, _ = read(published, tmp_path, preset=published.preset)
    assert named.hash == dataset.hash


@pytest.mark.parametrize("published", PUBLISHED, ids=NAMES)
def test_a_frame_of_the_columns_is_recognised_too(published, tmp_path):
    path = tmp_path / published.file
    path.write_text(published.text)
    if published.file.endswith((".csv", ".inter")):
        separator = max(";,\t", key=published.text.splitlines()[0].count)
        frame = pl.read_csv(path, separator=separator, infer_schema=False)
        frame = frame.rename(lambda name: name.partition(":")[0])
        expected = "generic" if published.file.endswith(".inter") else published.preset
        assert recognise(frame)[0] == recognise(frame.lazy())[0] == recognise(frame.to_pandas())[0] == expected
        frame.write_parquet(tmp_path / "log.parquet")
        assert recognise(tmp_path / "log.parquet")[0] == expected


def test_times_are_utc_whatever_the_machines_time_zone(tmp_path, monkeypatch):
    for zone in ("America/Los_Angeles", "Asia/Kolkata"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            for published in PUBLISHED:
                assert read(published, tmp_path)[1] == published.events
        finally:
            monkeypatch.undo()
            time.tzset()


def test_an_otto_line_that_is_no_session_is_refused_alone(tmp_path):
    path = tmp_path / "otto.jsonl"
    good = '{"session":%d,"events":[{"aid":7,"ts":1659304800025,"type":"clicks"}]}\n'
    path.write_text(good % 0 + '{"session":1,"events":\n' + good % 2)
    dataset = ingest(path)
    assert dataset.events["user_id"].to_list() == ["0", "2"]
    assert dataset.rejects.rows() == [(2, "line is empty or unreadable", None)]


def test_a_file_that_two_presets_fit_equally_is_an_error_that_names_both(tmp_path):
    both = sorted({*PRESETS["retailrocket"].marks[0], *PRESETS["amazon-2023"].marks[0]})
    with pytest.raises(DataError, match="format=auto: retailrocket and amazon-2023 both fit"):
        recognise(pl.DataFrame({name: ["1"] for name in both}))


def test_the_command_line_recognises_a_log(tmp_path):
    (tmp_path / "events.csv").write_text(PUBLISHED[2].text)
    command = ["ingest", str(tmp_path / "events.csv"), "--out", str(tmp_path / "log"), "--json"]
    printed = json.loads(CliRunner().invoke(app, [*command, "--format", "auto"]).stdout)
    assert printed["preset"] == "retailrocket"
    assert "format: retailrocket, told by its columns timestamp, visitorid, event, itemid" in printed["notes"]


def test_digineticas_categories_are_an_items_file(tmp_path):
    views = next(one for one in PUBLISHED if one.preset == "diginetica")
    (tmp_path / "product-categories.csv").write_text("itemId;categoryId\n9654;12\n33043;13\n")
    catalogue = read(views, tmp_path, items=tmp_path / "product-categories.csv")[0].catalogue
    assert dict(catalogue.select("item_id", "category").iter_rows()) == {"33043": "13", "9654": "12"}
