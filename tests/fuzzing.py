"""An HTTP application against its own OpenAPI document: all checks and phases of schemathesis, in this process."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import schemathesis
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from federation.protocol.oblivious.encapsulation import REQUEST_TYPE
from serving.http.cursor import MAX_CURSOR_CHARS
from serving.http.openapi_keys import SCHEME

load_all_checks()
schemathesis.serializer.alias(REQUEST_TYPE, "application/octet-stream")
NO_BUNDLE = "of-no-bundle"
EVERY_CHECK = tuple(sorted(CHECKS.get_all_names()))


@dataclass(frozen=True)
class Exempt:
    """A check that cannot hold on some routes (`POST /v1/items`, …) by design, and why."""

    check: str
    routes: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class Fuzzed:
    """cases: requests sent, by route. failures: each (check, route) once, with what was wrong."""

    cases: Mapping[str, int]
    failures: Mapping[tuple[str, str], str] = field(default_factory=dict)


def fuzz(
    app: Any,
    examples: int,
    *,
    key: str | None = None,
    exempt: Sequence[Exempt] = (),
    only: str = "",
    briefly: Sequence[str] = (),
    seed: int | None = None,
) -> Fuzzed:
    """Send that many random requests to each route of an ASGI application, valid and broken ones, and look at answers.

    Beside the random ones there are the coverage phase's (each rule of the document broken by itself, other methods,
    no key) and the stateful one's (what one answer names is asked for in the next request). key: an API key for all
    routes. only: in the paths asked. briefly: routes that are left out of the coverage phase, for their document is so
    rich that it takes thousands of requests. seed: of everything that is drawn; None draws it.
    """
    config = {
        "seed": random.randrange(2**32) if seed is None else seed,
        "continue-on-failure": True,
        "suppress-health-check": ["all"],
        "warnings": False,
        **({} if key is None else {"auth": {"openapi": {SCHEME: {"bearer": key}}}}),
        "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
        "checks": {name: {"enabled": True} for name in EVERY_CHECK},
        "operations": [
            *({"include-name": list(one.routes), "checks": {one.check: {"enabled": False}}} for one in exempt),
            *([{"include-name": list(briefly), "phases": {"coverage": {"enabled": False}}}] if briefly else []),
        ],
    }
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=SchemathesisConfig.from_dict(config))
    if only:
        schema = schema.include(path_regex=only)
    cases: Counter[str] = Counter()
    failures: dict[tuple[str, str], str] = {}
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            cases.update(one.value.operation.label for one in event.recorder.cases.values())
            for case, checks in event.recorder.checks.items():
                label = event.recorder.cases[case].value.operation.label
                for check in checks:
                    if check.failure_info is not None:
                        failures.setdefault(
                            (check.name, label), _told(event.recorder, case, check.failure_info.failure)
                        )
        elif isinstance(event, (events.NonFatalError, events.FatalError)):
            raise AssertionError(f"schemathesis: {getattr(event, 'value', None) or getattr(event, 'exception', event)}")
    return Fuzzed(dict(cases), failures)


def _told(recorder: Any, case: str, failure: Any) -> str:
    """What was wrong, what was sent and what was answered."""
    seen = recorder.interactions.get(case)
    sent = "" if seen is None else f"\n{seen.request.method} {seen.request.uri}\n{seen.request.body!r}"
    answer = "" if seen is None or seen.response is None else f"\n{seen.response.status_code} {seen.response.content!r}"
    return f"{failure.title}: {failure.message}{sent}{answer}"


class Naming:
    """Names real bundles in half of the requests that pass: one that is not known is refused before all else.

    A version that is broken stays as it is, or a broken request would get whole. What no document can say is kept from
    all requests: a text that is no cursor is left out, rules that contradict each other are asked of no bundle, and
    bounds of a filter of which the lower one is above the upper one are exchanged.
    """

    def __init__(self, app: Any, versions: Sequence[str]) -> None:
        self.app, self.versions = app, versions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, changed or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = await whole_body(receive)
        drawn = crc32(body + scope["raw_path"])
        body = _sayable(body)
        if drawn % 2:
            version = self.versions[drawn // 2 % len(self.versions)]
            body, scope = _named_in(body, version), _named_at(scope, version)
        await self.app(scope, saying(body), send)


async def whole_body(receive: Any) -> bytes:
    """What an ASGI request says, to its end."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def saying(body: bytes) -> Any:
    """A receive of ASGI that gives this body."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _named_in(body: bytes, version: str) -> bytes:
    sent, questions = _questions(body)
    for one in questions:
        if _may_be(one.get("bundle_version")) and one["bundle_version"] != NO_BUNDLE:
            one["bundle_version"] = version
    return json.dumps(sent).encode() if questions else body


def _sayable(body: bytes) -> bytes:
    body = _with_bounds_in_order(body)
    sent, questions = _questions(body)
    for one in questions:
        cursor = one.get("cursor")
        if isinstance(cursor, str) and 0 < len(cursor) <= MAX_CURSOR_CHARS:
            one["cursor"] = None
        if _may_be(one.get("bundle_version")) and _contradicts(one.get("rules")):
            one["bundle_version"] = NO_BUNDLE
    return json.dumps(sent).encode() if questions else body


def _questions(body: bytes) -> tuple[Any, list[dict[str, Any]]]:
    """A body's JSON, and the questions in it: itself, or those of a batch."""
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        return None, []
    many = sent.get("requests") if isinstance(sent, dict) else None
    return sent, [one for one in [sent, *(many if isinstance(many, list) else [])] if isinstance(one, dict)]


def _with_bounds_in_order(body: bytes) -> bytes:
    def ordered(value: object) -> object:
        if isinstance(value, list):
            return [ordered(one) for one in value]
        if not isinstance(value, dict):
            return value
        low, high = value.get("min"), value.get("max")
        if set(value) == {"min", "max"} and all(type(one) in (int, float) for one in (low, high)) and low > high:
            return {"min": high, "max": low}
        return {name: ordered(one) for name, one in value.items()}

    try:
        return json.dumps(ordered(json.loads(body))).encode() if b'"min"' in body else body
    except (ValueError, RecursionError):
        return body


def _contradicts(rules: object) -> bool:
    """Two pins of one item or at one place, or two caps by one field."""
    for rule, key in (("pin", "item_id"), ("pin", "position"), ("cap", "by")):
        listed = rules.get(rule) if isinstance(rules, dict) else None
        named = (
            [json.dumps(one.get(key)) for one in listed or [] if isinstance(one, dict)]
            if isinstance(listed, list)
            else []
        )
        if len(set(named)) < len(named):
            return True
    return False


def _named_at(scope: Any, version: str) -> Any:
    parts = scope["path"].split("/")
    named = [
        version if at == 3 and parts[2] in ("catalogue", "clusters", "bundles") and _may_be(part) else part
        for at, part in enumerate(parts)
    ]
    path = "/".join(named)
    return {**scope, "path": path, "raw_path": path.encode("latin-1", "replace")}


def _may_be(version: object) -> bool:
    return isinstance(version, str) and 0 < len(version) < 65
