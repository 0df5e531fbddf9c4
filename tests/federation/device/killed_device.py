"""A device that is killed, kill -9, at a chosen write or send. Run as a program: one JSON command a line on stdin.

It loads everything once and forks one device a command, which is why it must not touch polars' threads before.
"""

from __future__ import annotations

import math
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore._backends.sync as sockets

from federation.device.delivery import RetryPolicy
from federation.device.device import Device
from federation.device.participation import take_part
from federation.device.report import DevicePolicy
from federation.device.reporting import DeviceRandomness
from federation.device.vault import Position, Vault
from federation.device.vault.vault import Reading
from tests.federation.forking import answer_each
from tests.federation.protocol.tokens.some_issuer import SomeIssuer
from tests.federation.service.live_round import CUSTODIAN, NOW

POLICY = DevicePolicy(
    CUSTODIAN.public, min_noise_multiplier=0.0, min_reports=1, max_epsilon=math.inf, follows_log=False
)


class Killer:
    """Counts the moments at which a device could be killed, and kills it at one of them."""

    def __init__(self, at: int | None) -> None:
        self.at, self.count = at, 0

    def moment(self) -> None:
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def around(self, owner: Any, name: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self.moment()
            result = plain(*arguments, **named)
            self.moment()
            return result

        setattr(owner, name, watched)

    def around_halves(self, owner: Any, name: str) -> None:
        """As around, and in the middle of what is written."""
        plain: Callable[..., Any] = getattr(owner, name)

        def watched(stream: Any, content: bytes, *arguments: Any, **named: Any) -> None:
            half = len(content) // 2
            for piece in (content[:half], content[half:]):
                self.moment()
                plain(stream, piece, *arguments, **named)
            self.moment()

        setattr(owner, name, watched)


def careless() -> Callable[[str], None]:
    """Make the vault durable only after the report was sent: the mistake that the test must notice."""
    unwritten: dict[str, bytes] = {}
    write, read = Vault.write, Vault.read

    def write_later(vault: Vault, content: bytes) -> Position:
        unwritten["content"] = content
        return read(vault).position

    def read_unwritten(vault: Vault, since: Position | None = None) -> Reading:
        return replace(read(vault), snapshot=unwritten["content"], records=[]) if unwritten else read(vault, since)

    Vault.write, Vault.read = write_later, read_unwritten  # type: ignore[method-assign]

    def step(name: str) -> None:
        if name == "cleared":
            write(device_vault[0], unwritten["content"])

    return step


device_vault: list[Vault] = []


def run(folder: Path, url: str, kill_at: int | None, *, is_careless: bool) -> dict[str, Any]:
    device = Device.open(folder)
    device_vault[:] = [Vault.open(folder)]
    late = careless() if is_careless else lambda _: None
    killer = Killer(kill_at)
    killer.around(os, "fsync")
    killer.around(os, "replace")
    killer.around(sockets.SyncStream, "read")
    killer.around_halves(sockets.SyncStream, "write")

    def step(name: str) -> None:
        killer.moment()
        late(name)

    outcome = take_part(
        device,
        url,
        POLICY,
        SomeIssuer(),
        draws=DeviceRandomness(waiting=random.Random(0)),
        retry=RetryPolicy(spread_s=0.0, attempts=1),
        now=lambda: NOW,
        on_step=step,
    )
    return {"status": outcome.status, "moments": killer.count}


if __name__ == "__main__":
    answer_each(lambda said: run(Path(said["folder"]), said["url"], said["kill_at"], is_careless=said["careless"]))
