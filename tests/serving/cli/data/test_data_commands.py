"""Commands over a shop's own files: inspect says how a file is read, dataset erases, catalogue puts what changed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from data.dataset import Dataset, open_known, read_log
from data.erasure import erase_users
from data.errors import DataError, ServingError
from data.log_reading.opening.feed_files import open_feed
from serving.cli.data.catalogue import difference, import_feed, watch_feed
from serving.cli.main import app
from tests.serving.keyed import keyed_service

LOG = "user_id,item_id,time,event\n" + "".join(f"u{k % 5},i{k % 3},{1_705_276_800 + k},view\n" for k in range(50))
FEED = "id\ttitle\tlink\tprice\tavailability\n"


def invoke(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_inspect_says_what_a_file_is_and_ends_with_the_command_that_reads_it(tmp_path: Path):
    path = tmp_path / "my log.csv"
    path.write_text(LOG + "u9,i1,never,view\n")
    code, told = invoke("inspect", path, "--json")
    assert code == 0
    found = json.loads(told)
    assert found["what"].startswith("a log, generic")
    assert {column["name"]: column["role"] for column in found["columns"]} == {
        "user_id": "user", "item_id": "item", "time": "time", "event": "event",
    }  # fmt: skip
    assert len(found["rows"]) == 10
    assert found["rows"][0]["time"].startswith("2024-01-15 00:00:00")
    assert found["refused"] == [{"line": 52, "reason": "time is not readable", "value": "never"}]
    code, text = invoke("inspect", path)
    last = text.strip().splitlines()[-1]
    assert last == f"next: ownshelf ingest '{path}' --out shop"
    assert invoke("ingest", path, "--out", tmp_path / "shop")[0] == 0
    assert not (tmp_path / "inspected").exists()


def test_inspect_names_columns_and_paths_of_a_file_that_cannot_be_read_yet(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"who": {"id": "u"}, "what": [{"sku": "a"}], "when": "2024-01-01"}\n')
    code, told = invoke("inspect", path, "--json")
    found = json.loads(told)
    assert [column["name"] for column in found["columns"]] == ["who.id", "what.0.sku", "when"]
    assert "no column for user" in found["problem"]
    assert code == 0
    mapping = ["--map", "user=who.id item=what.0.sku time=when"]
    code, told = invoke("inspect", path, *mapping, "--json")
    assert json.loads(told)["rows"][0]["item_id"] == "a"
    assert invoke("inspect", tmp_path / "none.csv") == (1, f"error: source={tmp_path / 'none.csv'}: no such file\n")


def test_inspect_knows_a_feed(tmp_path: Path):
    path = tmp_path / "feed.tsv"
    path.write_text(FEED + "A\tPan\thttps://x.example\t5 EUR\tin stock\n")
    found = json.loads(invoke("inspect", path, "--json")[1])
    assert found["what"] == "a catalogue feed, google-merchant: 1 items"
    assert found["command"].endswith("--out shop")


def test_ingest_takes_several_files_globs_and_folders(tmp_path: Path):
    lines = LOG.splitlines(keepends=True)
    for day, part in enumerate((lines[1:20], lines[20:])):
        folder = tmp_path / "log" / f"day={day}"
        folder.mkdir(parents=True)
        (folder / "part.csv").write_text(lines[0] + "".join(part))
    whole = tmp_path / "whole.csv"
    whole.write_text(LOG)
    wanted = read_log(whole).interactions()
    for number, source in enumerate(
        ([tmp_path / "log"], [f"{tmp_path}/log/*/*.csv"], sorted((tmp_path / "log").rglob("*.csv")))
    ):
        assert invoke("ingest", *source, "--out", tmp_path / f"shop{number}")[0] == 0
        dataset = Dataset.open(tmp_path / f"shop{number}")
        assert dataset.interactions().time.tolist() == wanted.time.tolist()
        assert set(dataset.events["day"]) == {"0", "1"}


def test_an_erased_shopper_is_in_no_dataset_grown_from_there(tmp_path: Path):
    path, shop = tmp_path / "log.csv", tmp_path / "shop"
    path.write_text(LOG)
    before = read_log(path, out=shop)
    code, told = invoke("dataset", "erase-user", shop, "u1", "u3", "--json")
    assert (code, json.loads(told)) == (0, {"users": 2, "events": 20})
    after = Dataset.open(shop)
    assert after.summary["events"] == 30
    assert after.summary["erased"] == {"users": 2, "events": 20}
    kept = [user for user in before.users.ids if user not in ("u1", "u3")]
    assert after.users.index_of(kept).tolist() == before.users.index_of(kept).tolist()
    (tmp_path / "new.csv").write_text("user_id,item_id,time\nu9,i1,2024-02-01\n")
    grown = read_log(tmp_path / "new.csv", base=open_known(shop), out=tmp_path / "grown")
    for file in (*shop.rglob("*"), *(tmp_path / "grown").rglob("*")):
        assert b"u3" not in file.read_bytes(), file
    assert grown.users.index_of(["u9"]).tolist() == [5]
    with pytest.raises(DataError, match="user='u3': is not in dataset"):
        erase_users(shop, ["u3"])


def test_a_feed_puts_only_what_changed(tmp_path: Path):
    book, path = tmp_path / "state.json", tmp_path / "feed.tsv"

    def feed(*lines):
        path.write_text(FEED + "".join(f"{line}\n" for line in lines))
        found = open_feed(path)
        assert found is not None
        return found

    first = ["sku-1\tPan\thttps://x.example\t5 EUR\tin stock", "new-1\tPot\thttps://x.example\t$7\tpreorder"]
    first[1] = first[1].replace("$7", "7 EUR")
    (tmp_path / "service").mkdir()
    with keyed_service(tmp_path / "service") as keyed:
        with keyed.client(scope="catalogue") as client:
            assert import_feed(feed(*first), client, book) == {"items": 2, "put": 2, "gone": 0}
            assert import_feed(feed(*first), client, book) == {"items": 2, "put": 0, "gone": 0}
            changed = [first[0].replace("5 EUR", "4 EUR"), first[1]]
            assert import_feed(feed(*changed), client, book) == {"items": 2, "put": 1, "gone": 0}
            assert import_feed(feed(changed[0]), client, book) == {"items": 1, "put": 0, "gone": 1}
        with keyed.client() as client:
            assert client.get("/v1/items/sku-1").json()["price"] == 4.0
            assert client.get("/v1/items/new-1").json()["available"] is False
            with pytest.raises(ServingError, match="refused 1 items"):
                import_feed(feed(first[0]), client, tmp_path / "other.json")  # a key that may not put
    assert difference(feed(*first), {}).put.keys() == {"sku-1", "new-1"}


def test_watching_puts_what_changed_and_outlives_a_torn_feed_and_a_service_that_is_away(tmp_path: Path, capsys):
    path = tmp_path / "feed.tsv"
    path.write_text(FEED + "1\tPan\tx\t5 EUR\tin stock\n")
    done: list[str] = []
    looks = iter(["same", "growing", "grown", "settled", "away", "away", "back", "gone", "there", "there"])
    away = [False]

    def put():
        if away[0]:
            raise ServingError("service=x: cannot be reached")
        done.append(path.read_text())

    def wait():
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        if look == "growing":
            path.write_text(path.read_text() + "2\tPot\tx\t5 E")
        elif look == "grown":
            path.write_text(path.read_text() + "UR\tin stock\n")
        elif look == "gone":
            path.unlink()
        elif look == "there":
            path.write_text(FEED + "3\tJug\tx\t5 EUR\tin stock\nhalf")
        if look == "away" and not away[0]:
            away[0] = True
            path.write_text(FEED + "1\tPan\tx\t7 EUR\tin stock\n")
        away[0] = away[0] and look != "back"

    with pytest.raises(KeyboardInterrupt):
        watch_feed(str(path), put, wait)
    assert [text.count("\n") for text in done] == [2, 3, 2]
    assert "7 EUR" in done[2]
    said = capsys.readouterr().err
    assert said.count("cannot be reached") == 1
    assert said.count("no such file") == 1


def test_a_feed_that_lost_most_of_its_items_is_refused_before_anything_is_put(tmp_path: Path):
    path, book = tmp_path / "feed.tsv", tmp_path / "book.json"
    rows = [f"{k}\tPan {k}\tx\t5 EUR\tin stock\n" for k in range(40)]
    path.write_text(FEED + "".join(rows))
    (tmp_path / "service").mkdir()
    with keyed_service(tmp_path / "service") as keyed, keyed.client(scope="catalogue") as client:
        assert import_feed(open_feed(str(path)), client, book)["put"] == 40
        before = book.read_text()
        path.write_text(FEED + "".join(rows[:15]))
        with pytest.raises(DataError, match="25 of 40 items are no longer in it: is it whole"):
            import_feed(open_feed(str(path)), client, book)
        assert book.read_text() == before
        assert import_feed(open_feed(str(path)), client, book, max_gone=1.0)["gone"] == 25


def test_a_large_nested_export_is_inspected_by_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("data.inspection.HEAD_RECORDS", 3)
    record = {"event_name": "view_item", "event_timestamp": "1705276800000000", "user_pseudo_id": "p",
              "items": [{"item_id": "A"}]}  # fmt: skip
    path = tmp_path / "ga4.json"
    path.write_text("\n".join(json.dumps({**record, "user_pseudo_id": f"p{k}"}) for k in range(9)))
    code, told = invoke("inspect", path, "--json")
    summary = json.loads(told)["summary"]
    assert (code, summary["rows"]) == (0, 3)
    assert "records: only the first 3 were read" in summary["notes"]
    path.write_text("\n".join(json.dumps({**record, "user_pseudo_id": f"p{k}"}) for k in range(3)))
    assert not any(
        note.startswith("records:") for note in json.loads(invoke("inspect", path, "--json")[1])["summary"]["notes"]
    )


def test_a_feed_that_is_not_there_is_named_as_missing(tmp_path: Path):
    missing = tmp_path / "nope.xml"
    code, told = invoke("catalogue", "import", missing, "--service", "http://127.0.0.1:9")
    assert (code, told) == (1, f"error: source={missing}: no such file\n")
