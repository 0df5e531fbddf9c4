"""How to learn without seeing: messages, device, private sum, item step, rounds, simulation."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from federation.device.device import Device as Device
    from federation.lab.comparison import compare_models as compare_models
    from federation.lab.folds import Folds as Folds
    from federation.lab.questions import question as question
    from federation.lab.recipes import Recipe as Recipe
    from federation.lab.replay import replay as replay
    from federation.lab.selection import cross_validate as cross_validate
    from federation.lab.selection import select as select
    from federation.lab.tuning import tune as tune
    from federation.lab.validation import validate as validate
    from federation.simulation.training import TrainConfig as TrainConfig
    from federation.simulation.training import Training as Training
    from federation.simulation.training import train as train

__getattr__ = lazy_names(
    __name__,
    {
        "Device": "federation.device.device",
        "Folds": "federation.lab.folds",
        "Recipe": "federation.lab.recipes",
        "TrainConfig": "federation.simulation.training",
        "Training": "federation.simulation.training",
        "compare_models": "federation.lab.comparison",
        "cross_validate": "federation.lab.selection",
        "question": "federation.lab.questions",
        "replay": "federation.lab.replay",
        "select": "federation.lab.selection",
        "train": "federation.simulation.training",
        "tune": "federation.lab.tuning",
        "validate": "federation.lab.validation",
    },
)

__all__ = [
    "Device",
    "Folds",
    "Recipe",
    "TrainConfig",
    "Training",
    "compare_models",
    "cross_validate",
    "question",
    "replay",
    "select",
    "train",
    "tune",
    "validate",
]
