"""Ingest of a shop's own file: what is kept, what is refused and why, and that bad input is one clear error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.interactions import EventKind
from data.log_reading.ingest import ingest
from data.log_reading.numbering import in_time_order
from data.vocabulary import Vocabulary

HEADER = "user_id,item_id,time,event,price,quantity\n"
GOOD = "u1,a,2024-01-01 10:00:00,view,1.5,\n"


def log(tmp_path: Path, text: str, name: str = "log.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def refused(dataset: Dataset) -> list[tuple[int, str, str | None]]:
    return list(dataset.rejects.iter_rows())


def test_events_come_back_canonical(tmp_path):
    text = HEADER + "u2,b,2024-01-01 11:00:00,purchase,2,3\n" + GOOD + "u2,a,2024-01-01 10:30:00,cart,,\n"
    dataset = ingest(log(tmp_path, text))
    assert dataset.events.drop("undone_time").rows() == [
        ("u1", "a", "view", dataset.events["time"][0], 1.5, None, None, 0, 0),
        ("u2", "a", "cart", dataset.events["time"][1], None, None, None, 1, 0),
        ("u2", "b", "purchase", dataset.events["time"][2], 2.0, 3.0, None, 1, 1),
    ]
    assert dataset.events.schema["time"] == pl.Datetime("us", "UTC")
    assert dataset.events["time"].dt.strftime("%F %T").to_list()[2] == "2024-01-01 11:00:00"
    inter = dataset.interactions()
    assert inter.offsets.tolist() == [0, 1, 3]
    assert inter.kind.tolist() == [EventKind.VIEW, EventKind.CART, EventKind.PURCHASE]
    assert inter.quantity.tolist() == [1, 1, 3]
    assert inter.item_idx.dtype == np.int32
    assert inter.time[0] == 1_704_103_200_000_000  # 2024-01-01 10:00:00 UTC


def test_bad_rows_are_refused_with_line_and_reason_and_counted(tmp_path):
    rows = [
        ",a,2024-01-01 10:00:00,view,1,",  # line 3
        "u1,,2024-01-01 10:00:00,view,1,",
        "u1,a,yesterday,view,1,",
        "u1,a,2024-01-01 10:00:00,stare,1,",
        "u1,a,2024-01-01 10:00:00,view,cheap,",
        "u1,a,2024-01-01 10:00:00,view,-1,",
        "u1,a,2024-01-01 10:00:00,purchase,1,0",
        "u1,a,2024-01-01 10:00:00,view,1,-2",
        "u1,a,2024-01-01 10:00:00,view,1,2,extra",
        "",
        "u2,a,2024-01-01 10:00:00,view,nan,",  # a word for no price
    ]
    dataset = ingest(log(tmp_path, HEADER + GOOD + "\n".join(rows) + "\n"))
    assert refused(dataset) == [
        (3, "user is missing", None),
        (4, "item is missing", None),
        (5, "time is not readable", "yesterday"),
        (6, "unknown event kind", "stare"),
        (7, "price is not a number", "cheap"),
        (8, "price is negative", "-1"),
        (9, "quantity is not above zero", "0"),
        (10, "quantity is not above zero", "-2"),
        (11, "more fields than columns", "extra"),
        (12, "line is empty or unreadable", None),
    ]
    assert dataset.summary["rejected"]["quantity is not above zero"] == 2
    assert sum(dataset.summary["rejected"].values()) == 10
    assert (dataset.summary["rows"], dataset.summary["events"]) == (12, 2)


def test_lines_are_those_of_the_file_even_after_a_quoted_line_end(tmp_path):
    text = 'user_id,item_id,time,note\nu1,a,2024-01-01,"two\nlines"\n,a,2024-01-01,x\n'
    assert refused(ingest(log(tmp_path, text))) == [(4, "user is missing", None)]


def test_stray_quotes_lose_no_row(tmp_path):
    rows = ['u1,5" disc,2024-01-01', 'u1,"a ""b""",2024-01-02', "u2,c,2024-01-03,more", "u2", 'u2,9",2024-01-04']
    dataset = ingest(log(tmp_path, "user_id,item_id,time\n" + "\n".join(rows)))
    assert dataset.events["item_id"].to_list() == ['5" disc', 'a "b"', '9"']
    assert refused(dataset) == [(4, "more fields than columns", "more"), (5, "item is missing", None)]


def test_a_jsonl_line_that_is_no_json_is_refused_alone(tmp_path):
    text = (
        '{"user_id": 7, "item_id": "a", "time": "2024-01-01"}\n\n{"user_id": broken\n'
        '{"item_id": "b", "time": "2024-01-02", "user_id": "7"}\n{"user_id": "7", "time": "2024-01-02"}\n'
    )
    dataset = ingest(log(tmp_path, text, "log.jsonl"))
    assert dataset.events["item_id"].to_list() == ["a", "b"]
    assert refused(dataset) == [
        (3, "line is empty or unreadable", None),
        (5, "item is missing", None),
    ]


def test_exact_duplicates_are_dropped_and_counted_others_stay(tmp_path):
    dataset = ingest(log(tmp_path, HEADER + GOOD + GOOD + GOOD.replace("1.5", "1.6") + GOOD.replace("view", "cart")))
    assert dataset.summary["duplicates"] == 1
    assert dataset.events["kind"].to_list() == ["view", "view", "cart"]


HEADER_WITH_EVENT = "user_id,item_id,time,event\n"


def test_a_negative_purchase_undoes_and_so_does_a_kind_mapped_to_it(tmp_path):
    rows = [
        "u1,a,2024-01-01 10:00:00,purchase,1,2",
        "u1,b,2024-01-01 10:00:00,purchase,1,1",
        "u1,a,2024-01-03 10:00:00,purchase,1,-2",
        "u1,b,2024-01-04 10:00:00,sent back,1,1",
        "u1,b,2024-01-05 10:00:00,view,1,1",
    ]
    dataset = ingest(log(tmp_path, HEADER + "\n".join(rows)), kinds={"sent back": "-purchase"})
    assert dataset.events["kind"].to_list() == ["purchase", "purchase", "view"]
    assert dataset.events["undone_time"].dt.day().to_list() == [3, 4, None]
    inter = dataset.interactions()
    assert inter.undone_row.tolist() == [0, 1]
    assert (inter.undone_time > inter.time[:2]).all()
    assert dataset.summary["undone"] == 2


def test_ids_keep_leading_zeros_and_numbers_stay_whole(tmp_path):
    text = "user_id,item_id,time\n007,1,2024-01-01\n7,2,2024-01-01\n+7,12345678901234567890,2024-01-02\n"
    dataset = ingest(log(tmp_path, text))
    assert dataset.users.ids.to_list() == ["007", "7", "+7"]
    assert dataset.items.ids.to_list() == ["1", "2", "12345678901234567890"]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text("0123456789+-:.", min_size=1, max_size=6), min_size=1, max_size=30))
def test_ids_that_look_like_numbers_come_back_letter_by_letter(tails):
    ids = [*map(str, range(1_000)), "-5", "0", *tails]
    frame = pl.DataFrame({"user_id": ids, "item_id": ids, "time": ["2024-01-01"] * len(ids)})
    dataset = ingest(frame.filter(~pl.col("item_id").is_in([".", ".."])))
    wanted = [key for key in dict.fromkeys(ids) if key not in (".", "..")]
    assert dataset.users.ids.to_list() == dataset.items.ids.to_list() == wanted


def test_an_odd_id_after_many_plain_ones_is_kept(tmp_path):
    rows = [f"{k},{k % 7},2024-01-01" for k in range(1, 3_001)] + ["guest,0007,2024-01-01", "-0,7,2024-01-01"]
    dataset = ingest(log(tmp_path, "user_id,item_id,time\n" + "\n".join(rows)))
    assert dataset.users.ids.tail(2).to_list() == ["guest", "-0"]
    assert dataset.items.ids.to_list()[-2:] == ["0007", "7"]


def test_pandas_polars_lazy_csv_parquet_and_jsonl_give_the_same_dataset(tmp_path):
    frame = pl.DataFrame(
        {
            "user": [3, 1, None, 3],
            "item": ["x", "y", "x", "y"],
            "time": ["2024-01-02 00:00:00", "2024-01-01 00:00:00", "2024-01-01 00:00:00", "2024-01-01 12:00:00"],
            "colour": ["red", None, "red", "blue"],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_csv(tmp_path / "log.csv")
    frame.write_ndjson(tmp_path / "log.jsonl")
    pandas = frame.to_pandas()
    assert pandas["user"].dtype == float  # a gap makes 3 into 3.0 there
    sources = [frame, frame.lazy(), pandas, *(tmp_path / f"log.{kind}" for kind in ("parquet", "csv", "jsonl"))]
    datasets = [ingest(source) for source in sources]
    assert len({dataset.hash for dataset in datasets}) == 1
    assert datasets[0].users.ids.to_list() == ["1", "3"]
    assert datasets[0].events["colour"].to_list() == [None, "blue", "red"]
    assert [reason for _, reason, _ in refused(datasets[2])] == ["user is missing"]
    assert refused(datasets[0])[0][0] == 3
    assert refused(datasets[4])[0][0] == 4


def test_extra_columns_are_kept_or_chosen_and_never_shadow_canonical_ones(tmp_path):
    text = "who,what,when,kind,shop\nu1,a,2024-01-01,odd,Oslo\n"
    mapping = {"user": "who", "item": "what", "time": "when"}
    dataset = ingest(log(tmp_path, text), mapping={**mapping, "event": "shop"}, kinds={"Oslo": "like"})
    assert dataset.events["source_kind"].to_list() == ["odd"]
    assert dataset.events["kind"].to_list() == ["like"]
    chosen = ingest(log(tmp_path, text.replace("odd", "view")), mapping=mapping, keep=["shop"])
    assert chosen.events["shop"].to_list() == ["Oslo"]
    with pytest.raises(DataError, match="keep=shoe: no such column"):
        ingest(log(tmp_path, text), mapping=mapping, keep=["shoe"])


def test_growing_a_vocabulary_never_moves_an_index(tmp_path):
    old = ingest(log(tmp_path, "user_id,item_id,time,title\nu1,b,2024-01-01,Bee\nu2,a,2024-01-02,Ant\n"))
    text = "user_id,item_id,time,title\nu3,c,2024-01-01,Cat\nu2,a,2024-01-02,Ape\n"
    new = ingest(log(tmp_path, text), base=old)
    assert new.items.ids.to_list() == ["b", "a", "c"]
    assert new.users.ids.to_list() == ["u1", "u2", "u3"]
    assert new.catalogue["title"].to_list() == ["Bee", "Ape", "Cat"]
    assert new.interactions().counts.tolist() == [0, 1, 1]
    assert ingest(log(tmp_path, text), base=Vocabulary(("z", "a"))).items.ids.to_list() == ["z", "a", "c"]


def test_catalogue_takes_the_last_word_in_time_the_median_price_and_the_items_file(tmp_path):
    rows = ["u2,a,2024-01-03,new,5", "u1,a,2024-01-01,old,1", "u1,a,2024-01-02,,2", "u1,b,2024-01-01,,"]
    path = log(tmp_path, "user_id,item_id,time,title,price\n" + "\n".join(rows))
    dataset = ingest(path)
    assert dataset.catalogue.columns == ["item_id", "title", "category", "price", "available"]
    assert dataset.catalogue.rows() == [("a", "new", None, 2.0, True), ("b", None, None, None, True)]
    items = log(tmp_path, "sku,title,price,available,material\nb,Bowl,9,no,clay\nz,Zebra,1,yes,fur\n", "items.csv")
    dataset = ingest(path, items=items)
    assert dataset.catalogue.rows() == [
        ("a", "new", None, 2.0, True, None),
        ("b", "Bowl", None, 9.0, False, "clay"),
        ("z", "Zebra", None, 1.0, True, "fur"),
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("user_id,item_id,when\n1,2,3\n", {}, r"no column for time \(known as time, .*found user_id, item_id, when"),
        ("session_id,item_id,ts\n1,2,3\n", {"preset": "movielens"}, "presets that nearly match: .*generic"),
        ("user_id,item_id,time\n", {}, "the log is empty"),
        ("user_id,item_id,time,timestamp\n1,2,2024-01-01,5\n", {}, "time and timestamp both fit"),
        ("user_id,item_id,time\n1,2,2024-01-01\n", {"mapping": {"user": "id"}}, "mapping user=id: no such column"),
        ("user_id,item_id,time\n1,2,2024-01-01\n", {"mapping": {"who": "user_id"}}, "the role must be one of user"),
        (
            "user_id,item_id,time\n1,2,2024-01-01\n",
            {"preset": "nope"},
            "preset='nope': must be one of auto, online-retail",
        ),
        ("user_id,item_id,time\n1,2,2024-01-01\n", {"kind": "stare"}, "'stare': must be one of view"),
        ("user_id,item_id,time\n1,2,2024-01-01\n", {"kinds": {"x": "y"}}, r"kinds\['x'\]='y': must be one of view"),
        ("user_id,item_id,time\n,2,2024-01-01\n", {}, r"none of 1 rows is usable: user is missing \(1\)"),
        ("user_id,user_id,time\n1,2,2024-01-01\n", {}, "column 'user_id' occurs twice"),
        ('user_id,item_id,time\n1,"2,2024-01-01\n1,3,2024-01-01\n', {}, "line 2: a quote is opened and never closed"),
        (
            "user_id,item_id,time\n" + "1,2,2024-01-01\n" * 9 + '1,3,"2024\n1,2,2024\n',
            {},
            "line 11: a quote is opened and never",
        ),
        ("user_id,item_id,time,event\n1,2,2024-01-01,odd\n", {}, r"unknown event kind \(1\), e\.g\. line 2: 'odd'"),
        ("user_id,item_id,time,event\n1,2,2024-01-01,refund\n", {}, "all 1 usable rows are cancellations"),
        ("", {}, "the file is empty"),
        ("{\n", {}, "no line of its start is a JSON object"),
    ],
)
def test_a_log_that_cannot_be_used_is_one_clear_error(tmp_path, text, options, message):
    with pytest.raises(DataError, match=message) as error:
        ingest(log(tmp_path, text), **options)
    assert "\n" not in str(error.value)


def test_a_source_that_is_no_log_is_one_clear_error(tmp_path):
    wrong = {
        "no such file": tmp_path / "missing.csv",
        "is a folder without a file that ends in one of .csv": tmp_path / "empty",
        "neither text nor parquet": tmp_path / "photo.png",
        r"cannot be unpacked \(File is not a zip file\)": tmp_path / "log.xlsx",
        "no usable parquet file": tmp_path / "half.parquet",
        "must be a path or a polars or pandas frame": 7,
        "source=frame: ": pd.DataFrame({"user_id": ["a", 1], "item_id": 1, "time": 1}),
    }
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "log.xlsx").write_bytes(b"PK\3\4" + bytes(50))
    (tmp_path / "half.parquet").write_bytes(b"PAR1" + bytes(50))
    for message, source in wrong.items():
        with pytest.raises(DataError, match=message) as error:
            ingest(source)
        assert "\n" not in str(error.value)


def test_two_candidates_for_an_optional_role_are_left_alone_and_told(tmp_path):
    text = "user_id,item_id,time,category,category_code\n1,2,2024-01-01,x,y\n"
    dataset = ingest(log(tmp_path, text), kind="view")
    assert dataset.catalogue["category"].to_list() == [None]
    assert dataset.summary["notes"] == [
        "category: category and category_code both fit, neither was taken; say which by category=COLUMN"
    ]


def test_text_that_is_not_utf_8_is_read_as_windows_and_told_wherever_that_begins(tmp_path):
    path = tmp_path / "log.csv"
    plain = "".join(f"{k},2,2024-01-01,Cup\n" for k in range(60_000))
    assert len(plain) > 1 << 20
    path.write_bytes(f"user_id,item_id,time,title\n{plain}1,Käse,2024-01-02,5 € – a\n".encode("cp1252"))
    dataset = ingest(path)
    assert dataset.catalogue.filter(item_id="Käse")["title"].to_list() == ["5 € – a"]
    assert dataset.summary["notes"][0] == "text: is not UTF-8, it is read as Windows-1252"


def test_a_broken_byte_does_not_make_a_file_of_another_encoding(tmp_path):
    path = tmp_path / "log.csv"
    rows = "".join(f"{k},Käse,2024-01-01,view\n" for k in range(5))
    path.write_bytes(f"user_id,item_id,time,event\n{rows}".encode() + b"9,K\xe4se,2024-01-01,view\n")
    dataset = ingest(path)
    assert dataset.catalogue["item_id"].to_list() == ["Käse", "K\ufffdse"]
    assert dataset.summary["notes"] == ["text: 1 places are not UTF-8, they are read as \ufffd"]


def test_text_of_pieces_is_the_text(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(b"user_id,item_id,time\n" + "é".encode() * (1 << 20) + b",1,2024-01-01\n")  # é over the edge
    assert ingest(path).summary["notes"][:1] != ["text: is not UTF-8, it is read as Windows-1252"]
    path.write_bytes("user_id,item_id,time\n1,2,2024-01-01\n".encode("utf-16"))
    assert ingest(path).summary["notes"][0] == "text: is UTF-16, it is read as such"


def test_what_would_be_found_out_late_is_told_at_once(tmp_path):
    text = HEADER_WITH_EVENT + "1,a,2024-01-01,stare\n2,a,2024-01-01,stare\n3,a,2024-01-01,buy\n4,b,2999-01-01,buy\n"
    notes = ingest(log(tmp_path, text)).summary["notes"]
    assert notes == [
        "rows: 2 of 4 were refused (50.0%); each is in rejects.jsonl with its reason",
        "event: 'stare' (2) of unknown meaning; say it by kinds: stare=KIND, KIND being view, cart, purchase, like, "
        "dislike, one of these with a minus to undo it, or ignore",
        "time: 1 events are in the future, the last on 2999-01-01; "
        "what is popular counts from the last event, so train until= an earlier day",
    ]
    bare = log(tmp_path, "user_id,item_id,time\n1,a,2024-01-01\n")
    assert ingest(bare).summary["notes"] == [
        "event: no column says what happened, so all of it is a view; say otherwise by kind="
    ]
    assert ingest(bare, kind="view").summary["notes"] == []
    nameless = pl.DataFrame({"item_id": ["a"], "product_type": ["cup"]})
    assert ingest(bare, kind="view", items=nameless).summary["notes"] == [
        "items: 1 of 1 items of the log are in it",
        "items: no column for title (known as title, item_title, product_title); the catalogue has none",
    ]


def test_latin_1_text_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes("user_id;item_id;time;title\n1;2;2024-01-01;Café\n".encode("latin-1"))
    assert ingest(path).catalogue["title"].to_list() == ["Café"]
    path.write_bytes("\ufeffuser_id,item_id,time,title\r\n1,2,2024-01-01,Café\r\n".encode())
    assert ingest(path).catalogue["title"].to_list() == ["Café"]


def test_the_machines_time_zone_changes_nothing(tmp_path):
    path = log(tmp_path, "user_id,item_id,time\n1,2,2024-01-01 00:00:00\n")
    code = (
        "import sys; from data.log_reading.ingest import ingest; print(int(ingest(sys.argv[1]).interactions().time[0]))"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "TZ": zone},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for zone in ("Asia/Tokyo", "America/Lima")
    ]
    assert said == ["1704067200000000\n"] * 2


def test_the_summary_is_json(tmp_path):
    dataset = ingest(log(tmp_path, HEADER + GOOD + ",,,,,\n"))
    assert json.loads(json.dumps(dataset.summary)) == dataset.summary


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 5), st.sampled_from("vc")), min_size=1),
    st.booleans(),
)
def test_order_numbers_and_duplicates_agree_with_a_plain_loop(rows, sparse):
    scale = 10**15 if sparse else 1
    frame = pl.DataFrame(
        {
            "user_id": [user * scale for user, _, _, _ in rows],
            "item_id": [f"i{item}" for _, item, _, _ in rows],
            "time": [1_700_000_000 + time for _, _, time, _ in rows],
            "event": [{"v": "view", "c": "cart"}[kind] for _, _, _, kind in rows],
        }
    )
    by_time = sorted(rows, key=lambda row: row[2])
    users = list(dict.fromkeys(row[0] for row in by_time))
    items = list(dict.fromkeys(row[1] for row in by_time))
    expected = sorted(dict.fromkeys(by_time), key=lambda row: users.index(row[0]))
    dataset = ingest(frame, time_unit="s")
    assert dataset.users.ids.to_list() == [str(user * scale) for user in users]
    assert dataset.items.ids.to_list() == [f"i{item}" for item in items]
    found = dataset.log.select("user_idx", "item_idx", "time", "kind").with_columns(pl.col("time").dt.epoch("s"))
    assert found.rows() == [
        (users.index(user), items.index(item), 1_700_000_000 + time, "vc".index(kind))
        for user, item, time, kind in expected
    ]
    assert dataset.summary["duplicates"] == len(rows) - len(expected)


@pytest.mark.parametrize(
    ("step", "order", "hashed"),
    [
        (1, "", "42cb8e9f643407f748fbc4de068027ed5be6fcf51a750e5b55671b0f9060eac6"),
        (7, "", "e42135fd8db8bfaec9955a4c2d05c4b49766cbd81fa580015c5056fdd1425da6"),
        (7, "order_in_session", "b137b094a56bbe04b9d4724cb3b4ac1af2d75318fb08ad3967767983f11508b3"),
    ],
    ids=["in time order", "in none", "in none, with an order of its own"],
)
def test_a_dataset_keeps_the_hash_that_the_first_version_of_ingest_gave_it(tmp_path, step, order, hashed):
    lines = [f"user_id,item_id,time,event,price,quantity,session_id,category,{order or 'note'}"]
    for k in (step * k % 3_000 for k in range(3_000)):
        user = "" if k % 97 == 0 else 512_000_000 + k * k % 31
        event = ("view", "view", "cart", "purchase", "remove_from_cart", "refund", "view")[(k * k + k // 3) % 7]
        time = f"2019-10-{1 + k // 100:02} {k % 100 // 5:02}:00:00"
        lines.append(f"{user},p{k * 7 % 13},{time},{event},{k % 17 + 0.5},{k % 3 + 1},s{k // 50},c{k % 9},{k % 2}")
        lines += lines[-1:] * (k % 50 == 0)
    dataset = ingest(log(tmp_path, "\n".join(lines)))
    assert dataset.summary["undone"] > 100
    assert dataset.summary["duplicates"] > 50
    assert dataset.summary["rejected"] == {"user is missing": 32}
    assert dataset.hash == hashed


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, 0, 1, 2]), st.integers(0, 9)), min_size=1, max_size=30)
)
def test_rows_come_in_the_order_of_time_then_their_own_then_the_logs(rows):
    frame = pl.DataFrame(rows, schema={"time": pl.Int64, "order": pl.Int64, "item": pl.Int64}, orient="row")
    assert in_time_order(frame).rows() == sorted(rows, key=lambda row: (row[0], row[1] or 0))
