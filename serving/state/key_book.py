"""The good keys in memory: a request's key costs one look into a dict, and a revoked one is gone within a second."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable

from data.errors import ServingError
from federation.storage.database import reason_of
from serving.access import Caller
from serving.state.api_keys import ActiveKey, ApiKeys, hash_of, split_key

log = logging.getLogger("ownshelf.serving")

REFRESH_S = 0.2
"""How often the store is asked whether anything was written to it."""
WHOLE_S = 1.0
"""At the latest after so long it is asked for the keys' version, whatever it says of writing."""
_NOBODYS = bytes(32)


class KeyBook:
    """Keys of a store as they were at most REFRESH_S ago, while the store answers; after that, as they were then."""

    def __init__(self, keys: ApiKeys, refresh_s: float = REFRESH_S) -> None:
        self.keys = keys
        self._refresh_s = refresh_s
        self._version: tuple[int, int] = (0, 0)
        self._good: dict[str, ActiveKey] = {}
        self._ever = False
        self._told: Callable[[], None] = lambda: None
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self.refresh()

    @property
    def empty(self) -> bool:
        """No key was ever made. Once False it stays so, whatever becomes of the store: a service never opens up."""
        return not self._ever

    def caller_of(self, key: str) -> Caller | None:
        """Find whose key this is; None for any that is not good, whichever part of it is wrong."""
        parts = split_key(key)
        if parts is None:
            return None
        known = self._good.get(parts[0])
        same = hmac.compare_digest(_NOBODYS if known is None else known.secret_hash, hash_of(parts[1]))
        return known.caller if known is not None and same else None

    def refresh(self) -> None:
        """Read the store if it has changed. For the process that changed it: at once."""
        with self._lock:
            version = self.keys.version()  # before the keys: what changes in between is read again
            if version != self._version:
                self._good = self.keys.good()
                self._version = version
                if version[0] > 0 and not self._ever:
                    self._ever = True
                    self._told()

    def on_first_key(self, told: Callable[[], None]) -> None:
        """Call this once there is, or ever was, a key; at once if there was."""
        with self._lock:
            self._told = told
            if self._ever:
                told()

    def start(self) -> None:
        """Follow the store from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def close(self) -> None:
        """Follow no more, and let go of the store."""
        self.stop()
        self.keys.close()

    def _run(self) -> None:
        failing = False
        asked_at, commits = 0.0, self.keys.commits()
        while not self._stopped.wait(self._refresh_s):
            try:
                if commits.new() or time.monotonic() - asked_at >= WHOLE_S:
                    asked_at = time.monotonic()
                    self.refresh()
                failing = False
            except Exception as error:  # noqa: BLE001  # the store comes back, or /readyz says that it does not
                if not failing:
                    log.error("keys: the store does not answer (%s)", reason_of(error))
                failing = True
        commits.close()


def open_book(url: str) -> KeyBook:
    """Open the keys of a URL, its tables made if they are missing. Raises ServingError for one that cannot be used."""
    from sqlalchemy.exc import SQLAlchemyError

    from federation.storage.database import open_engine

    engine = open_engine(url)
    try:
        return KeyBook(ApiKeys(engine))
    except SQLAlchemyError as error:
        engine.dispose()
        raise ServingError(f"state: does not answer ({type(error).__name__})") from None
