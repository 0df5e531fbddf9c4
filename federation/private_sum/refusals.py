"""Why a private sum is refused: the federation branch of the error tree of data/errors.py, told apart by cause.

FederationError
├── PlanRefused              the plan of a sum cannot hold: it could wrap around, or a bound is no bound
├── TaskRefused              a device takes no part: the task is not signed as pinned, or weaker than agreed
├── ForeignTask              the custodian was asked about a task it did not sign, or a closed round
├── BatchRefused             a batch that contradicts itself or an answer already given
│   ├── MalformedBatch       the bytes are not a batch, or not an answer
│   └── AlreadyCounted       it holds a report that was counted before
└── ReportRejected
    ├── MalformedReport      the bytes are not a report
    ├── OversizedReport      longer than its task allows
    ├── MismatchedReport     a task, block or length that the round does not have
    ├── LateReport           the deadline has passed
    ├── TokenInvalid         its token is of no known issuer, or for another round
    ├── SealBroken           the sealed seed does not open for this report and task
    └── ProofFailed          the proof that the report keeps its bounds does not hold
"""

from data.errors import FederationError, ReportRejected


class PlanRefused(FederationError):
    """The plan of a sum cannot hold what it promises."""


class TaskRefused(FederationError):
    """A device takes no part in this task."""


class ForeignTask(FederationError):
    """The custodian holds no open round for this task."""


class BatchRefused(FederationError):
    """A batch contradicts itself, or an answer already given."""


class MalformedBatch(BatchRefused):
    """The bytes are not a batch, or not an answer."""


class AlreadyCounted(BatchRefused):
    """A batch holds a report that was counted before."""


class MalformedReport(ReportRejected):
    """The bytes are not a report."""


class OversizedReport(ReportRejected):
    """The bytes are longer than the task allows."""


class MismatchedReport(ReportRejected):
    """The report names a task, block or length that the round does not have."""


class TokenInvalid(ReportRejected):
    """The token is of no known issuer's key, for another task, or not signed."""


class LateReport(ReportRejected):
    """The deadline has passed."""


class SealBroken(ReportRejected):
    """The sealed seed does not open for this report and this task."""


class ProofFailed(ReportRejected):
    """The proof that a report keeps its bounds does not hold."""
