"""What a relay costs: bytes, and CPU of the device and of the gateway, for a report of a round's usual size."""

from __future__ import annotations

import os
from typing import Any

from federation.protocol.oblivious.binary_http import BinaryAnswer, BinaryRequest
from federation.protocol.oblivious.encapsulation import GatewayKey, open_answer, seal_answer, seal_request
from tests.benchmarks.private_sum import a_plan, cpu_ms

REPEAT = 50


def run() -> dict[str, Any]:
    """Milliseconds of CPU to seal a report and open its answer, and at the gateway the other way round."""
    key, report = GatewayKey(os.urandom(32)), os.urandom(4 * a_plan().length + 500)
    headers = ((b"content-type", b"application/octet-stream"),)
    request = BinaryRequest(b"POST", b"https", b"shop.example", b"/v1/federation/reports", headers, report)
    answer = BinaryAnswer(201, ((b"content-type", b"application/json"),), b"{}").to_bytes()
    sealed, ours = seal_request(request.to_bytes(), key.config)
    _, theirs = key.open_request(sealed)
    sealed_answer = seal_answer(answer, theirs)
    return {
        "report_bytes": len(report),
        "overhead_bytes": len(sealed) - len(report),
        "seal_ms": cpu_ms(lambda: seal_request(request.to_bytes(), key.config), REPEAT),
        "open_answer_ms": cpu_ms(lambda: open_answer(sealed_answer, ours), REPEAT),
        "gateway_open_ms": cpu_ms(lambda: BinaryRequest.from_bytes(key.open_request(sealed)[0]), REPEAT),
        "gateway_seal_ms": cpu_ms(lambda: seal_answer(answer, theirs), REPEAT),
    }
