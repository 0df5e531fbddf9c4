"""Each preset reads the published shape and the one we ship, and the real samples give the figures known of them."""

from pathlib import Path

import polars as pl
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import EventKind
from data.log_reading.formats import PRESETS, ROLES
from data.log_reading.ingest import ingest
from data.log_reading.validation import kind_codes
from data.split import leave_last_out, parse_time, temporal

SAMPLES = Path(__file__).parents[3] / "data" / "samples"


def test_presets_only_use_known_roles_and_kinds():
    for preset in PRESETS.values():
        assert set(preset.columns) <= set(ROLES)
        assert kind_codes({"": preset.kind, **preset.kinds})[""] in list(EventKind)


def test_online_retail_published_csv_reads_as_the_shipped_parquet(tmp_path):
    rows = [
        "536365,85123A,WHITE HANGING HEART,6,12/1/2010 8:26,2.55,17850,United Kingdom",
        "536366,71053,WHITE METAL LANTERN,4,12/1/2010 8:28,3.39,17850,United Kingdom",
        "C536367,85123A,WHITE HANGING HEART,-6,12/13/2010 9:00,2.55,17850,United Kingdom",
        "536368,POST,POSTAGE,1,12/1/2010 8:26,18,17850,France",
        "536369,gift_0001_20,Dotcomgiftshop Gift Voucher,1,12/1/2010 8:26,20,17850,France",
        "536370,71053,WHITE METAL LANTERN,1,12/1/2010 8:26,3.39,,France",
        "536371,71053,WHITE METAL LANTERN,1,12/1/2010 8:26,0,17850,France",
        "536372,DCGSSGIRL,GIRLS PARTY BAG,1,12/1/2010 8:26,3,17850,France",
    ]
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
    (tmp_path / "data.csv").write_text(header + "\n".join(rows) + "\n")
    published = ingest(tmp_path / "data.csv", preset="online-retail")
    assert published.events.select("user_id", "item_id", "kind", "price", "quantity", "session_id").rows() == [
        ("17850", "85123A", "purchase", 2.55, 6.0, "536365"),
        ("17850", "DCGSSGIRL", "purchase", 3.0, 1.0, "536372"),
        ("17850", "71053", "purchase", 3.39, 4.0, "536366"),
    ]
    assert published.catalogue["title"].to_list() == ["WHITE HANGING HEART", "GIRLS PARTY BAG", "WHITE METAL LANTERN"]
    assert published.events["undone_time"].dt.day().to_list() == [13, None, None]
    assert published.rejects.rows() == [
        (5, "not a product", "POST"),
        (6, "not a product", "gift_0001_20"),
        (7, "user is missing", None),
        (8, "unit price is not above zero", "71053"),
    ]
    shipped = pl.DataFrame(
        {
            "user_id": [17850, 17850, None],
            "item_id": ["85123A", "71053", "71053"],
            "invoice": ["536365", "536366", "536370"],
            "ts": ["2010-12-01 08:26:00", "2010-12-01 08:28:00", "2010-12-01 08:26:00"],
            "quantity": [6, 4, 1],
            "unit_price": [2.55, 3.39, 3.39],
            "country": ["United Kingdom"] * 3,
        }
    ).with_columns(pl.col("ts").str.to_datetime())
    columns = ["user_id", "item_id", "time", "price", "quantity", "session_id"]
    same = published.events.filter(pl.col("item_id") != "DCGSSGIRL").select(columns)
    assert ingest(shipped, preset="online-retail").events.select(columns).equals(same)


def test_eshop_published_csv_reads_as_the_shipped_parquet(tmp_path):
    header = (
        "year;month;day;order;country;session ID;page 1 (main category);page 2 (clothing model);colour;location;"
        "model photography;price;price 2;page\n"
    )
    rows = [
        "2008;4;1;2;29;1;2;B4;3;2;1;38;2;1",
        "2008;4;1;1;29;1;1;A13;1;5;1;28;2;1",
        "2008;4;2;1;29;2;1;A13;1;5;1;28;2;1",
    ]
    (tmp_path / "e-shop clothing 2008.csv").write_text(header + "\n".join(rows) + "\n")
    published = ingest(tmp_path / "e-shop clothing 2008.csv", preset="eshop-2008")
    assert published.events.select("user_id", "item_id", "kind", "price").rows() == [
        ("1", "A13", "view", 28.0),  # the click number is the order, not the line
        ("1", "B4", "view", 38.0),
        ("2", "A13", "view", 28.0),
    ]
    assert published.catalogue.rows() == [
        ("A13", "beige trousers A13", "trousers", 28.0, True, "beige"),
        ("B4", "blue skirts B4", "skirts", 38.0, True, "blue"),
    ]
    shipped = pl.read_parquet(SAMPLES / "eshop_clothing_2008" / "clicks.parquet")
    first = shipped.filter((pl.col("session_id") == 1) & (pl.col("item_id") == "A13"))
    assert ingest(first, preset="eshop-2008").catalogue.rows() == published.catalogue.rows()[:1]


@pytest.mark.parametrize(
    ("log", "text", "items", "catalogue"),
    [
        (
            "ratings.dat",
            "1::10::5::978300760\n2::11::3::978302109\n",
            "movies.dat",
            "10::Star Trek: II (1982)::Drama|War\n",
        ),
        (
            "u.data",
            "1\t10\t5\t978300760\n2\t11\t3\t978302109\n",
            "u.item",
            "10|Star Trek: II (1982)|01-Jan-1982||http://x|0|1\n",
        ),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,10,5.0,978300760\n2,11,3.0,978302109\n",
            "movies.csv",
            'movieId,title,genres\n10,Star Trek: II (1982),Drama|War\n',
        ),
        (
            "ml.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t10\t5\t978300760\n2\t11\t3\t978302109\n",
            "ml.item",
            "item_id:token\tmovie_title:token_seq\tclass:token_seq\n10\tStar Trek: II (1982)\tDrama War\n",
        ),
    ],
)  # fmt: skip
def test_movielens_reads_all_four_published_shapes(tmp_path, log, text, items, catalogue):
    (tmp_path / log).write_text(text)
    (tmp_path / items).write_text(catalogue)
    dataset = ingest(tmp_path / log, preset="movielens")
    assert dataset.events.select("user_id", "item_id", "kind").rows() == [("1", "10", "like"), ("2", "11", "like")]
    assert dataset.events["time"].dt.strftime("%F %T").to_list() == ["2000-12-31 22:12:40", "2000-12-31 22:35:09"]
    assert dataset.events["rating"].cast(pl.Float64).to_list() == [5, 3]
    assert dataset.catalogue["title"].to_list() == ["Star Trek: II (1982)", None]


def test_stars_can_be_told_apart_as_feedback(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,10,5.0,978300760\n1,11,1.0,978302109\n")
    kinds = {"5.0": "like", "1.0": "dislike"}
    dataset = ingest(tmp_path / "ratings.csv", preset="movielens", mapping={"event": "rating"}, kinds=kinds)
    assert dataset.events["kind"].to_list() == ["like", "dislike"]


def test_rees46_shape_is_read_by_generic_with_a_mapping(tmp_path):
    header = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    rows = [
        "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
        "2019-10-01 00:00:01 UTC,cart,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
        "2019-10-01 00:00:02 UTC,remove_from_cart,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde",
    ]
    (tmp_path / "2019-Oct.csv").write_text(header + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"no column for item \(.*found event_time, .*generic"):
        ingest(tmp_path / "2019-Oct.csv", preset="movielens")
    mapping = {"item": "product_id", "time": "event_time", "category": "category_code", "session": "user_session"}
    dataset = ingest(tmp_path / "2019-Oct.csv", preset="generic", mapping=mapping)
    assert dataset.events.select("kind", "session_id", "brand").rows() == [
        ("view", "72d76fde", "shiseido"),
        ("cart", "72d76fde", "shiseido"),
    ]
    assert dataset.events["undone_time"].dt.second().to_list() == [None, 2]


def test_the_online_retail_sample_is_what_its_publisher_says():
    dataset = Dataset.open("sample:online-retail")
    summary = dataset.summary
    assert summary["rows"] == 541_909
    assert summary["rejected"]["user is missing"] == 135_080
    assert set(summary["rejected"]) == {"user is missing", "not a product", "unit price is not above zero"}
    kept = summary["events"] + summary["cancellations"] + summary["duplicates"]
    assert kept + sum(summary["rejected"].values()) == summary["rows"]
    assert (summary["users"], summary["items"]) == (4_362, 3_676)
    assert 0 < summary["undone"] < summary["cancellations"] == 8_506
    assert dataset.catalogue["title"].null_count() == 0
    assert dataset.catalogue["price"].min() > 0
    assert not set(dataset.items.ids) & {"POST", "M", "m", "D", "DOT", "C2", "BANK CHARGES", "PADS"}
    split = temporal(dataset.interactions(), parse_time("2011-11-09"))
    assert split.train.n_events + split.test.n_events < summary["events"]
    assert split.train.n_users == split.test.n_users == summary["users"]


def test_the_eshop_sample_is_what_its_publisher_says():
    dataset = Dataset.open("sample:eshop-2008")
    assert [dataset.summary[key] for key in ("rows", "events", "users", "items")] == [165_474, 165_474, 24_026, 217]
    assert dataset.summary["rejected"] == {}
    published = pl.read_parquet(SAMPLES / "eshop_clothing_2008" / "clicks.parquet")
    last = published.sort("session_id", "click_no").group_by("session_id").agg(pl.col("item_id").last(), pl.len())
    wanted = dict(last.filter(pl.col("len") > 1).select(pl.col("session_id").cast(pl.String), "item_id").iter_rows())
    test = leave_last_out(dataset.interactions()).test
    found = zip(dataset.users.ids.gather(test.user_idx), dataset.items.ids.gather(test.item_idx), strict=True)
    assert dict(found) == wanted


def test_an_unknown_sample_names_the_known_ones():
    with pytest.raises(DataError, match="sample='x': must be one of online-retail, eshop-2008"):
        Dataset.open("sample:x")
