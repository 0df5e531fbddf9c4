"""What happened: events, catalogues, log formats, validation, splits, samples, synthetic logs."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from data.dataset import Dataset as Dataset
    from data.dataset import read_log as read_log
    from data.errors import OwnshelfError as OwnshelfError
    from data.interactions import EventKind as EventKind
    from data.interactions import Interactions as Interactions
    from data.sessions import split_sessions as split_sessions
    from data.split import Split as Split
    from data.split import leave_last_out as leave_last_out
    from data.split import parse_time as parse_time
    from data.split import temporal as temporal
    from data.synthetic import SyntheticShop as SyntheticShop

__getattr__ = lazy_names(
    __name__,
    {
        "Dataset": "data.dataset",
        "EventKind": "data.interactions",
        "Interactions": "data.interactions",
        "OwnshelfError": "data.errors",
        "Split": "data.split",
        "SyntheticShop": "data.synthetic",
        "leave_last_out": "data.split",
        "parse_time": "data.split",
        "read_log": "data.dataset",
        "split_sessions": "data.sessions",
        "temporal": "data.split",
    },
)

__all__ = [
    "Dataset",
    "EventKind",
    "Interactions",
    "OwnshelfError",
    "Split",
    "SyntheticShop",
    "leave_last_out",
    "parse_time",
    "read_log",
    "split_sessions",
    "temporal",
]
