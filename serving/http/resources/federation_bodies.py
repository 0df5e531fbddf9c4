"""The JSON bodies of the federation routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.http.resources.ask_bodies import Whole

if TYPE_CHECKING:
    from federation.service.round_store import StoredRound

MAX_TOKENS = 1_000


class TokenRequest(BaseModel):
    """How many tokens a shop's backend wants. There is no field for whom."""

    model_config = ConfigDict(extra="forbid", strict=True)
    count: Annotated[int, Whole] = Field(1, ge=1, le=MAX_TOKENS)


class TokenAnswer(BaseModel):
    """expires_at: seconds since 1970-01-01 UTC."""

    tokens: list[str]
    expires_at: int


class ReportAnswer(BaseModel):
    """report_id: hexadecimal. come_back_s: seconds until asking for the next task makes sense."""

    report_id: str
    status: Literal["accepted", "duplicate"]
    come_back_s: int


class RoundEntry(BaseModel):
    """A round as anybody may see it. record: after its item step."""

    round: int
    task_id: str
    state: str
    from_bundle: str
    opened_at: int
    finished_at: int | None
    reports: int
    failure: str | None
    record: dict[str, Any]


class RoundList(BaseModel):
    """The newest rounds, newest first. epsilon: of the installation that was asked most; null when unbounded."""

    epsilon: float | None
    delta: float
    rounds: list[RoundEntry]


def entry_of(stored: StoredRound) -> RoundEntry:
    """Describe a stored round as anybody may see it."""
    return RoundEntry(
        round=stored.number,
        task_id=stored.task_id,
        state=stored.state,
        from_bundle=stored.base_version,
        opened_at=stored.opened_at,
        finished_at=stored.finished_at,
        reports=stored.counted,
        failure=stored.failure,
        record=dict(stored.record),
    )
