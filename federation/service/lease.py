"""Of all processes on one store that would advance rounds, one does: a lease that it prolongs while it works.

Whoever is killed loses it after LEASE_S; on the same machine at once, since there one can see that the holder is gone.
Transitions name the state before (coordinator_store.py), so that even two holders could not spoil a round's rows; the
lease keeps them from writing the same files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from pathlib import Path

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from federation.service.round_schema import leases
from federation.storage.database import reading

log = logging.getLogger("ownshelf.federation")

LEASE_S = 15
BEAT_S = 3.0
ADVANCES = "advances rounds"


class Lease:
    """This process' claim on advancing rounds; one per loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.holder = f"{_process(os.getpid())}/{secrets.token_hex(4)}"
        self._held = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def hold(self) -> bool:
        """Whether rounds are this process' to advance; from then on it is prolonged until `drop`."""
        if self._held.is_set():
            return True
        if not self._take():
            return False
        self._held.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._prolong, name="lease", daemon=True)
            self._thread.start()
        return True

    def drop(self) -> None:
        """Let another one advance rounds at once."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(SQLAlchemyError), self._engine.begin() as connection:  # else it runs out by itself
            connection.execute(leases.delete().where(leases.c.holder == self.holder))

    def _take(self) -> bool:
        now = int(time.time())
        with reading(self._engine) as connection:
            row = connection.execute(select(leases).where(leases.c.name == ADVANCES)).one_or_none()
        values = {"holder": self.holder, "until": now + LEASE_S}
        try:
            with self._engine.begin() as connection:
                if row is None:
                    connection.execute(insert(leases).values(name=ADVANCES, **values))
                    return True
                if row.holder != self.holder and row.until >= now and not gone(row.holder):
                    return False
                same = (leases.c.name == ADVANCES) & (leases.c.holder == row.holder) & (leases.c.until == row.until)
                return connection.execute(update(leases).where(same).values(values)).rowcount == 1
        except IntegrityError:
            return False  # somebody else was first

    def _prolong(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                if not self._take():
                    self._held.clear()  # it stood still for too long, and another one goes on
                    log.warning("lease: another process advances rounds now")
            except SQLAlchemyError as error:
                log.warning("lease: not prolonged (%s)", type(error).__name__)


def gone(holder: str) -> bool:
    """Whether a holder of this very machine, in the same view of its processes, has ended."""
    process = holder.partition("/")[0]
    where, _, rest = process.rpartition("|")
    pid = rest.partition(":")[0]
    ours = _process(os.getpid()).rpartition("|")[0]
    return where == ours and pid.isdigit() and _process(int(pid)) != process


def _process(pid: int) -> str:
    """A process, told from every other: the machine's start, its view of processes, number, and own start."""
    boot = _text("/proc/sys/kernel/random/boot_id")
    try:
        view = os.readlink("/proc/self/ns/pid")
    except OSError:
        view = ""
    started = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return f"{boot}|{view}|{pid}:{started[19] if len(started) > 19 else ''}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
