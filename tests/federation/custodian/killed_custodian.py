"""Custodians that are killed, kill -9, at a chosen write. Run as a program: one JSON command a line on stdin.

It loads everything once and forks one custodian a command, so that a restart costs a test milliseconds, not a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from federation.learning import privacy_plan
from federation.storage import crash_points as write_points
from serving.cli.custodian import program


def killer(point: str, nth: int) -> Callable[[str], None]:
    """A reaction that kills this process when the point is reached for the nth time."""
    left = nth

    def react(reached: str) -> None:
        nonlocal left
        if reached == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return react


def watch_commits() -> None:
    """Make every commit of the database a point too, named or not."""
    plain = DefaultDialect.do_commit

    def committed(dialect: DefaultDialect, connection: Any) -> None:
        plain(dialect, connection)
        write_points.crash_point("database: committed")

    DefaultDialect.do_commit = committed  # type: ignore[method-assign]


def start(run: Callable[[list[str]], object], arguments: list[str], point: str, nth: int, log: str) -> int:
    """Fork a process that runs with these arguments; its id."""
    child = os.fork()
    if child:
        return child
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (0, 1, 2):
        os.dup2(output, stream)
    if point:
        write_points.react = killer(point, nth)
        watch_commits()
    run(arguments)
    os._exit(0)


def main(run: Callable[[list[str]], object] = program) -> None:
    """Until stdin ends: start a custodian, or what else is to be run, or wait for one to end."""
    privacy_plan.epsilon_of_noise(1.0, 1, 1e-6)  # loads the accountant once for all
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" in command:
            _, status = os.waitpid(command["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = start(run, **command)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
