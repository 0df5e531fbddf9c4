"""How to learn without seeing: messages, device, private sum, item step, rounds, simulation."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from federation.comparison import compare_models as compare_models
    from federation.comparison import question as question
    from federation.device import Device as Device
    from federation.folds import Folds as Folds
    from federation.recipe import Recipe as Recipe
    from federation.replaying import replay as replay
    from federation.selection import cross_validate as cross_validate
    from federation.selection import select as select
    from federation.simulation import TrainConfig as TrainConfig
    from federation.simulation import Training as Training
    from federation.simulation import train as train
    from federation.tuning import tune as tune
    from federation.validation import validate as validate

__getattr__ = lazy_names(
    __name__,
    {
        "Device": "federation.device",
        "Folds": "federation.folds",
        "Recipe": "federation.recipe",
        "TrainConfig": "federation.simulation",
        "Training": "federation.simulation",
        "compare_models": "federation.comparison",
        "cross_validate": "federation.selection",
        "question": "federation.comparison",
        "replay": "federation.replaying",
        "select": "federation.selection",
        "train": "federation.simulation",
        "tune": "federation.tuning",
        "validate": "federation.validation",
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
