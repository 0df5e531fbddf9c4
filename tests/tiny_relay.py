"""A relay for tests: passes sealed requests to one gateway, and remembers all that it could see."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx


@dataclass
class TinyRelay(httpx.BaseTransport):
    """Stands for the network: what goes to `host` is the relay's, all else the service's. Both keep what they saw.

    bend: changes what the relay gives back.
    """

    service: httpx.BaseTransport
    host: str = "relay.test"
    gateway: str = "https://shop.test/ohttp"
    by_relay: list[bytes] = field(default_factory=list)
    directly: list[str] = field(default_factory=list)
    bend: list[httpx.Response] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host != self.host:
            self.directly.append(f"{request.method} {request.url.path}")
            return self.service.handle_request(request)
        self.by_relay.append(request.read())
        if self.bend:
            return self.bend.pop(0)
        onward = httpx.Request(
            "POST", self.gateway, content=request.read(), headers={"content-type": request.headers["content-type"]}
        )
        answer = self.service.handle_request(onward)
        kind = {"content-type": answer.headers["content-type"]}
        return httpx.Response(answer.status_code, headers=kind, content=answer.read())
