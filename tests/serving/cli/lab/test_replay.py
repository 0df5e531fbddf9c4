"""`ownshelf replay`: tables in a folder, JSON that others read, and one line for every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest

from data.errors import DataError
from serving.cli.lab.replay import duration_us
from tests.recsys.replay.replay_logs import small_dataset
from tests.serving.cli.lab.test_lab import invoke

QUICK = ("--dim", "4", "--rounds", "5", "--bootstrap", "100", "--k", "5")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("replay") / "shop"
    small_dataset(9, n_events=300).save(folder)
    return str(folder)


def test_a_replay_writes_its_tables_and_prints_what_is_in_them(shop: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, stdout, _ = invoke(
        "replay", shop, "--arms", "personalized,global,popularity", "--targets", "next_item, next_purchase",
        *QUICK, "--out", str(out), "--json",
    )  # fmt: skip
    assert code == 0
    printed = json.loads(stdout)
    written = json.loads((out / "replay.json").read_text())
    assert {name: printed[name] for name in written} == written
    assert [(row["arm"], row["target"]) for row in printed["summary"]] == [
        (arm, target) for target in ("next_item", "next_purchase") for arm in ("personalized", "global", "popularity")
    ]
    assert printed["run"]["events_per_cpu_s"] > 0
    cuts = pl.read_parquet(out / "cuts.parquet").filter(cut="all", target="next_item", metric="ndcg@5")
    assert cuts["value"].to_list() == [row["ndcg@5"] for row in printed["summary"][:3]]
    assert not list(tmp_path.glob(".out*"))
    code, stdout, _ = invoke("replay", shop, *QUICK, "--sample", "0.5", "--no-lists")
    assert code == 0
    assert "next_item: mean over users" in stdout


def test_an_object_of_ones_own_is_an_arm(shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ours.py").write_text(
        "from recsys.evaluation.baselines import FixedList\n"
        "class Newest:\n"
        "    name = 'newest'\n"
        "    def publish(self, at):\n"
        "        return FixedList(self.name, at.recent.astype('float32'))\n"
        "NEWEST = Newest()\n"
    )
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = invoke("replay", shop, "--arms", "global,ours:NEWEST", *QUICK, "--json")
    assert code == 0
    first, second = json.loads(stdout)["summary"]
    assert second["arm"] == "newest"
    assert first["ndcg@5"] == second["ndcg@5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--arms", "magic"), "arm='magic'"),
        (("--arms", "no.such.module:ARM"), "no.such.module"),
        (("--arms", ":ARM"), "arm=':ARM': must be MODULE:NAME"),
        (("--arms", ".here:ARM"), "arm='.here:ARM': must be MODULE:NAME"),
        (("--arms", "serving.cli.lab.replay:duration_us"), "arm function: "),
        (("--negatives", "99"), "allow_sampled"),
        (("--targets", "next_planet"), "next_planet"),
        (("--every", "soon"), "every='soon'"),
        (("--group", "shoe_size"), "shoe_size"),
        (("--ties", "broken"), "broken"),
        (("--sample", "0"), "sample=0"),
    ],
)
def test_a_mistake_is_one_line(shop: str, arguments: tuple[str, ...], said: str) -> None:
    code, stdout, stderr = invoke("replay", shop, *QUICK, *arguments)
    assert code == 1
    assert stdout == ""
    assert stderr.strip().count("\n") == 0
    assert said in stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [("def (:", "SyntaxError"), ("raise RuntimeError('at import')", "RuntimeError: at import"), ("", "AttributeError")],
)
def test_a_module_that_does_not_import_is_one_line(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / f"arms_{said[:6].lower()}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    code, _, stderr = invoke("replay", shop, "--arms", f"arms_{said[:6].lower()}:ARM", *QUICK)
    assert (code, stderr.strip().count("\n")) == (1, 0)
    assert said in stderr


def test_a_log_in_place_of_a_dataset_is_told_to_be_ingested(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,item,time\n")
    code, _, stderr = invoke("replay", str(tmp_path / "log.csv"))
    assert (code, stderr.strip().count("\n")) == (1, 0)
    assert "is a file, must be a folder; make one with `ownshelf ingest`" in stderr


def test_durations() -> None:
    assert duration_us("90m") == 5_400_000_000
    assert duration_us("2w") == 14 * duration_us("1d")
    with pytest.raises(DataError, match="whole number"):
        duration_us("0d")


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose items are orders: each occurs once."""
    folder, n = tmp_path_factory.mktemp("orders"), 120
    frame = {
        "user": [f"u{number % 30}" for number in range(n)],
        "item": [f"order-{number}" for number in range(n)],
        "time": [f"2024-01-{1 + number // 12:02d}T{number % 12:02d}:00:00" for number in range(n)],
        "event": ["view"] * n,
    }
    pl.DataFrame(frame).write_csv(folder / "log.csv")
    assert invoke("ingest", folder / "log.csv", "--out", folder / "log")[0] == 0
    return folder / "log"


@pytest.mark.parametrize("recipe", ["sessions", "purchases"])
def test_items_that_occur_once_are_the_reason_and_not_too_few_events(orders: Path, recipe: str) -> None:
    """Each device is seen once a day, so that no round of an intent has two events in a row either."""
    code, _, err = invoke("replay", orders, *QUICK, "--recipe", recipe)
    assert code == 1
    assert re.search(
        r"no list could have been right at any of \d+ moments.*Items that occur once", " ".join(err.split())
    )


def test_evaluate_says_so_too(orders: Path) -> None:
    words = r"is in train \(\d+ are new\), so no list can hold one; each item occurs once in train"
    code, _, err = invoke("evaluate", orders, "--protocol", "temporal", "--rounds", "1", "--dim", "4")
    assert code == 1
    assert re.search(words, " ".join(err.split()))


def test_a_recipe_may_be_a_file_and_a_missing_one_is_said_to_be_missing(shop: str, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"base": "purchases", "train": {"dim": 3}}')
    code, stdout, _ = invoke("replay", shop, *QUICK[2:], "--recipe", tmp_path / "mine.json", "--json")
    assert (code, json.loads(stdout)["recipe"]) == (0, "purchases")
    code, _, err = invoke("replay", shop, *QUICK, "--recipe", tmp_path / "none.json")
    assert code == 1
    assert "or a recipe file; there is no file of that name" in " ".join(err.split())
