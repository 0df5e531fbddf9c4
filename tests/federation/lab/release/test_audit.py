"""An audit by private sums beside the same computed centrally, and what a service could learn of one device's group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from data.dataset import Dataset
from data.errors import BatchTooSmall
from federation.lab.release.audit import Audit, audit_release, contributions
from federation.lab.release.evidence import Audience, gather_audience
from federation.learning.audit_sum import PART, audit_plan, noise_variance
from federation.private_sum.accounting import epsilon_of, rho_of
from federation.private_sum.fixed_point import encode
from federation.private_sum.randomness import seeded_bytes
from federation.private_sum.shares import service_share
from recsys.catalogue.bundle import Bundle
from recsys.fairness.audit_layout import FIGURES
from recsys.fairness.served_lists import ServedLists
from serving.cli.main import app
from tests.federation.lab.release.a_release import OLD_UNTIL, a_log, released, users_file


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return a_log(n_users=600)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Bundle:
    return released(tmp_path_factory.mktemp("audit") / "bundle", dataset, OLD_UNTIL)


@pytest.fixture(scope="module")
def asked(dataset: Dataset, bundle: Bundle) -> tuple[Audience, ServedLists]:
    audience = gather_audience(dataset, [bundle], attributes=users_file(dataset), k=10)
    return audience, audience.lists_of(bundle)


def audit(dataset: Dataset, asked: tuple[Audience, ServedLists], epsilon: float | None, seed: int = 0) -> Audit:
    return audit_release(*asked, dataset.catalogue, epsilon=epsilon, seed=seed)


def test_published_sums_are_the_central_ones_and_the_stated_noise(
    dataset: Dataset, asked: tuple[Audience, ServedLists]
) -> None:
    central = audit(dataset, asked, None)
    exact = np.sum(list(contributions(central.layout, *asked)), axis=0)
    np.testing.assert_allclose(central.sums, exact, atol=0.5)  # rounded stochastically to 1/1024 by each of 600 devices
    noised = audit(dataset, asked, 8.0)
    error = (noised.sums - exact) / np.sqrt(noise_variance(noised.plan))
    assert np.abs(error).max() < 5
    assert error.std() == pytest.approx(1.0, abs=0.15)  # two thirds or three halves of the noise would fail


def test_the_audit_costs_a_device_the_epsilon_it_states(dataset: Dataset, asked: tuple[Audience, ServedLists]) -> None:
    layout = audit(dataset, asked, None).layout
    for epsilon in (1.0, 4.0):
        plan = audit_plan(layout, epsilon=epsilon, delta=1e-6, min_reports=50, max_reports=1000)
        assert 0.98 * epsilon < epsilon_of(rho_of(plan), 1e-6) <= epsilon * (1 + 1e-6)


def test_a_crowd_smaller_than_a_group_must_be_is_refused(dataset: Dataset, asked: tuple[Audience, ServedLists]) -> None:
    audience, lists = asked
    few = ServedLists(lists.users[:49], lists.items[:49], lists.ndcg[:49], lists.hit[:49], lists.n_items)
    with pytest.raises(BatchTooSmall):
        audit_release(audience, few, dataset.catalogue)


def test_groups_that_are_small_stay_hidden_in_the_json_too(
    dataset: Dataset, asked: tuple[Audience, ServedLists]
) -> None:
    result = audit(dataset, asked, None).to_dict()
    old = [row for row in result["groups"] if "65+" in row["group"]]
    assert len(old) > 3
    assert all(set(row) == {"group", "attributes", "shoppers"} for row in old)
    assert [row for row in result["groups"] if row["shoppers"] is not None]


def test_items_are_reported_by_bands_that_add_up(dataset: Dataset, asked: tuple[Audience, ServedLists]) -> None:
    n = dataset.catalogue.height
    catalogue = dataset.catalogue.with_columns(
        price=pl.Series([float(place) if place else None for place in range(n)]),
        category=pl.Series([f"c{place % 3}" for place in range(n)]),
    )
    items = audit_release(*asked, catalogue, epsilon=None).items
    for kind in ("popularity", "category"):
        assert sum(row["exposure"] for row in items["bands"][kind]) == pytest.approx(1.0)
        assert sum(row["earned"] for row in items["bands"][kind]) == pytest.approx(1.0)
    assert [row["band"] for row in items["bands"]["price"]] == ["low", "middle", "high"]
    tail = next(row for row in items["bands"]["popularity"] if row["band"] == "tail")
    assert tail["exposure"] == pytest.approx(items["tail_share"])
    assert items["miscalibration"] > 0


def test_a_share_says_nothing_of_the_group_that_its_vector_gives_away(
    dataset: Dataset, asked: tuple[Audience, ServedLists]
) -> None:
    # `ownshelf bench fairness` attacks with a trained classifier; here: what it would be trained on is uniform
    published = audit(dataset, asked, None)
    rng = np.random.default_rng(0)
    rows = list(contributions(published.layout, *asked))[:200]
    words = [encode(published.plan, {PART: row}, seeded_bytes(rng)) for row in rows]
    shares = np.array([np.frombuffer(service_share(one, rng.bytes(32)), "<u4") for one in words])
    uniform = shares.astype(np.float64) / 2**32
    assert abs(uniform.mean() - 0.5) < 5 / np.sqrt(12 * uniform.size)
    low = np.array(rows)[:, published.layout.place[(("activity", "low"),)] * len(FIGURES)] > 0
    assert 20 < low.sum() < 180
    apart = uniform[low].mean(axis=0) - uniform[~low].mean(axis=0)
    spread = np.sqrt((1 / low.sum() + 1 / (~low).sum()) / 12)
    assert np.abs(apart).max() < 5 * spread  # of any coordinate; in the clear one of them is 1 apart


def test_the_command_prints_the_groups_and_one_line_for_a_mistake(
    tmp_path: Path, dataset: Dataset, bundle: Bundle
) -> None:
    dataset.save(tmp_path / "log")
    options = ["audit", str(tmp_path / "log"), "--bundle", str(bundle.folder), "--epsilon", "8", "--floor", "0.4"]
    done = CliRunner().invoke(app, [*options, "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["privacy"]["epsilon"] == 8
    assert {row["attributes"] for row in result["groups"]} == {1, 2}
    assert result["floor"]["floor"] == 0.4
    assert "hidden" in CliRunner().invoke(app, options).stdout
    wrong = CliRunner().invoke(app, [*options, "--split-at", "2001-01-01"])
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
