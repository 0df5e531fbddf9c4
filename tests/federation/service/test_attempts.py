from __future__ import annotations

import logging

import pytest

from data.errors import FederationError
from federation.service.attempts import Attempts

NOW = 1_800_000_000


class Action:
    """Fails while it is told to; counts its calls by moment."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.at = error, list[float]()

    def __call__(self) -> bool:
        if self.error is not None:
            raise self.error
        return True

    def run(self, attempts: Attempts, name: str, now: float) -> bool:
        before = attempts.failures(name)
        moved = attempts.run(name, now, self)
        if moved or attempts.failures(name) > before:
            self.at.append(now - NOW)
        return moved


def test_the_wait_doubles_up_to_a_bound_and_a_success_ends_it() -> None:
    attempts, action = Attempts(1.0, 8.0), Action(ValueError("x"))
    for second in range(40):
        assert not action.run(attempts, "a", NOW + second)
    assert action.at == [0, 1, 3, 7, 15, 23, 31, 39]
    action.error = None
    assert not action.run(attempts, "a", NOW + 40)
    assert action.run(attempts, "a", NOW + 47)
    assert action.run(attempts, "a", NOW + 47)
    assert attempts.failures("a") == 0


def test_one_names_failure_delays_no_other() -> None:
    attempts = Attempts()
    assert not Action(OSError("disk")).run(attempts, "a", NOW)
    assert Action().run(attempts, "b", NOW)
    assert (attempts.failures("a"), attempts.failures("b")) == (1, 0)


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    attempts, action = Attempts(), Action(ValueError("x"))
    assert not action.run(attempts, "a", NOW)
    action.error = None
    assert action.run(attempts, "a", NOW - 86_400)


def test_the_message_of_a_foreign_error_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    attempts = Attempts()
    Action(ValueError("a secret of a report")).run(attempts, "a", NOW)
    Action(FederationError("custodian: status 413")).run(attempts, "b", NOW)
    assert "a: failure 1, tried again in 1 s (ValueError at " in caplog.text
    assert "secret" not in caplog.text
    assert "custodian: status 413" in caplog.text


def test_the_end_of_the_process_is_no_failure() -> None:
    attempts = Attempts()
    with pytest.raises(KeyboardInterrupt):
        attempts.run("a", NOW, Action(KeyboardInterrupt()))  # type: ignore[arg-type]
    assert attempts.failures("a") == 0
