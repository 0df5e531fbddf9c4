"""Every HTTP application against its own OpenAPI document, briefly; `ownshelf bench fuzz` does it at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.fuzz import APPLICATIONS, RICH
from tests.serving.http.custodian.test_custodian_app import ROUTES as OF_THE_CUSTODIAN
from tests.serving.http.test_openapi import ROUTES as OF_THE_SERVICE

EXAMPLES = 5
OF_THE_LOG = {
    *("GET /v1/log/head", "GET /v1/log/entries", "GET /v1/log/proofs/{task_id}", "GET /v1/log/clusters/{version}"),
    *("GET /v1/log/issuer-keys/{token_key_id}", "GET /v1/rounds/{task_id}/no-answer", "POST /v1/clusters"),
}
ASKED = {
    "live": {
        *(f"{method.upper()} {path}" for path, method in OF_THE_SERVICE),
        "POST /v1/federation/reports",
        "GET /v1/federation/task",
        "GET /v1/federation/rounds",
        "GET /v1/federation/log/{task_id}",
        "GET /v1/federation/log/clusters/{version}",
        "GET /v1/federation/no-answers",
        "GET /v1/federation/log/issuer-keys/{token_key_id}",
        "GET /v1/device-tokens",
        "POST /v1/device-tokens",
        "GET /ohttp-keys",
        "POST /ohttp",
        "POST /v1/keys",
        "GET /v1/keys",
        "DELETE /v1/keys/{key_id}",
        "GET /v1/experiments",
        "PUT /v1/experiments",
        *(f"GET /v1/experiments/{{experiment_id}}{path}" for path in ("", "/results", "/task")),
        *(f"POST /v1/experiments/{{experiment_id}}/{path}" for path in ("start", "stop", "reports")),
    },
    "custodian": OF_THE_CUSTODIAN | OF_THE_LOG,
    "custodian_signed": OF_THE_CUSTODIAN | OF_THE_LOG,
}


@pytest.mark.parametrize("name", ASKED)
def test_requests_of_every_kind_get_the_declared_answers(name: str, tmp_path: Path) -> None:
    found = APPLICATIONS[name](tmp_path, EXAMPLES, 0, RICH)
    assert found.failures == {}
    assert set(found.cases) == ASKED[name]
