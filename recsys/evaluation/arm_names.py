"""The names of arms, and which of them a device, an experiment, a replay and a comparison can make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

DeviceArm = Literal["personalized", "personalized_no_repeat", "global", "global_profile"]
"""Arms that one catalogue and one history are enough for."""

ListedArm = Literal[DeviceArm, "local"]
"""Arms of an experiment: no log of other shoppers is needed to list by them."""

ReplayArm = Literal[ListedArm, "central", "popularity"]
"""Arms that are made anew at each publication of a replay."""

DefaultArm = Literal[ReplayArm, "item_knn", "own_counter", "transition"]
"""Arms of a comparison unless others are asked for."""

ArmName = Literal[DefaultArm, "fine_tune", "ease", "ials"]
"""All; the last three are made on demand alone, for they take long."""

DEVICE_ARMS: tuple[DeviceArm, ...] = get_args(DeviceArm)
LISTED_ARMS: tuple[ListedArm, ...] = get_args(ListedArm)
REPLAY_ARMS: tuple[ReplayArm, ...] = get_args(ReplayArm)
DEFAULT_ARMS: tuple[DefaultArm, ...] = get_args(DefaultArm)

ARMS: Mapping[ArmName, str] = {
    "personalized": "own profile, with the repeat counter; by the mix where there is one",
    "personalized_no_repeat": "the same without the own purchases",
    "global": "the recent trend, for everybody",
    "global_profile": "the population's mean profile, for everybody",
    "local": "own profile on a table that was never federated",
    "central": "own profile on a table of the pooled log: iALS",
    "popularity": "all-time popularity, for everybody",
    "item_knn": "items that the same people had, of pooled rows",
    "own_counter": "the own items by how often, then the trend",
    "transition": "what comes after the last events, of pooled rows",
    "fine_tune": "gradient steps on a private vector, of a table trained for them",
    "ease": "EASE (Steck 2019) on pooled rows",
    "ials": "central iALS with the recipe's recency and nothing beside it",
}
"""What each arm lists by, in the order of tables."""
