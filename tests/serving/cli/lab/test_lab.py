"""The laboratory's commands: from a file to a bundle, JSON that others read, and one line for every mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from data.errors import DataError
from federation.lab.result_cache import ResultCache
from recsys.catalogue.bundle import Bundle
from serving.cli.main import app
from serving.cli.pairs import pairs
from tests.federation.simulation.test_training import tastes

RUNNER = CliRunner()
COLUMNS = "user=visitor item=sku time=at event=what"
QUICK = ("--rounds", "5", "--dim", "6", "--cohort-size", "50")


def invoke(*arguments: str) -> tuple[int, str, str]:
    done = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's own csv, ingested with the mapping of the README."""
    folder = tmp_path_factory.mktemp("shop")
    log = tastes(n_users=80)
    time = pl.from_epoch(pl.Series(log.time // 1_000_000 + 1_700_000_000))
    frame = pl.DataFrame(
        {
            "visitor": [f"v{user}" for user in log.user_idx],
            "sku": [f"i{item}" for item in log.item_idx],
            "at": time.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "what": ["buy" if item % 3 else "look" for item in log.item_idx],
        }
    )
    frame.write_csv(folder / "events.csv")
    code, out, err = invoke(
        "ingest", folder / "events.csv", "--out", folder / "shop", "--map", COLUMNS,
        "--kinds", "buy=purchase look=view", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["events"] > 1_000
    return folder / "shop"


def test_evaluate_prints_the_agreed_json(shop: Path) -> None:
    code, out, err = invoke("evaluate", shop, *QUICK, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["protocol"]["ranking"] == "full"
    models = {row["model"]: row for row in result["models"]}
    assert {
        "personalized", "personalized_no_repeat", "global", "global_profile", "local", "central", "popularity",
    } <= set(models)  # fmt: skip
    for row in models.values():
        assert {"ndcg@20", "recall@20", "hit@20", "ci95"} <= set(row["all"])
        low, high = row["all"]["ci95"]["ndcg@20"]
        assert low <= row["all"]["ndcg@20"] <= high
        assert row["users"] == result["protocol"]["n_users"]


def test_evaluate_ends_with_a_sentence_and_says_why_the_recipe(shop: Path) -> None:
    code, out, err = invoke("evaluate", shop, *QUICK)
    assert code == 0, err
    said = " ".join(out.split())
    assert "recipe " in said
    assert "protocol " in said
    assert said.endswith(".")
    assert "On this log, by ndcg@20: " in said
    result = json.loads(invoke("evaluate", shop, *QUICK, "--json")[1])
    assert result["conclusion"]["sentence"] in said
    assert all(reason in said for reason in result["reasons"])
    assert {row["part"] for row in result["conclusion"]["parts"]} >= {"all", "new"}
    models = {row["model"] for row in result["models"]}
    assert {"popularity", "global", "own_counter", "item_knn", "transition"} <= models
    assert not {"ease", "ials", "fine_tune"} & models


def test_more_baselines_are_measured_on_demand_beside_the_default_ones(shop: Path) -> None:
    code, out, err = invoke("evaluate", shop, *QUICK, "--baselines", "ease,ials", "--json")
    assert code == 0, err
    models = {row["model"]: row for row in json.loads(out)["models"]}
    assert {"ease", "ials", "personalized", "central", "own_counter"} <= set(models)
    assert models["ease"]["all"]["ndcg@20"] > models["popularity"]["all"]["ndcg@20"]


def test_purchases_can_be_the_target_of_an_evaluation(shop: Path) -> None:
    command = ("evaluate", shop, *QUICK, "--models", "personalized,global", "--json")
    every, bought = (json.loads(invoke(*command, "--target", word)[1]) for word in ("any", "purchase"))
    assert 0 < bought["protocol"]["targets"] < every["protocol"]["targets"]
    assert bought["protocol"]["split"] == "temporal, purchase only"
    assert bought["protocol"]["n_items"] == every["protocol"]["n_items"]  # what is ranked stays the same


def test_items_that_only_the_test_has_are_counted_and_said(shop: Path, tmp_path: Path) -> None:
    events = pl.read_csv(shop.parent / "events.csv")
    late = events.sort("at").tail(3).with_columns(pl.lit("brand-new").alias("sku"))
    pl.concat([events, late]).write_csv(tmp_path / "events.csv")
    kinds = ("--kinds", "buy=purchase look=view")
    assert invoke("ingest", tmp_path / "events.csv", "--out", tmp_path / "log", "--map", COLUMNS, *kinds)[0] == 0
    code, out, err = invoke("evaluate", tmp_path / "log", *QUICK, "--models", "global")
    assert code == 0, err
    assert re.search(r"items that occur only after the split: 1 \([123] targets\)", " ".join(out.split()))


def test_the_same_seed_prints_the_same_json(shop: Path) -> None:
    outputs = [invoke("evaluate", shop, *QUICK, "--models", "personalized", "--json", "--seed", "3")[1] for _ in "ab"]
    assert outputs[0] == outputs[1]


def test_train_writes_a_bundle_that_evaluate_reads(shop: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    code, out, err = invoke("train", shop, "--out", bundle, *QUICK, "--json")
    assert code == 0, err
    report = json.loads(out)
    loaded = Bundle.load(bundle)
    assert report["version"] == loaded.version
    assert loaded.manifest["privacy"].startswith("off")
    assert loaded.manifest["training"]["max_participations"] == report["max_participations"] <= 6
    assert (tmp_path / "bundle-training.png").stat().st_size > 5_000
    assert not list(tmp_path.glob(".bundle*"))
    evaluation = ("evaluate", shop, "--bundle", bundle, "--models", "personalized", "--json")
    code, out, err = invoke(*evaluation)
    assert code == 1
    assert "model_reads_future in the model: it learned from events until" in " ".join(err.split())
    code, out, err = invoke(*evaluation, "--despite-leaks")
    assert code == 0, err
    found = json.loads(out)["leakage"]
    assert [leak["kind"] for leak in found["leaks"] if leak["certain"]] == ["model_reads_future"]
    assert "leak: model_reads_future" in err


def test_sampled_metrics_need_a_flag_of_their_own(shop: Path) -> None:
    command = ("evaluate", shop, *QUICK, "--protocol", "leave-last-out", "--models", "personalized", "--json")
    code, _, err = invoke(*command, "--negatives", "20")
    assert code == 1
    assert "pass --accept-sampled-metrics to repeat a published table" in " ".join(err.split())
    code, out, err = invoke(*command, "--negatives", "20", "--accept-sampled-metrics")
    assert code == 0, err
    result = json.loads(out)
    assert result["protocol"]["ranking"] == "sampled, 20 negatives: only to repeat published tables"
    assert [leak["kind"] for leak in result["leakage"]["leaks"]] == ["per_user_cut"]


def test_a_selection_stopped_by_ctrl_c_goes_on_to_the_same_bundle(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("train", shop, "--select", "--rounds", "2", "--dim", "4", "--cohort-size", "50", "--json", "--out")
    whole = json.loads(invoke(*command, tmp_path / "whole")[1])
    real = ResultCache.get_or_compute

    def stop_at_the_tenth(self: ResultCache, words: Any, work: Any) -> Any:
        if self.folder is not None and len(list(self.folder.glob("*.json"))) == 10:
            raise KeyboardInterrupt
        return real(self, words, work)

    monkeypatch.setattr(ResultCache, "get_or_compute", stop_at_the_tenth)
    code, _, err = invoke(*command, tmp_path / "bundle")
    assert code != 0
    assert "the same command goes on from there" in err
    monkeypatch.undo()
    assert len(list((tmp_path / ".bundle.selection").iterdir())) == 10
    resumed = json.loads(invoke(*command, tmp_path / "bundle")[1])
    assert resumed["holdout_ndcg"] == whole["holdout_ndcg"]
    assert resumed["selection_participations"] == whole["selection_participations"]
    assert Bundle.load(tmp_path / "bundle").config == Bundle.load(tmp_path / "whole").config
    assert not (tmp_path / ".bundle.selection").exists()


def test_train_refuses_to_overwrite_unless_told(shop: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    assert invoke("train", shop, "--out", bundle, *QUICK)[0] == 0
    code, _, err = invoke("train", shop, "--out", bundle, *QUICK)
    assert code == 1
    assert "exists already" in err
    assert invoke("train", shop, "--out", bundle, *QUICK, "--overwrite")[0] == 0


def test_evaluate_writes_plots_and_tables(shop: Path, tmp_path: Path) -> None:
    code, _, err = invoke("evaluate", shop, *QUICK, "--models", "personalized,global", "--out", tmp_path / "report")
    assert code == 0, err
    result = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    table = pl.read_parquet(tmp_path / "report" / "models.parquet")
    row = table.filter(model="personalized", part="all", metric="ndcg@20")
    assert row["value"].item() == result["models"][0]["all"]["ndcg@20"]
    for name in ("models.png", "training.png"):
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "sample:nope"), ["sample='nope'", "online-retail"]),
        (("evaluate", "SHOP", "--split-at", "yesterday"), ["yesterday", "ISO"]),
        (("evaluate", "SHOP", "--split-at", "1990-01-01"), ["train is empty"]),
        (("evaluate", "SHOP", "--protocol", "sessions", "--given", "2"), ["given=2", "between 0 and 1"]),
        (("evaluate", "SHOP", "--models", "magic"), ["models=magic", "personalized"]),
        (("evaluate", "SHOP", "--protocol", "psychic"), ["protocol='psychic'", "temporal"]),
        (("evaluate", "SHOP", "--target", "theft"), ["target='theft'", "any, view, cart, purchase, like"]),
        (("evaluate", "SHOP", "--target", "cart"), ["target=cart", "no such event after the split"]),
        (("bench", "synthetic", "--members", "x"), ["bench synthetic", "leave --members out"]),
        (("evaluate", "SHOP", "--recipe", "soup"), ["recipe='soup'", "purchases"]),
        (("train", "SHOP", "--out", "OUT", "--strategy", "luck"), ["strategy='luck'", "fine-tune"]),
        (("ingest", "OUT/none.csv", "--out", "OUT"), ["none.csv"]),
        (("ingest", "CSV", "--out", "OUT", "--map", "visitor"), ["--map visitor", "NAME=VALUE"]),
        (("ingest", "CSV", "--out", "OUT", "--map", "user=nobody"), ["nobody", "visitor"]),
        (("ingest", "CSV", "--out", "OUT", "--format", "online-retail"), ["CustomerID", "visitor"]),
        (("ingest", "CSV", "--out", "CSV/below", "--map", COLUMNS), ["events.csv", "File exists"]),
        (("train", "SHOP", "--out", "SHOP", *QUICK, "--overwrite"), ["events.parquet", "will not be overwritten"]),
        (("train", "SHOP", "--out", "CSV/below", *QUICK), ["events.csv", "File exists"]),
        (("evaluate", "SHOP", "--out", "CSV", *QUICK, "--models", "global"), ["events.csv", "File exists"]),
        (("bench", "nothing"), ["bench 'nothing'", "simulation"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    shop: Path, tmp_path: Path, arguments: tuple[str, ...], words: list[str]
) -> None:
    places = {"SHOP": str(shop), "CSV": str(shop.parent / "events.csv"), "OUT": str(tmp_path / "out")}
    places["CSV/below"] = places["CSV"] + "/below"
    given = [places.get(word, word.replace("OUT/", f"{tmp_path}/")) for word in arguments]
    code, out, err = invoke(*given)
    assert code == 1
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


def test_columns_and_event_words_may_have_spaces() -> None:
    assert pairs("--map", ["user=Customer ID item=Stock Code", "time=at"]) == {
        "user": "Customer ID", "item": "Stock Code", "time": "at",
    }  # fmt: skip
    assert pairs("--kinds", ["add to cart=cart look=view", "bought it=purchase"]) == {
        "add to cart": "cart", "look": "view", "bought it": "purchase",
    }  # fmt: skip
    for option, entry in (("--map", "user"), ("--kinds", "buy=purchase look")):
        with pytest.raises(DataError, match="must be NAME=VALUE"):
            pairs(option, [entry])


def test_help_imports_no_command() -> None:
    import subprocess
    import sys

    program = "import sys; from serving.cli.main import app; from typer.testing import CliRunner; "
    program += "assert CliRunner().invoke(app, ['--help']).exit_code == 0; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
