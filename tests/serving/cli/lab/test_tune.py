"""`ownshelf tune`: its recipe is one that train takes, and nothing after the cut has a say in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from federation.lab.result_cache import ResultCache
from recsys.catalogue.bundle import Bundle
from tests.federation.simulation.test_training import tastes
from tests.serving.cli.lab.test_lab import COLUMNS, invoke

QUICK = ("--trials", "4", "--settings", "2", "--rounds", "3", "--dim", "4", "--cohort-size", "50", "--folds", "2")


def write_log(folder: Path, items: np.ndarray, times: np.ndarray, users: np.ndarray) -> Path:
    time = pl.from_epoch(pl.Series(times // 1_000_000 + 1_700_000_000))
    frame = {
        "visitor": [f"v{user}" for user in users],
        "sku": [f"i{item}" for item in items],
        "at": time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "what": ["buy" if item % 3 else "look" for item in items],
    }
    folder.mkdir()
    pl.DataFrame(frame).write_csv(folder / "events.csv")
    code, _, err = invoke(
        "ingest", folder / "events.csv", "--out", folder / "shop", "--map", COLUMNS, "--kinds",
        "buy=purchase look=view",
    )  # fmt: skip
    assert code == 0, err
    return folder / "shop"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = tastes(n_users=80)
    return write_log(tmp_path_factory.mktemp("tuned") / "log", log.item_idx, log.time, log.user_idx)


def test_a_tuned_recipe_is_trained_and_evaluated(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    code, text, err = invoke("tune", shop, "--out", out, *QUICK, "--json")
    assert code == 0, err
    figures = json.loads(text)
    assert figures == json.loads((out / "tune.json").read_text())
    table = pl.read_parquet(out / "trials.parquet")
    chosen = table.filter("chosen")
    assert chosen["mean"].item() == table["mean"].max() == figures["best"]["mean"] >= figures["start"]["mean"]
    assert (out / "trials.png").read_bytes().startswith(b"\x89PNG")
    recipe = json.loads((out / "recipe.json").read_text())
    assert recipe["train"]["rounds"] == chosen["rounds"].item()
    assert recipe["serve"]["reg"] == chosen["serve_reg"].item()
    code, text, err = invoke("train", shop, "--recipe", out / "recipe.json", "--out", tmp_path / "bundle", "--json")
    assert code == 0, err
    assert json.loads(text)["selection_participations"] == figures["participations"]
    assert Bundle.load(tmp_path / "bundle").config.reg == recipe["serve"]["reg"]
    code, text, err = invoke("evaluate", shop, "--recipe", out / "recipe.json", "--models", "personalized", "--json")
    assert code == 0, err
    assert json.loads(text)["serve"]["half_life"] == recipe["serve"]["half_life"]


def test_the_command_it_prints_works_for_a_dataset_in_a_folder(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    code, text, err = invoke("tune", shop, "--out", out, *QUICK)
    assert code == 0, err
    (printed,) = [line.split() for line in text.splitlines() if line.split()[:2] == ["ownshelf", "evaluate"]]
    assert printed == ["ownshelf", "evaluate", str(shop), "--recipe", str(out / "recipe.json")]
    assert invoke(*printed[1:], "--models", "personalized", "--json")[0] == 0


def test_ctrl_c_leaves_a_recipe_and_the_same_command_goes_on(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert invoke("tune", shop, "--out", whole, *QUICK)[0] == 0
    real = ResultCache.get_or_compute

    def stop_at_the_sixth(self: ResultCache, words: Any, work: Any) -> Any:
        if self.folder is not None and self.folder.exists() and len(list(self.folder.iterdir())) == 6:
            raise KeyboardInterrupt
        return real(self, words, work)

    monkeypatch.setattr(ResultCache, "get_or_compute", stop_at_the_sixth)
    code, _, err = invoke("tune", shop, "--out", stopped, *QUICK)
    assert code == 130
    assert "the same command goes on from there" in " ".join(err.split())
    assert pl.read_parquet(stopped / "trials.parquet")["mean"].is_not_null().all()
    assert (stopped / "recipe.json").exists()
    monkeypatch.undo()
    assert invoke("tune", shop, "--out", stopped, *QUICK)[0] == 0
    for file in ("recipe.json", "trials.parquet"):
        assert (stopped / file).read_bytes() == (whole / file).read_bytes()


def test_other_events_in_the_last_fifth_change_nothing(shop: Path, tmp_path: Path) -> None:
    log = tastes(n_users=80)
    later = np.flatnonzero(log.time >= np.quantile(log.time, 0.8))
    items = log.item_idx.copy()
    items[later] = np.random.default_rng(3).permutation(items[later])
    other = write_log(tmp_path / "log", items, log.time, log.user_idx)
    for source, out in ((shop, "one"), (other, "two")):
        assert invoke("tune", source, "--out", tmp_path / out, *QUICK)[0] == 0
    assert (tmp_path / "one" / "trials.parquet").read_bytes() == (tmp_path / "two" / "trials.parquet").read_bytes()
    assert (tmp_path / "one" / "recipe.json").read_bytes() == (tmp_path / "two" / "recipe.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--part", "old"), "part='old': must be all or new"),
        (("--protocol", "psychic"), "protocol='psychic': must be auto, temporal"),
        (("--recipe", "soup"), "recipe='soup'"),
        (("--until", "1990-01-01"), "no event is before it"),
        (("--until", "2090-01-01"), "must be before the last event"),
        (("--minutes", "0"), "cpu_s=0.0: must be"),
    ],
)
def test_a_mistake_is_one_line(shop: Path, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = invoke("tune", shop, "--out", tmp_path / "out", *QUICK, *arguments)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert words in err


def test_a_folder_of_something_else_is_left_alone(shop: Path, tmp_path: Path) -> None:
    code, _, err = invoke("tune", shop, "--out", shop, *QUICK)
    assert code == 1
    assert "will not be overwritten" in err
