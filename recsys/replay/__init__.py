"""Replay: what each arm would have shown before every event of a log, and whether it was what was wanted then."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.replay.replay_arms import Arm as Arm
    from recsys.replay.replay_arms import Publication as Publication
    from recsys.replay.result import Replay as Replay
    from recsys.replay.run import replay as replay
    from recsys.replay.settings import ReplayConfig as ReplayConfig
    from recsys.replay.trainer import Trainer as Trainer

__getattr__ = lazy_names(
    __name__,
    {
        "Arm": "recsys.replay.replay_arms",
        "Publication": "recsys.replay.replay_arms",
        "Replay": "recsys.replay.result",
        "ReplayConfig": "recsys.replay.settings",
        "Trainer": "recsys.replay.trainer",
        "replay": "recsys.replay.run",
    },
)

__all__ = ["Arm", "Publication", "Replay", "ReplayConfig", "Trainer", "replay"]
