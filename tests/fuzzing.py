"""An HTTP application against its own OpenAPI: schemathesis makes valid and broken requests of every route."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def fuzz(app: Any, examples: int) -> dict[str, int]:
    """Send that many requests of each kind to each route of an ASGI application; how many were sent, by route.

    Fails on a server error, an undeclared status or content type, and a body that is not of the declared shape.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    sent: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        takes_something = bool(operation.body) or any(True for _ in operation.iter_parameters())
        for mode in GenerationMode if takes_something else (GenerationMode.POSITIVE,):

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case: Any) -> None:
                label = f"{case.operation.method.upper()} {case.operation.path}"
                sent[label] = sent.get(label, 0) + 1
                case.call_and_validate(checks=CHECKS)

            # Free text and plain bytes cannot be wrong, so there is no broken request to make of them.
            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
                one()
    return sent
