from __future__ import annotations

import threading
import time

import pytest

from federation.service.errands import Errands


def until_done(errands: Errands) -> None:
    give_up = time.monotonic() + 30
    while errands.busy():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_without_a_bound_everything_is_done_at_once_and_here() -> None:
    threads: list[int] = []

    def act() -> bool:
        threads.append(threading.get_ident())
        return True

    assert Errands().run("a", act)
    assert threads == [threading.get_ident()]


def test_what_waits_holds_nobody_and_is_told_when_it_is_asked_for_again() -> None:
    errands, answered, runs = Errands(0.01), threading.Event(), list[str]()

    def hangs() -> bool:
        runs.append("a")
        return answered.wait(30)

    for _ in range(3):
        assert not errands.run("a", hangs)
    assert errands.run("b", lambda: True)
    assert errands.busy()
    answered.set()
    until_done(errands)
    assert errands.run("a", hangs)
    assert runs == ["a"]
    assert errands.run("a", hangs)
    assert runs == ["a", "a"]


def test_an_error_is_raised_to_whoever_asks_next_and_once() -> None:
    errands, answered = Errands(0.01), threading.Event()

    def fails() -> bool:
        answered.wait(30)
        raise ValueError("later")

    assert not errands.run("a", fails)
    answered.set()
    until_done(errands)
    with pytest.raises(ValueError, match="later"):
        errands.run("a", lambda: True)
    assert errands.run("a", lambda: True)
