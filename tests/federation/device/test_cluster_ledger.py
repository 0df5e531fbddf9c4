from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import ModelError
from federation.device.cluster_ledger import DAY_S, MAX_PINNED, ClusterAccount, ClusterPolicy

NOW = 1_700_000_000.0
POLICY = ClusterPolicy(period_days=30, max_answers=2)


def unasked() -> list[int]:
    raise AssertionError("nothing may be chosen now")


def test_an_answer_stands_for_its_period_and_for_its_bundle_alone() -> None:
    account, ids = ClusterAccount().with_answer("a", POLICY, NOW, lambda: [7])
    assert ids == (7,)
    assert account.with_answer("a", POLICY, NOW + 29 * DAY_S, unasked) == (account, (7,))
    assert account.with_answer("b", POLICY, NOW + 29 * DAY_S, unasked) == (account, ())
    after, ids = account.with_answer("b", POLICY, NOW + 30 * DAY_S, lambda: [1, 2])
    assert (after.answered, ids) == (2, (1, 2))
    assert after.with_answer("b", POLICY, NOW + 90 * DAY_S, unasked) == (after, ())


def test_a_clock_that_went_back_gives_no_second_answer() -> None:
    account, _ = ClusterAccount().with_answer("a", POLICY, NOW, lambda: [7])
    assert account.with_answer("a", POLICY, NOW - 29 * DAY_S, unasked) == (account, (7,))


def test_forgetting_everything_gives_no_second_answer_either() -> None:
    account, _ = ClusterAccount().with_answer("a", POLICY, NOW, lambda: [7])
    forgotten = account.without_shopper()
    assert forgotten.with_answer("a", POLICY, NOW + DAY_S, unasked) == (forgotten, ())
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
            return [len(times)]

        account, ids = account.with_answer(version, policy, now, choose)
        drawn = len(times)
        assert ids in ((), (drawn,))
        assert ClusterAccount.decode(account.encode()) == account
    assert account.answered == drawn <= most
    assert all(later - earlier >= 30 * DAY_S for earlier, later in pairwise(times))


@pytest.mark.parametrize("settings", [{"period_days": 0.0}, {"period_days": float("inf")}, {"max_answers": 0}])
def test_a_policy_that_is_none_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="must be"):
        ClusterPolicy(**settings)  # type: ignore[arg-type]
