"""Devices with histories that a test planted: python -m tests.end_to_end.planted_devices ORDERS.json

Each posts half of its report, waits until the test has looked around, and posts the rest. What they keep secret is
written to the test's own folder. A careless one sends its words without taking the seed's stream from them.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

import federation.device.participation as participant
import federation.private_sum.device_part as splitting
from federation.device.delivery import REPORTS, RetryPolicy
from federation.device.device import Device
from federation.device.reporting import DeviceRandomness
from federation.device.tokens.issuing import ShopIssuer
from federation.learning.privacy_plan import PrivacyPlan
from serving.cli.device.contribute import policy_of

doing = threading.local()
secrets: dict[str, dict[str, npt.NDArray[Any]]] = {}


def is_careless(device: str) -> bool:
    return device.startswith("careless")


def watched_split(words: npt.NDArray[np.uint32], seed: bytes) -> bytes:
    kept = secrets.setdefault(doing.device, {})
    kept |= {"words": words.copy(), "seed": np.frombuffer(seed, dtype=np.uint8)}
    return words.astype("<u4").tobytes() if is_careless(doing.device) else real_split(words, seed)


def watched_vectors(*arguments: Any, **named: Any) -> dict[str, npt.NDArray[np.float64]]:
    vectors = real_vectors(*arguments, **named)
    own = arguments[0]
    secrets.setdefault(doing.device, {}).update(profile=vectors["first"], rows=vectors["rows"], times=own.time)
    return vectors


real_split, real_vectors = splitting.service_share, participant.training_vectors
splitting.service_share = watched_split
participant.training_vectors = watched_vectors


class Pausing(httpx.BaseTransport):
    """Sends half of a report, then waits for all others and for the test."""

    def __init__(self, halfway: threading.Barrier, go_on: threading.Event) -> None:
        self._transport, self._halfway, self._go_on = httpx.HTTPTransport(), halfway, go_on

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == REPORTS:
            stream = _Halves(request.read(), self._halfway, self._go_on)
            request = httpx.Request(request.method, request.url, headers=request.headers, stream=stream)
        return self._transport.handle_request(request)


class _Halves(httpx.SyncByteStream):
    def __init__(self, body: bytes, halfway: threading.Barrier, go_on: threading.Event) -> None:
        self._body, self._halfway, self._go_on = body, halfway, go_on

    def __iter__(self) -> Iterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        self._halfway.wait(timeout=60.0)  # a second attempt of a device would wait here for ever
        self._go_on.wait()
        yield self._body[half:]


def main() -> None:
    orders: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    policy = policy_of(PrivacyPlan.from_json(Path(orders["plan"]).read_bytes()), bytes.fromhex(orders["custodian_key"]))
    halfway, go_on = threading.Barrier(len(orders["devices"]) + 1), threading.Event()
    outcomes: dict[str, dict[str, Any]] = {}

    def live(name: str, folder: str) -> None:
        doing.device = name
        with httpx.Client(base_url=orders["service"], timeout=60.0) as shop:
            line = Pausing(halfway, go_on)
            with httpx.Client(transport=line, base_url=orders["service"], timeout=600.0) as client:
                found = participant.take_part(
                    Device.open(folder),
                    client,
                    policy,
                    ShopIssuer(shop, orders["api_key"]),
                    history_at=orders["history_at"],
                    draws=DeviceRandomness(block=lambda _: int(is_careless(name)), measures_only=lambda: False),
                    retry=RetryPolicy(spread_s=0.0),
                )
        outcomes[name] = asdict(found)

    threads = [threading.Thread(target=live, args=one) for one in orders["devices"].items()]
    for thread in threads:
        thread.start()
    halfway.wait()
    arrays = {f"{name}/{kind}": array for name, kept in secrets.items() for kind, array in kept.items()}
    np.savez(orders["secrets"], allow_pickle=False, **arrays)
    profiles = [Device.open(folder).profile(orders["history_at"]) for folder in orders["devices"].values()]
    say("halfway")
    sys.stdin.readline()
    go_on.set()
    for thread in threads:
        thread.join()
    assert None not in profiles  # held until here, as a device that shows a list holds its own
    say(json.dumps(outcomes))
    sys.stdin.readline()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
