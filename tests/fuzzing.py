"""An HTTP application against its own OpenAPI: schemathesis makes valid and broken requests of every route."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def fuzz(
    app: Any, examples: int, versions: Sequence[str] = (), rejects: Sequence[str] = (), *, only: str = ""
) -> dict[str, int]:
    """Send that many requests of each kind to each route of an ASGI application; how many were sent, by route.

    versions: of bundles, named by half of the valid requests and all of the broken ones: one nobody knows is refused
    before anything else is looked at. Fails on a server error, an undeclared status or content type, a body that is not
    of the declared shape, and, on the routes of `rejects`, a broken request that is taken. only: in the paths asked.
    """
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    sent: dict[str, int] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        if only not in operation.path:
            continue
        takes_something = bool(operation.body) or any(True for _ in operation.iter_parameters())
        for mode in GenerationMode if takes_something else (GenerationMode.POSITIVE,):

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),
            )
            @given(
                case=operation.as_strategy(generation_mode=mode),
                version=st.sampled_from(versions or [None]),
                known=st.booleans() if mode is GenerationMode.POSITIVE else st.just(True),
            )
            def one(case: Any, version: str | None, known: bool) -> None:
                label = f"{case.operation.method.upper()} {case.operation.path}"
                sent[label] = sent.get(label, 0) + 1
                if version is not None and known:
                    _name(case, version)
                case.call_and_validate(checks=(*CHECKS, *((negative_data_rejection,) if label in rejects else ())))

            # Free text and plain bytes cannot be wrong, so there is no broken request to make of them.
            with suppress(Unsatisfiable) if mode is GenerationMode.NEGATIVE else nullcontext():
                one()
    return sent


def _name(case: Any, version: str) -> None:
    """Put a version in the place of every one that could be one; a broken one stays, or a broken request gets whole."""
    if isinstance(case.body, dict):
        many = case.body.get("requests")
        for one in [case.body, *(many if isinstance(many, list) else [])]:
            if (
                isinstance(one, dict)
                and isinstance(one.get("bundle_version"), str)
                and 0 < len(one["bundle_version"]) < 65
            ):
                one["bundle_version"] = version
    if isinstance((case.path_parameters or {}).get("version"), str):
        case.path_parameters["version"] = version
