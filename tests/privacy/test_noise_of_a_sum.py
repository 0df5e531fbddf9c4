"""The noise on a sum that went the whole way: devices, signed HTTP, custodian, service. Every test has power."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2

from federation.custodian.custodian import Custodian
from federation.private_sum import custodian_half, service_half
from federation.private_sum.exchange import Answer, Batch
from federation.private_sum.fixed_point import to_signed
from federation.private_sum.in_process import sum_in_process
from federation.private_sum.noise import Integers, discrete_gaussian
from federation.private_sum.plan import Part, SumPlan
from federation.private_sum.randomness import RandomBytes
from federation.private_sum.shares import WIRE_WORD, combine
from federation.protocol.messages import Task, blocks_of
from federation.service.custodian_client import CustodianClient
from federation.service.summing import batch_of, sum_of
from tests.federation.custodian.a_custodian import a_client, a_custodian, a_promise, draft, with_tokens
from tests.federation.private_sum.a_round import a_task, reports_of

Z = 0.7
N_BLOCK, DIM = 500, 32
DEVICES = 5
REJECTED = 1e-6

Noise = npt.NDArray[np.float64]


@pytest.fixture
def custodian(tmp_path: Path) -> Iterator[Custodian]:
    opened = a_custodian(tmp_path, a_promise(Z))
    yield opened
    opened.shut()


@pytest.fixture
def client(custodian: Custodian) -> Iterator[CustodianClient]:
    opened = a_client(custodian)
    yield opened
    opened.shut()


def p_value(noise: Noise, sigma: float) -> float:
    """Two-sided p of Σ noise²/σ², which is χ² with as many degrees as coordinates if the noise has this σ."""
    statistic = float((noise**2).sum()) / sigma**2
    return float(2 * min(chi2.cdf(statistic, noise.size), chi2.sf(statistic, noise.size)))


def noises(client: CustodianClient, plan: SumPlan, block: int = 0, task_id: str = "noisy") -> tuple[Noise, Noise]:
    """The custodian's noise alone, and that of the finished sum, over one block's sum of random vectors."""

    blocks = blocks_of(2 * N_BLOCK, N_BLOCK)
    task: Task = client.open_round(replace(draft(task_id=task_id), plan=plan, blocks=blocks))
    found = noises_of(task, client.answer, block)
    client.close(task_id)
    return found


def noises_of(task: Task, ask: Callable[[Batch], Answer], block: int = 0) -> tuple[Noise, Noise]:
    """As noises, of a task that is open. ask: the custodian."""
    plan = task.plan
    rng = np.random.default_rng(block)
    vectors = [{part.name: rng.normal(size=part.length) for part in plan.parts} for _ in range(DEVICES)]
    reports = with_tokens(task, reports_of(task, vectors, np.random.default_rng(1), block))
    answer = ask(batch_of(task, block, reports))
    truth = sum_in_process(plan, vectors, np.random.default_rng(1)).astype(np.float64)
    shares = np.zeros(plan.length, dtype=np.uint32)
    for report in reports:
        shares += np.frombuffer(report.service_share, dtype=WIRE_WORD)
    half = to_signed(combine(shares, answer.words)) - truth
    whole = sum_of(task, {report.report_id: report.service_share for report in reports}, answer) - truth
    return half, whole


@pytest.fixture
def plan() -> SumPlan:
    return a_promise(Z).sum_plan(N_BLOCK, DIM)


def test_each_party_adds_sigma_and_both_together_the_root_of_two(client: CustodianClient, plan: SumPlan) -> None:
    half, whole = noises(client, plan)
    assert plan.length > 15_000
    for noise, sigma in ((half, plan.sigma), (whole - half, plan.sigma), (whole, np.sqrt(2) * plan.sigma)):
        assert p_value(noise, sigma) > REJECTED
        for wrong in (2 / 3, 3 / 2):
            assert p_value(noise, sigma * wrong) < REJECTED
    assert p_value(whole, plan.sigma) < REJECTED


@pytest.mark.parametrize("part", ["rows", "counts", "second", "first"])
def test_every_part_of_the_vector_has_its_noise(client: CustodianClient, plan: SumPlan, part: str) -> None:
    half, _ = noises(client, plan)
    where = plan.slices()[part]
    assert p_value(half[where], plan.sigma) > REJECTED
    if half[where].size > 200:
        for wrong in (2 / 3, 3 / 2):
            assert p_value(half[where], plan.sigma * wrong) < REJECTED


@pytest.mark.parametrize("wrong", [2 / 3, 3 / 2])
@pytest.mark.parametrize("party", [custodian_half, service_half])
def test_a_party_that_adds_another_noise_is_found_out(
    client: CustodianClient, plan: SumPlan, monkeypatch: pytest.MonkeyPatch, party: object, wrong: float
) -> None:
    """The same test as above, on noise that is not what was promised."""

    def other(sigma: int, n: int, random: RandomBytes) -> Integers:
        return discrete_gaussian(round(sigma * wrong), n, random)

    monkeypatch.setattr(party, "discrete_gaussian", other)
    half, whole = noises(client, plan)
    assert p_value(half if party is custodian_half else whole - half, plan.sigma) < REJECTED
    assert p_value(whole, np.sqrt(2) * plan.sigma) < REJECTED


def test_the_noise_has_the_discrete_gaussians_own_shape() -> None:
    """At a small sigma every integer has its own frequency, p(k) ∝ exp(−k²/2σ²); σ of 2/3 and 3/2 fail."""
    part = Part("counts", 40_000, clip_norm=4.0, scale=1.0)
    plan = SumPlan((part,), min_reports=3, max_reports=100, sigma=_sigma_for(part))
    task, opened = a_task(plan)
    half, _ = noises_of(task, lambda batch: custodian_half.answer(batch, opened)[1])
    assert shape_p_value(half, plan.sigma) > REJECTED
    for wrong in (2 / 3, 3 / 2):
        assert shape_p_value(half, plan.sigma * wrong) < REJECTED
    assert shape_p_value(
        np.round(np.random.default_rng(0).laplace(0, plan.sigma / np.sqrt(2), half.size)), plan.sigma
    ) < (REJECTED)


def shape_p_value(noise: Noise, sigma: float) -> float:
    """p of Pearson's χ² over integers near 0, everything beyond 3σ in two bins."""
    reach = int(3 * sigma)
    support = np.arange(-int(12 * sigma), int(12 * sigma) + 1)
    mass = np.exp(-(support**2) / (2 * sigma**2))
    mass /= mass.sum()
    middle = np.abs(support) <= reach
    expected = np.r_[mass[support < -reach].sum(), mass[middle], mass[support > reach].sum()] * noise.size
    inside = [float((noise == k).sum()) for k in support[middle]]
    seen = np.r_[float((noise < -reach).sum()), inside, float((noise > reach).sum())]
    return float(chi2.sf(float(((seen - expected) ** 2 / expected).sum()), len(seen) - 1))


def _sigma_for(part: Part) -> int:
    return int(np.ceil(Z * np.sqrt(part.bound_squared)))


def test_noises_of_blocks_and_rounds_have_nothing_in_common(client: CustodianClient, plan: SumPlan) -> None:
    """Correlation of independent noises over n coordinates is within 5/√n."""
    drawn = [noises(client, plan, block, f"{round_}-{block}")[0] for round_ in "ab" for block in (0, 1)]
    correlations = np.corrcoef(drawn)[~np.eye(len(drawn), dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(plan.length)
    assert all(np.corrcoef(one[:-1], one[1:])[0, 1] < 5 / np.sqrt(plan.length) for one in drawn)


def test_no_noise_where_privacy_is_off(tmp_path: Path) -> None:
    off = a_custodian(tmp_path, a_promise(0.0))
    client = a_client(off)
    quiet = a_promise(0.0).sum_plan(N_BLOCK, DIM)
    half, whole = noises(client, quiet)
    assert not half.any()
    assert not whole.any()
    client.shut()
    off.shut()
