"""A uvicorn server that stops in steps: it says that it is not ready, waits for connections to leave, then closes.

A balancer that asks /readyz sends nothing new meanwhile, and each answer asks its connection to end after it.
"""

from __future__ import annotations

import signal
import socket
import time
from types import FrameType

import uvicorn

from serving.http.readiness import STOPPING

RETIRE = signal.SIGUSR2
"""Tells a worker that another has taken its place: accept nothing more, finish, end."""
CLOSE = (b"connection", b"close")


class DrainingServer(uvicorn.Server):
    """SIGTERM drains; a second one, or SIGINT, ends at once what waits."""

    def __init__(self, config: uvicorn.Config, drain_s: float) -> None:
        super().__init__(config)
        self._drain_s = drain_s
        self._end: float | None = None
        self._retired = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and listen to the signal of a supervisor too."""
        signal.signal(RETIRE, self._retire)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to end: ten times a second."""
        if self._retired:
            self._retired = False
            for server in self.servers:
                server.close()  # the other workers accept what comes
        if self._end is not None and time.monotonic() >= self._end:
            self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain on the first SIGTERM."""
        if sig == signal.SIGTERM and self._end is None and self.started and self._drain_s > 0:
            STOPPING.set()
            self._drain()
            return
        super().handle_exit(sig, frame)

    def _retire(self, *_: object) -> None:
        if self._end is None:
            self._retired = True
            self._drain()

    def _drain(self) -> None:
        self._end = time.monotonic() + self._drain_s
        self.server_state.default_headers.append(CLOSE)
