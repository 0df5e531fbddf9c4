"""The card: every figure is computed anew here from bundle and log, and every number of the pages is a figure of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from data.dataset import Dataset
from data.interactions import Interactions
from data.split import temporal
from federation.lab.release.card import describe_release, moment
from federation.lab.release.card_page import card_html, card_markdown
from recsys.catalogue.bundle import Bundle
from recsys.evaluation.arms import arm
from recsys.search.ranking import rank
from serving.cli.main import app
from serving.cli.output import jsonable
from tests.browser import chromium, visit
from tests.federation.lab.release.a_release import NEW_UNTIL, OLD_UNTIL, a_log, quick, released, users_file

K = 10


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return a_log()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> tuple[Bundle, Bundle]:
    folder = tmp_path_factory.mktemp("release")
    new = released(folder / "new", dataset, NEW_UNTIL, seed=1, chosen=quick(8.0))
    return new, released(folder / "old", dataset, OLD_UNTIL)


@pytest.fixture(scope="module")
def card(dataset: Dataset, bundles: tuple[Bundle, Bundle]) -> dict[str, Any]:
    new, old = bundles
    described = describe_release(
        new, dataset=dataset, previous=old, attributes=users_file(dataset), licence="ours | <b>", k=K
    )
    return dict(jsonable(described))


@pytest.fixture(scope="module")
def recomputed(dataset: Dataset, bundles: tuple[Bundle, Bundle]) -> dict[str, Any]:
    """Lists by plain loops: a shopper's list, its NDCG and whether it hits."""
    log, at = dataset.interactions(), bundles[0].manifest["training"]["until"]
    split = temporal(log, at)
    counts = np.bincount(split.train.item_idx, minlength=log.n_items)
    users = [user for user in range(log.n_users) if wanted(split.test, user) & set(np.flatnonzero(counts))]
    models = {
        "personalized": arm("personalized", bundles[0].table, bundles[0].config),
        "global": arm("global", bundles[0].table, bundles[0].config),
        "previous": arm("personalized", bundles[1].table, bundles[1].config),
    }
    lists: dict[str, np.ndarray] = {}
    for name, model in models.items():
        scores = np.array(model.scores(split.train, np.array(users), at))
        scores[:, counts == 0] = -np.inf
        lists[name] = rank(scores, K)
    lists["popularity"] = np.repeat(rank(counts[None, :].astype(np.float32), K), len(users), axis=0)
    ndcg = {
        name: np.array([gain(row, wanted(split.test, user) & set(np.flatnonzero(counts)))
                        for row, user in zip(rows, users, strict=True)])
        for name, rows in lists.items()
    }  # fmt: skip
    hits = {
        name: np.array([bool(set(row) & wanted(split.test, user)) for row, user in zip(rows, users, strict=True)])
        for name, rows in lists.items()
    }
    return {"users": users, "counts": counts, "lists": lists, "ndcg": ndcg, "hit": hits, "train": split.train}


def wanted(test: Interactions, user: int) -> set[int]:
    return set(test.item_idx[test.of(user)].tolist())


def gain(row: np.ndarray, relevant: set[int]) -> float:
    found = sum(1 / np.log2(place + 2) for place, item in enumerate(row) if int(item) in relevant)
    return float(found / sum(1 / np.log2(place + 2) for place in range(min(K, len(relevant)))))


def test_quality_is_that_of_plain_loops(card: dict[str, Any], recomputed: dict[str, Any]) -> None:
    evaluation = card["evaluation"]
    assert evaluation["about"]["users"] == len(recomputed["users"])
    assert evaluation["about"]["candidates"] == (recomputed["counts"] > 0).sum()
    assert [row["model"] for row in evaluation["quality"]] == ["personalized", "global", "popularity", "previous"]
    for row in evaluation["quality"]:
        ndcg, hit = recomputed["ndcg"][row["model"]], recomputed["hit"][row["model"]]
        assert row["ndcg"] == pytest.approx(ndcg.mean())
        assert row["hit"] == pytest.approx(hit.mean())
        oracle = stats.bootstrap((ndcg,), np.mean, method="percentile", rng=0).confidence_interval
        width = oracle.high - oracle.low
        assert row["ndcg_ci95"] == pytest.approx([oracle.low, oracle.high], abs=0.15 * width)
        assert row["hit_ci95"][0] <= row["hit"] <= row["hit_ci95"][1]
    for row in evaluation["differences"]:
        difference = recomputed["ndcg"]["personalized"] - recomputed["ndcg"][row["to"]]
        oracle = stats.bootstrap((difference,), np.mean, method="percentile", rng=0).confidence_interval
        assert row["ndcg"] == pytest.approx(difference.mean())
        assert row["ci95"] == pytest.approx([oracle.low, oracle.high], abs=0.15 * (oracle.high - oracle.low))
        if row["p_holm"] <= 0.05:  # Holm only raises p, so what is clear is clear without it
            assert not row["ci95"][0] <= 0 <= row["ci95"][1]


def test_groups_are_those_of_history_and_file_and_small_ones_have_no_figures(
    card: dict[str, Any], recomputed: dict[str, Any], dataset: Dataset
) -> None:
    users, train = recomputed["users"], recomputed["train"]
    ages = dict(users_file(dataset).iter_rows())
    lengths = np.array([train.counts[user] for user in users])
    low, high = np.quantile(lengths[lengths > 0], [1 / 3, 2 / 3])
    of_user: dict[str, list[str | None]] = {
        "activity": ["none" if n == 0 else "low" if n <= low else "middle" if n <= high else "high" for n in lengths],
        "age | band": [ages.get(dataset.users.ids[user]) for user in users],
    }
    seen = 0
    for row in card["evaluation"]["groups"]:
        if row["grouping"] not in of_user:
            continue
        levels = np.array([level or "" for level in of_user[row["grouping"]]])
        inside, others = levels == row["level"], (levels != row["level"]) & (levels != "")
        if min(inside.sum(), others.sum()) < 50:
            assert row == {"grouping": row["grouping"], "level": row["level"], "shoppers": None}
            continue
        seen += 1
        a, b = (recomputed["ndcg"]["personalized"][side] for side in (others, inside))
        test = stats.ttest_ind(a, b, equal_var=False)
        assert (row["shoppers"], row["ndcg"]) == (inside.sum(), pytest.approx(b.mean()))
        assert row["gap"] == pytest.approx(a.mean() - b.mean())
        assert row["gap_ci95"] == pytest.approx(list(test.confidence_interval()))
        assert row["p_holm"] >= test.pvalue - 1e-12
    assert seen >= 4
    assert "65+" in [row["level"] for row in card["evaluation"]["groups"] if row["shoppers"] is None]


def test_exposure_is_counted(card: dict[str, Any], recomputed: dict[str, Any]) -> None:
    counts = recomputed["counts"]
    order = sorted(range(len(counts)), key=lambda item: (-counts[item], item))
    head: set[int] = set()
    for item in order:
        if sum(counts[list(head)]) >= 0.8 * counts.sum():
            break
        head.add(item)
    for row in card["evaluation"]["exposure"]:
        listed = recomputed["lists"][row["model"]].ravel()
        assert row["tail_share"] == pytest.approx(np.mean([item not in head for item in listed]))
        assert row["coverage"] == pytest.approx(len(set(listed.tolist())) / (counts > 0).sum())
        assert row["average_popularity"] == pytest.approx(counts[listed].mean() / counts[counts > 0].mean())
        shares = np.bincount(listed, minlength=len(counts))[counts > 0]
        pairs = np.abs(shares[:, None] - shares[None, :]).sum() / (2 * len(shares) ** 2 * shares.mean())
        assert row["gini"] == pytest.approx(pairs)
        assert row["tail_share_of_events"] == pytest.approx(1 - counts[list(head)].sum() / counts.sum())


def test_the_rest_is_what_the_artifacts_say(
    card: dict[str, Any], bundles: tuple[Bundle, Bundle], dataset: Dataset
) -> None:
    new, old = bundles
    training = new.manifest["training"]
    assert card["bundle"]["bytes"] == sum((new.folder / name).stat().st_size for name in new.manifest["files"])
    assert (card["bundle"]["n_items"], card["bundle"]["dim"]) == new.table.item_embeddings.shape
    assert card["training"]["rounds"] == training["rounds"]
    plan = quick(8.0).train.privacy
    assert plan is not None
    assert card["privacy"]["spent"]["epsilon"] == pytest.approx(plan.epsilon_after(training["max_participations"]))
    assert card["privacy"]["terms"]["noise_multiplier"] == plan.noise_multiplier
    log = dataset.interactions()
    assert card["data"]["log"] == {
        "name": "a-shop", "same_as_trained_on": True, "shoppers": log.n_users, "items": log.n_items,
        "events": log.n_events, "from": moment(int(log.time.min())), "to": moment(int(log.time.max())),
    }  # fmt: skip
    assert card["changes"]["learned_until"]["now"] == moment(training["until"])
    assert card["changes"]["epsilon"]["before"] is None
    now, then = new.manifest["config"], old.manifest["config"]
    assert [row["name"] for row in card["changes"]["settings"]] == [
        name for name in sorted(now) if now[name] != then[name]
    ]


class _Numbers(HTMLParser):
    """Numbers of the page with where they are from, and its other text."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("meta", "link", "br"):
            return
        self._inside.append(tag)
        if tag == "data":
            self.numbers.append((str(dict(attrs)["data-from"]), str(dict(attrs)["value"])))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not {"data", "style", "title", "th", "dd", "h1", "header"} & set(self._inside):
            self.text.append(data)


def test_every_number_of_the_page_is_a_figure_of_the_card(card: dict[str, Any]) -> None:
    read = _Numbers()
    read.feed(card_html(card))
    for where, value in read.numbers:
        here: Any = card
        for step in where.split(" "):
            here = here[int(step)] if isinstance(here, list) else here[step]
        assert repr(here) == value, where
    assert {where.split(" ")[0] for where, _ in read.numbers} >= {
        "bundle",
        "evaluation",
        "training",
        "privacy",
        "changes",
    }
    typed = re.findall(r"\d+", re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|95 %|[0-9a-f]{16}", "", " ".join(read.text)))
    privacy = set(re.findall(r"\d+", card["privacy"]["words"])) | set(re.findall(r"\d+", " ".join(card["limits"])))
    assert set(typed) <= privacy


def test_words_of_others_are_text_and_never_markup(card: dict[str, Any]) -> None:
    page, markdown = card_html(card), card_markdown(card)
    assert "ours | &lt;b&gt;" in page
    assert "<b>" not in page
    assert "age \\| band: 65+" in markdown
    _, head, _ = markdown.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["license_name"] == "ours | <b>"
    own = card["evaluation"]["quality"][0]
    assert [metric["value"] for metric in front["model-index"][0]["results"][0]["metrics"]] == [own["ndcg"], own["hit"]]


def test_without_a_log_nothing_is_measured_and_the_card_says_so(bundles: tuple[Bundle, Bundle]) -> None:
    card = jsonable(describe_release(bundles[1]))
    assert card["evaluation"] is None
    assert any("not measured" in sentence for sentence in card["limits"])
    assert any("no ε" in sentence for sentence in card["limits"])
    assert any("licence" in sentence for sentence in card["limits"])
    assert "Quality" not in card_html(card)
    assert "## Quality" not in card_markdown(card)


def test_the_commands_write_the_card_and_the_verdict_beside_the_bundle(
    tmp_path: Path, dataset: Dataset, bundles: tuple[Bundle, Bundle]
) -> None:
    dataset.save(tmp_path / "log")
    new, old = (str(bundle.folder) for bundle in bundles)
    users_file(dataset).write_csv(tmp_path / "users.csv")
    options = ("--users", str(tmp_path / "users.csv"))
    done = CliRunner().invoke(
        app, ["card", new, "--on", str(tmp_path / "log"), "--out", str(tmp_path / "out"), *options, "--json"]
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "new.card.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"new.card.html", "new.card.md", "new.card.json"}
    judged = CliRunner().invoke(app, ["gate", new, "--against", old, "--on", str(tmp_path / "log"), *options, "--json"])
    verdict = json.loads(judged.stdout)
    assert judged.exit_code == (0 if verdict["passed"] else 1)
    assert Path(verdict["written"]).name == "new.gate.json"
    assert [check["name"] for check in verdict["checks"]][-2:] == ["epsilon", "stale"]
    strict = ("--tail-floor", "0.99", "--max-age-days", "1")
    blocked = CliRunner().invoke(app, ["gate", new, "--against", old, "--on", str(tmp_path / "log"), *strict])
    assert blocked.exit_code == 1
    assert "blocked" in blocked.stdout
    for wrong in (
        ["--users", str(tmp_path / "log" / "manifest.json")],
        ["--tail-floor", "2"],
        ["--split-at", "2001-01-01"],
    ):
        refused = CliRunner().invoke(app, ["gate", new, "--against", old, "--on", str(tmp_path / "log"), *wrong])
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1), refused.output


def test_the_page_is_whole_on_a_desktop_and_on_a_phone(tmp_path: Path, card: dict[str, Any]) -> None:
    page = tmp_path / "card.html"
    page.write_text(card_html(card), encoding="utf-8")
    with chromium() as browser:
        for phone in (False, True):
            with visit(browser, page.as_uri(), phone=phone) as visited:
                assert visited.complaints == []
                assert visited.requests == [page.as_uri()]
                assert visited.sideways <= 0


def test_figures_of_one_shopper_are_in_no_card(card: dict[str, Any], dataset: Dataset) -> None:
    text = json.dumps(card)
    assert not [user for user in dataset.users.ids if f'"{user}"' in text]
