"""The one error tree, split by what the caller can do about it.

    OwnshelfError                a user's mistake or a refused request: one line, no traceback
    ├── DataError                the log, catalogue or dataset folder is not usable as given
    │   └── SumsTooSmall         an experiment's sums say nothing yet: wait for more shoppers
    ├── ModelError               a table, profile, vector or bundle is not usable as given
    ├── FederationError          a round cannot go on
    │   ├── ReportRejected       this one report is refused, the round goes on
    │   ├── BudgetExhausted      the privacy budget is spent: no further round
    │   └── BatchTooSmall        fewer reports than min_reports: nothing may be summed
    └── ServingError             a request or a device's own store cannot be served

A message has name, value and bound: ``top_k=0: must be 1..1000``.
"""


class OwnshelfError(Exception):
    """Base of every error that Ownshelf raises on purpose."""


class DataError(OwnshelfError):
    """The log, catalogue or dataset folder is not usable as given."""


class SumsTooSmall(DataError):
    """An experiment's sums say nothing yet: too few shoppers, or more noise than signal."""


class ModelError(OwnshelfError):
    """A table, profile, vector or bundle is not usable as given."""


class FederationError(OwnshelfError):
    """A round cannot go on."""


class ReportRejected(FederationError):
    """One report is refused; the round goes on without it."""


class BudgetExhausted(FederationError):
    """The privacy budget is spent."""


class BatchTooSmall(FederationError):
    """Fewer reports than min_reports: nothing may be summed."""


class ServingError(OwnshelfError):
    """A request, or a device's own store, cannot be served."""
