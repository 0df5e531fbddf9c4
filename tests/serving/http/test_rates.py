from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from data.errors import ServingError
from serving.http.rates import KeyRates, parse_rate
from serving.refusal import Refusal


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def taken(rates: KeyRates, key_id: str) -> bool:
    try:
        rates.take(key_id)
    except Refusal:
        return False
    return True


def test_a_window_ends_and_each_key_has_its_own() -> None:
    clock = Clock()
    rates = KeyRates("3 per 10 second", now=clock)
    assert [taken(rates, "a") for _ in range(4)] == [True, True, True, False]
    assert taken(rates, "b")
    clock.now += 9.5
    with pytest.raises(Refusal, match="at most 3 in 10 s") as refused:
        rates.take("a")
    assert refused.value.headers == {"retry-after": "1"}
    clock.now += 0.5
    assert taken(rates, "a")


@pytest.mark.parametrize(("rate", "workers", "share"), [("10/second", 4, 3), ("2/minute", 8, 1), ("9/hour", 3, 3)])
def test_workers_share_a_rate_rounded_up(rate: str, workers: int, share: int) -> None:
    rates = KeyRates(rate, workers, now=Clock())
    assert sum(taken(rates, "a") for _ in range(20)) == share


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_it_counts_as_the_librarys_own_storage_does(keys: list[str]) -> None:
    storage = MemoryStorage()
    storage.timer.cancel()
    reference, item = FixedWindowRateLimiter(storage), parse_rate("5/hour")
    rates = KeyRates("5/hour")
    assert [taken(rates, key) for key in keys] == [reference.hit(item, key) for key in keys]
    storage.timer.cancel()


@pytest.mark.parametrize("text", ["", "5", "0/second", "-1/second", "many/second", "5/fortnight", "5 per"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ServingError, match="rate_limit="):
        parse_rate(text)
