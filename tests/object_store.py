"""An S3 server of the tests' own, moto's, in this process; it can be told to fail, or to answer nobody for a while."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from federation.storage.objects import ENDPOINT

BUCKET = "shop"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_REGION": "us-east-1"}
BROKEN = b"<Error><Code>InternalError</Code><Message>injected</Message></Error>"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass


class ObjectServer:
    """The server. broken: the share of requests that it answers with 500, from 0 to 1; counted in `failures`."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._random = random.Random(0)
        self.broken, self.failures = 0.0, 0
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return ACCOUNT | {ENDPOINT: self.url}

    def start(self) -> None:
        """Answer from now on, with one empty bucket."""
        self._thread.start()
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="tests",
            aws_secret_access_key="tests",
        )
        client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if self._random.random() < self.broken:
            self.failures += 1
            length = int(environment.get("CONTENT_LENGTH") or 0)
            environment["wsgi.input"].read(length)
            start("500 Internal Server Error", [("content-length", str(len(BROKEN)))])
            return [BROKEN]
        answer: Iterable[bytes] = self._moto(environment, start)
        return answer


@contextmanager
def an_object_store() -> Iterator[ObjectServer]:
    """A running server, named to this process and its children by the environment."""
    server = ObjectServer()
    server.start()
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
        server.stop()
