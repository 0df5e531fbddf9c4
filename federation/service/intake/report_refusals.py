"""Why a report is not taken, told apart by cause; each has a code of its own, which is counted and sent.

Beside those of private_sum/refusals.py:
ReportRejected
├── StaleReport            it is for another round
├── ConflictingReport      its id was taken with other content
├── TokenSpent             its token was used in this round
├── IssuerFull             its token's issuer has as many reports in this round as one may have
├── RoundFull              its block has max_reports
└── IntakeUnavailable      nothing is wrong with it, but it cannot be made durable now
"""

from __future__ import annotations

from data.errors import ReportRejected
from federation.private_sum.refusals import (
    LateReport,
    MalformedReport,
    MismatchedReport,
    OversizedReport,
    TokenInvalid,
)


class StaleReport(ReportRejected):
    """The report is for another round."""


class ConflictingReport(ReportRejected):
    """The report's id was taken with other content."""


class TokenSpent(ReportRejected):
    """The token was used in this round."""


class IssuerFull(ReportRejected):
    """The token's issuer has as many reports in this round as one may have."""


class RoundFull(ReportRejected):
    """The block has as many reports as its sum can hold."""


class IntakeUnavailable(ReportRejected):
    """The report cannot be made durable now; the same bytes may be sent again."""


CODES: dict[type[ReportRejected], str] = {
    LateReport: "report_late",
    StaleReport: "report_stale",
    ConflictingReport: "report_conflict",
    OversizedReport: "report_too_large",
    MalformedReport: "report_malformed",
    MismatchedReport: "report_mismatched",
    TokenInvalid: "token_invalid",
    TokenSpent: "token_spent",
    IssuerFull: "issuer_full",
    RoundFull: "round_full",
    IntakeUnavailable: "intake_unavailable",
}


def code_of(refusal: ReportRejected) -> str:
    """Find the code of a refusal, by its exact kind."""
    return CODES[type(refusal)]
