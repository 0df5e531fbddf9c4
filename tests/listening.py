"""An ASGI application that listens on this machine, in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from serving.http.wire_protocol import BoundedHttp


@contextmanager
def listening(app: Any, **options: Any) -> Iterator[str]:
    """Its address; options are uvicorn's."""
    quiet = {"port": 0, "log_level": "critical", "access_log": False, "http": BoundedHttp, "ws": "none"}
    config = uvicorn.Config(app, **quiet | options)
    bound = config.bind_socket()
    bound.listen()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield f"{'https' if config.is_ssl else 'http'}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
