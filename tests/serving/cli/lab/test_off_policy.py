"""`ownshelf off-policy`: estimates a policy from another one's log, or says in one line why not."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from serving.cli.main import app
from tests.recsys.off_policy.world import World

RUN = CliRunner()
SAMPLE = ["off-policy", "sample:open-bandit", "--where", "campaign=men", "--resamples", "100"]


def test_bts_from_the_random_log_beside_what_bts_really_earned(tmp_path: Path) -> None:
    done = RUN.invoke(app, [*SAMPLE, "--policy", "bts", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["policy"], result["rounds"], result["unit"]) == ("bts", 10_000, "round")
    assert result["on_policy"]["value"] == pytest.approx(0.0069)
    assert [one["estimator"] for one in result["estimates"]] == ["ips", "snips", "clipped", "dr"]
    assert result["verdict"].startswith("Too few rewards")
    assert json.loads((tmp_path / "off-policy.json").read_text()) == result
    frame = pl.read_parquet(tmp_path / "estimates.parquet")
    assert frame["value"].to_list()[1:5] == [one["value"] for one in result["estimates"]]
    assert (tmp_path / "off-policy.png").read_bytes().startswith(b"\x89PNG")
    shown = RUN.invoke(app, [*SAMPLE, "--policy", "bts"])
    assert "bts in its own log" in shown.stdout
    assert "0.00690" in shown.stdout


def test_a_log_and_a_policy_of_ones_own(tmp_path: Path) -> None:
    log = World(base=0.1).log(2000, 0)
    frame = pl.DataFrame({"sku": log.items.ids.gather(log.item_idx), "bought": log.reward, "p": log.propensity})
    frame.write_csv(tmp_path / "log.csv")
    (tmp_path / "policy.csv").write_text("item,probability\ni0,0.5\ni1,0.5\n")
    words = ["off-policy", str(tmp_path / "log.csv"), "--map", "reward=bought propensity=p"]
    done = RUN.invoke(app, [*words, "--policy", str(tmp_path / "policy.csv"), "--interval", "asymptotic", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["policy"], result["on_policy"]) == ("policy", None)
    assert result["overlap"]["matched"] == pytest.approx(frame["sku"].is_in(["i0", "i1"]).mean())


def test_two_policies_are_compared_on_the_same_rounds() -> None:
    done = RUN.invoke(app, [*SAMPLE, "--policy", "bts", "--against", "uniform", "--json"])
    found = json.loads(done.stdout)["difference"]
    live = json.loads(RUN.invoke(app, [*SAMPLE, "--policy", "bts", "--json"]).stdout)["difference"]
    assert (found["against"], live["against"]) == ("uniform", "what was live")
    # what was live is uniform, so the two differences are the same but for rounding
    assert found["difference"] == pytest.approx(live["difference"])
    assert (found["low"], found["high"]) == pytest.approx((live["low"], live["high"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--policy", "nobody"], "policy=nobody: must be one of uniform, bts, random, or a csv"),
        (["--policy", "uniform"], "--logged-by: the log has rounds of bts, random"),
        (["--policy", "bts", "--logged-by", "bts"], "is the policy itself"),
        (["--policy", "bts", "--logged-by", "ucb"], "policy='ucb': sample:open-bandit was logged by bts, random"),
        (
            ["--policy", "best.csv", "--logged-by", "bts"],
            "policy=best.csv: must be one of uniform, bts, random, or a csv",
        ),
        (["--policy", "bts", "--where", "city=Lodz"], "--where city=Lodz: the log has reward, propensity, policy"),
        (["--policy", "bts", "--where", "campaign=kids"], "no round is left"),
        (["--policy", "bts", "--estimators", "replay"], "replay: rests on "),
        (["--policy", "bts", "--estimators", "oracle"], "estimator='oracle': must be one of ips"),
    ],
)
def test_mistakes_are_one_line(words: list[str], message: str) -> None:
    done = RUN.invoke(app, [*SAMPLE, *words])
    assert done.exit_code == 1
    assert done.output.startswith("error: ")
    assert message in done.output
    assert len(done.output.splitlines()) == 1


def test_thin_overlap_is_refused_with_figures_and_what_to_do() -> None:
    done = RUN.invoke(app, [*SAMPLE[:2], "--policy", "uniform", "--logged-by", "bts"])
    assert done.exit_code == 1
    assert (
        "5.5 effective rounds of 30,000, largest weight 2.174e+04: must be at least 100; log with more" in done.output
    )
