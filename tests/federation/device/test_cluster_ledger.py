from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from federation.device.cluster_ledger import DAY_S, MAX_PINNED, ClusterAccount, ClusterPolicy
from recsys.catalogue.clusters import Clusters
from recsys.model.items import TASTE
from recsys.model.profile_config import ProfileConfig

NOW, CONFIG = 1_700_000_000.0, ProfileConfig()
POLICY = ClusterPolicy(period_days=30, max_answers=2)
DIM = 6


def clusters_of(version: str, mean: np.ndarray | None = None, k: int = 12) -> Clusters:
    """Random centroids of a bundle of that name; of the same line unless a mean profile says otherwise."""
    drawn = np.random.default_rng(list(version.encode())).normal(size=(k, DIM)).astype(np.float32)
    centroids = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    mean = np.ones(DIM, np.float32) if mean is None else mean
    return Clusters(version, "shop", centroids, np.eye(DIM, dtype=np.float32), mean, ((TASTE, DIM),), CONFIG, 100)


A, B = clusters_of("a"), clusters_of("b")


def unasked() -> list[int]:
    raise AssertionError("nothing may be chosen now")


def test_an_answer_stands_for_its_period_and_the_last_of_a_lifetime_for_ever() -> None:
    account, ids = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7])
    assert ids == (7,)
    assert account.with_answer(A, POLICY, NOW + 29 * DAY_S, unasked) == (account, (7,))
    after, ids = account.with_answer(B, POLICY, NOW + 30 * DAY_S, lambda: [1, 2])
    assert (after.answered, ids) == (2, (1, 2))
    assert after.with_answer(B, POLICY, NOW + 9_000 * DAY_S, unasked) == (after, (1, 2))


def test_by_default_a_device_answers_once_in_its_life() -> None:
    account, _ = ClusterAccount().with_answer(A, ClusterPolicy(), NOW, lambda: [7])
    assert account.with_answer(A, ClusterPolicy(), NOW + 9_000 * DAY_S, unasked) == (account, (7,))
    assert not account.is_due(ClusterPolicy(), NOW + 9_000 * DAY_S)


def test_for_another_bundle_an_answer_is_carried_over_by_what_was_named_and_by_nothing_else() -> None:
    account, _ = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7, 2])
    stored = ClusterAccount.decode(account.encode())
    _, ids = stored.with_answer(B, POLICY, NOW + DAY_S, unasked)
    # The nearest of b's centroids to a's seventh and second, by hand.
    nearest = {int(np.argmax(B.centroids @ A.centroids[named])) for named in (7, 2)}
    assert set(ids) == nearest
    assert stored.with_answer(A, POLICY, NOW + DAY_S, unasked)[1] == (7, 2)


@pytest.mark.parametrize(
    "other",
    [
        clusters_of("b", mean=np.array([1, -1, 1, -1, 1, -1], np.float32)),
        replace(B, centroids=np.eye(DIM + 1, dtype=np.float32), mean_profile=np.ones(DIM + 1, np.float32)),
    ],
    ids=["trained apart", "of another width"],
)
def test_to_a_bundle_with_coordinates_of_its_own_nothing_is_carried_over(other: Clusters) -> None:
    account, _ = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7])
    assert account.with_answer(other, POLICY, NOW + DAY_S, unasked) == (account, ())


def test_an_answer_of_before_its_centroids_were_kept_stands_for_its_own_bundle() -> None:
    account, _ = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7])
    assert account.last is not None
    old = replace(account, last=replace(account.last, named=None, mean=None))
    assert ClusterAccount.decode(old.encode()).with_answer(A, POLICY, NOW, unasked)[1] == (7,)
    assert ClusterAccount.decode(old.encode()).with_answer(B, POLICY, NOW, unasked)[1] == ()


def test_a_clock_that_went_back_gives_no_second_answer() -> None:
    account, _ = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7])
    assert account.with_answer(A, POLICY, NOW - 29 * DAY_S, unasked) == (account, (7,))


def test_forgetting_everything_gives_no_second_answer_either() -> None:
    account, _ = ClusterAccount().with_answer(A, POLICY, NOW, lambda: [7])
    forgotten = account.without_shopper()
    assert forgotten.with_answer(A, POLICY, NOW + DAY_S, unasked) == (forgotten, ())
    assert forgotten.answered == 1


def test_one_file_a_version() -> None:
    account = ClusterAccount().with_file("a", "0" * 64)
    assert account.with_file("a", "0" * 64) is account
    with pytest.raises(ModelError, match=r"a second file for bundle a .*: refused"):
        account.with_file("a", "1" * 64)
    for version in range(MAX_PINNED):
        account = account.with_file(str(version), "2" * 64)
    assert len(account.pinned) == MAX_PINNED


@given(
    questions=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 400)), max_size=40),
    most=st.integers(1, 5),
)
def test_whatever_is_asked_there_is_one_answer_a_period_and_a_bound_for_life(
    questions: list[tuple[str, float]], most: int
) -> None:
    policy, account, drawn = ClusterPolicy(30.0, most), ClusterAccount(), 0
    times: list[float] = []

    for version, day in sorted(questions, key=lambda question: question[1]):
        now = NOW + day * DAY_S

        def choose(now: float = now) -> list[int]:
            times.append(now)
            return [len(times)]  # below the 12 centroids: at most 5 answers

        account, ids = account.with_answer(clusters_of(version), policy, now, choose)
        drawn = len(times)
        assert account.last is not None
        assert account.last.clusters == (drawn,)
        assert ids == (account.last.clusters if version == account.last.bundle_version else ids)
        assert len(ids) == 1
        assert ClusterAccount.decode(account.encode()) == account
    assert account.answered == drawn <= most
    assert all(later - earlier >= 30 * DAY_S for earlier, later in pairwise(times))


@pytest.mark.parametrize("settings", [{"period_days": 0.0}, {"period_days": float("inf")}, {"max_answers": 0}])
def test_a_policy_that_is_none_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="must be"):
        ClusterPolicy(**settings)  # type: ignore[arg-type]
