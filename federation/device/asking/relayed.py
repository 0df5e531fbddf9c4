"""A device's client that sends what is private through a relay: whoever runs it sees the address, never the content.

Reports and lists by cluster go that way, sealed to the pinned key of the service's gateway. What is the same for all
devices (task, proofs, catalogue, clusters) is asked for directly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path

import httpx

from federation.device.asking.bounded_answer import MAX_ANSWER_BYTES, read_bounded
from federation.device.asking.client import TIMEOUT_S, service_client
from federation.protocol.oblivious.binary_http import BinaryAnswer, BinaryHttpRefused, BinaryRequest
from federation.protocol.oblivious.encapsulation import (
    ANSWER_TYPE,
    REQUEST_TYPE,
    KeyConfig,
    ObliviousRefused,
    open_answer,
    seal_request,
)
from federation.protocol.transport import check_address

PRIVATE = re.compile(r"/v1/(?:federation/reports|experiments/[^/]+/reports|recommendations)")
"""Paths that are never asked for but through the relay."""
HEADERS = ("content-type", "authorization")


@dataclass(frozen=True)
class Relay:
    """url: where the relay takes requests for this service. key: of the service's gateway, pinned from outside."""

    url: str
    key: KeyConfig


@contextmanager
def relayed_client(
    service: str, relay: Relay, ca: Path | None = None, transport: httpx.BaseTransport | None = None
) -> Iterator[httpx.Client]:
    """Open a client of a service whose private requests go through a relay.

    ca: of the service alone; the relay is somebody else's, with a certificate that is believed by all. transport: to
    both, for tests. Raises ServingError for addresses that are neither https:// nor this machine.
    """
    address = str(check_address(relay.url))
    direct = service_client(service, ca) if transport is None else httpx.Client(base_url=service, transport=transport)
    with (
        httpx.Client(timeout=TIMEOUT_S, trust_env=False, transport=transport) as outward,
        direct as client,
        httpx.Client(
            base_url=client.base_url,
            headers=client.headers,
            transport=RelayTransport(client, outward, address, relay.key),
            timeout=TIMEOUT_S,
            trust_env=False,
        ) as relayed,
    ):
        relayed.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # none is kept, so none is sent
        yield relayed


class RelayTransport(httpx.BaseTransport):
    """Seals private requests and posts them to the relay; sends the others directly."""

    def __init__(self, direct: httpx.Client, outward: httpx.Client, url: str, key: KeyConfig) -> None:
        self._direct, self._outward, self._url, self._key = direct, outward, url, key

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request. Raises httpx.TransportError where the relay or the gateway gives no sealed answer."""
        if not PRIVATE.fullmatch(request.url.path):
            return self._direct.send(request, stream=True, auth=None, follow_redirects=False)
        headers = tuple((name.encode(), request.headers[name].encode()) for name in HEADERS if name in request.headers)
        asked = BinaryRequest(
            request.method.encode(), b"https", request.url.netloc, request.url.raw_path, headers, request.read()
        )
        sealed, context = seal_request(asked.to_bytes(), self._key)
        outer = {"content-type": REQUEST_TYPE, "accept-encoding": "identity", "user-agent": "ownshelf-device"}
        with self._outward.stream("POST", self._url, content=sealed, headers=outer, follow_redirects=False) as response:
            if response.status_code != 200 or response.headers.get("content-type") != ANSWER_TYPE:
                # Whoever stands between may say anything: only a sealed answer is the service's.
                raise httpx.RemoteProtocolError(f"relay: status {response.status_code}, must be a sealed answer")
            content = read_bounded(response, "relay", MAX_ANSWER_BYTES)
        try:
            answer = BinaryAnswer.from_bytes(open_answer(content, context))
        except (ObliviousRefused, BinaryHttpRefused) as error:
            raise httpx.RemoteProtocolError(f"relay: {error}") from None
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.content, request=request)
