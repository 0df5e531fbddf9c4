"""Raw bytes at the sockets of service and custodian: what has not the one error shape, what leaves a traceback."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.http.custodian.custodian_app import create_custodian_app
from tests.federation.custodian.a_custodian import SERVICE, a_custodian
from tests.federation.service.a_lineage import stop
from tests.listening import listening
from tests.raw_requests import Tracebacks, raw_request, send_all
from tests.serving.http.resources.test_federation_routes import make

CASES = 5_000


def run(seed: int = 0, say: Callable[[str], object] = lambda _: None) -> dict[str, Any]:
    """cases: requests to both servers. wrong_shape: answers that are no HTTP, or errors in another shape. tracebacks:
    in any log. unanswered: bytes that are no whole request, for which the server waits or hangs up.
    """
    with tempfile.TemporaryDirectory() as place:
        live, custodian = make(Path(place) / "service"), a_custodian(Path(place) / "custodian")
        live.open()
        figures: dict[str, Any] = {"cases": 0, "wrong_shape": 0, "tracebacks": 0, "unanswered": 0, "statuses": {}}
        for name, app in (("service", live.app), ("custodian", create_custodian_app(custodian, SERVICE.public))):
            say(f"{CASES} bent requests to the {name}")
            chance = random.Random(f"{name} {seed}")
            with listening(app) as url, Tracebacks() as tracebacks:
                judged = send_all(int(url.rpartition(":")[2]), [raw_request(chance, name) for _ in range(CASES)])
            figures["cases"] += judged.cases
            figures["wrong_shape"] += len(judged.wrong)
            figures["tracebacks"] += len(tracebacks.found)
            figures["unanswered"] += judged.unanswered
            figures["statuses"][name] = {str(status): n for status, n in sorted(judged.statuses.items())}
        custodian.shut()
        stop(live.line)
    return figures
