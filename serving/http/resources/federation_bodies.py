"""The JSON bodies of the federation routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

if TYPE_CHECKING:
    from federation.service.round_store import StoredRound

MAX_TOKENS = 32
"""Of one request: a private operation of RSA takes milliseconds."""


Blinded = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{342}$")]
"""256 bytes in base64url without padding."""


class IssuerKeyAnswer(BaseModel):
    """issuer_key: as it is in the log, base64url without padding. token_key_id: hexadecimal, the id it is named by."""

    issuer_key: str
    token_key_id: str


class TokenRequest(BaseModel):
    """What devices blinded for the key. There is no field for whom, and nothing in it that is ever seen again."""

    model_config = ConfigDict(extra="forbid", strict=True)
    token_key_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    blinded: Annotated[list[Blinded], Field(min_length=1, max_length=MAX_TOKENS)]


class TokenAnswer(BaseModel):
    """signatures: of what was blinded, in order; base64url without padding."""

    signatures: list[str]


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
