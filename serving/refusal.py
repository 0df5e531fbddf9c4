"""A request that is refused: a code of the table in serving/http/app.py, a message, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data.errors import ServingError


class Refusal(ServingError):
    """One refused request. Neither message nor details may carry a profile or anything else the body held."""

    def __init__(
        self,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})
        self.headers = dict(headers or {})
