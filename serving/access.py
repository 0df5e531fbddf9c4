"""Who may do what: one table from route to the scopes that open it. What is not in the table is not answered.

Imports nothing of the store: the good keys come as a KeyLookup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from serving.refusal import Refusal

SCOPES = ("app", "catalogue", "analyst", "admin", "device")
"""app: a shop's backend. catalogue: items. analyst: figures. admin: keys, bundles. device: published, only asks."""
ALL_SCOPES = frozenset(SCOPES)
PUBLISHED = frozenset({"device"})
"""Scopes of a key that every shopper's device holds: it tells nobody from anybody, so no rate is counted on it."""
OPEN_APP = "shop"
"""Whose the requests without a key are, where such are allowed."""
CHALLENGE = {"www-authenticate": "Bearer"}


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    app: the tenant, whose resources are the only ones there are for this request; "" on public routes.

    key_id: None without a key.
    """

    app: str
    key_id: str | None
    scopes: frozenset[str]


NOBODY = Caller("", None, frozenset())
ANYBODY = Caller(OPEN_APP, None, ALL_SCOPES)


@dataclass(frozen=True)
class Route:
    """One line of the table. scopes: any of them opens it; none: public.

    keyed: needs a key even where requests without one are allowed. page: HTML, which brings a content policy of its
    own. streamed: bounds its body and its time by itself, as the body arrives.
    """

    method: str
    pattern: str
    scopes: frozenset[str] = frozenset()
    keyed: bool = False
    page: bool = False
    streamed: bool = False


def _table(*lines: tuple[str, str, str, str] | tuple[str, str, str]) -> tuple[Route, ...]:
    routes = []
    for methods, pattern, scopes, *marks in lines:
        flags = dict.fromkeys(marks[0].split() if marks else (), True)
        routes += [Route(method, pattern, frozenset(scopes.split()), **flags) for method in methods.split()]
    return tuple(routes)


ROUTES = _table(
    ("POST", "/v1/recommendations", "app device"),
    ("POST", "/v1/recommendations/batch", "app device"),
    ("GET POST", "/v1/items/{item_id}/similar", "app device"),
    ("GET", "/v1/placements", "app device"),
    ("PUT DELETE", "/v1/placements", "catalogue"),
    ("POST", "/v1/rank", "app device"),
    ("PUT", "/v1/items", "catalogue"),
    ("GET", "/v1/items/{item_id}", "app device"),
    ("DELETE", "/v1/items/{item_id}", "catalogue"),
    ("GET", "/v1/catalogue/{version}", "app device"),
    ("GET", "/v1/catalogue/{version}/changes", "app device"),
    ("GET", "/v1/clusters/{version}", "app device"),
    ("GET", "/v1/clusters/{version}/candidates", "app device"),
    ("GET", "/v1/bundles", "app analyst admin"),
    ("DELETE", "/v1/bundles/{version}", "admin"),
    ("POST", "/v1/bundles/{version}/activate", "admin"),
    ("GET POST", "/v1/keys", "admin", "keyed"),
    ("DELETE", "/v1/keys/{key_id}", "admin", "keyed"),
    ("GET POST", "/v1/device-tokens", "app", "keyed"),
    ("GET", "/v1/federation/rounds", "analyst"),
    ("GET", "/v1/federation/task", ""),
    ("GET", "/v1/federation/log/{task_id}", ""),
    ("GET", "/v1/federation/log/clusters/{version}", ""),
    ("GET", "/v1/federation/log/issuer-keys/{token_key_id}", ""),
    ("GET", "/v1/federation/no-answers", ""),
    ("POST", "/v1/federation/reports", "", "streamed"),  # a report carries its own token
    ("GET", "/ohttp-keys", ""),
    ("POST", "/ohttp", "", "streamed"),  # what is inside goes through this table by itself
    ("GET", "/v1/experiments", "app analyst admin device"),  # to app and device keys, those running
    ("PUT", "/v1/experiments", "analyst admin"),
    ("GET", "/v1/experiments/{experiment_id}", "analyst admin"),
    ("POST", "/v1/experiments/{experiment_id}/start", "analyst admin"),
    ("POST", "/v1/experiments/{experiment_id}/stop", "analyst admin"),
    ("GET", "/v1/experiments/{experiment_id}/results", "analyst admin"),
    ("GET", "/v1/experiments/{experiment_id}/task", "app device"),
    ("POST", "/v1/experiments/{experiment_id}/reports", "", "streamed"),  # a report carries its own token
    ("GET", "/v1/dashboard", "analyst"),
    ("GET", "/", "", "page"),
    ("GET", "/docs", "", "page"),
    ("GET", "/dashboard", "", "page"),  # the page alone; its figures are asked for with a key
    ("GET", "/shop", "", "page"),
    ("GET", "/shop/{file}", ""),
    ("GET", "/sdk/{file}", ""),
    ("GET", "/metrics", "analyst admin"),
    ("GET", "/openapi.json", ""),
    ("GET", "/healthz", ""),
    ("GET", "/readyz", ""),
)
"""The whole table. A route of the app without a line here is not answered, and a test says so."""


class KeyLookup(Protocol):
    """The good keys."""

    @property
    def empty(self) -> bool:
        """No key was ever made."""

    def caller_of(self, key: str) -> Caller | None:
        """Find whose key this is."""


class RouteTable:
    """Finds a request's line: exact paths by a dict, the others by the longest pattern that fits."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        by_pattern: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_pattern.setdefault(route.pattern, {})[route.method] = route
            if "{" not in route.pattern:
                self._exact[route.method, route.pattern] = route
        longest_first = sorted(by_pattern, key=lambda pattern: (-pattern.count("/"), pattern))
        self._patterns = [(_compiled(pattern), by_pattern[pattern]) for pattern in longest_first]

    def find(self, method: str, path: str) -> Route | None:
        """Find the route of a request; None when there is no such path, or not with this method."""
        route = self._exact.get((method, path))
        if route is not None:
            return route
        return self._line(path).get(method)

    def methods(self, path: str) -> list[str]:
        """List what may be done with a path."""
        return sorted(self._line(path))

    def _line(self, path: str) -> dict[str, Route]:
        """Find the routes of the first pattern that fits, by method: `…/similar` is never an item of that name."""
        return next((methods for regex, methods in self._patterns if regex(path)), {})


def _compiled(pattern: str) -> Callable[[str], object]:
    def part(name: re.Match[str]) -> str:
        return ".+" if name[0] == "{item_id}" else "[^/]+"  # an item_id may hold slashes

    return re.compile(re.sub(r"\{\w+\}", part, pattern), re.DOTALL).fullmatch


class Access:
    """Checks keys against the table. Without a book, or while it is empty, requests need no key."""

    def __init__(self, book: KeyLookup | None = None, *, needs_no_key: bool = False) -> None:
        """needs_no_key: requests without a key are anybody's, although there are keys (`ownshelf serve --open`)."""
        self._book = book
        self._needs_no_key = needs_no_key

    @property
    def is_open(self) -> bool:
        """Requests without a key are answered."""
        return self._needs_no_key or self._book is None or self._book.empty

    def admit(self, route: Route, authorization: bytes | None) -> Caller:
        """Admit whoever asks.

        Raises Refusal for a key that is not good, and for one whose scopes do not open the route.
        """
        if not route.scopes:
            return NOBODY
        if authorization is None or self._book is None:
            if self.is_open and not route.keyed:
                return ANYBODY
            raise _unknown()
        scheme, _, key = authorization.partition(b" ")
        caller = self._book.caller_of(key.decode("latin-1")) if scheme.lower() == b"bearer" else None
        if caller is None:
            raise _unknown()
        if caller.scopes.isdisjoint(route.scopes):
            wanted = sorted(route.scopes)
            raise Refusal("scope_missing", f"scope: this key needs one of {', '.join(wanted)}", {"scopes": wanted})
        return caller


def _unknown() -> Refusal:
    return Refusal("api_key_invalid", "authorization: must be Bearer and an API key", headers=CHALLENGE)


def caller(scope: Mapping[str, object]) -> Caller:
    """Read who asks, as the guard wrote it into the ASGI scope."""
    state = scope["state"]
    assert isinstance(state, dict)
    who = state["caller"]
    assert isinstance(who, Caller)
    return who
