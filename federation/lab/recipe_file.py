"""A recipe as a JSON file: a named recipe, what is changed about it, and how it was found.

    {"base": "purchases", "train": {"dim": 32, "step": {"final_step": 0.1}}, "serve": {"half_life": 20}}

is a complete one: what is not mentioned is as in the base. A privacy plan is no part of it; it has a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data.atomic import write_atomically
from data.errors import FederationError, OwnshelfError
from data.interactions import Interactions
from data.strict import read_strictly
from federation.lab.defaults import fitted, settle
from federation.lab.private_statistics import private_statistics
from federation.lab.recipes import RECIPES, Recipe, recipe
from federation.simulation.training import TrainConfig
from recsys.model.profile_config import ProfileConfig, finite


@dataclass(frozen=True)
class _Content:
    """The file's own keys; train, serve: what is changed about the base."""

    base: str
    train: dict[str, Any] = field(default_factory=dict)
    serve: dict[str, Any] = field(default_factory=dict)
    participations: int = 0
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecipeFile:
    """base: the named recipe that it began with, which says what kind of log it is for. participations: how often a
    device was asked while the recipe was chosen, at most. about: how it was found, JSON values; nothing reads it."""

    base: str
    recipe: Recipe
    participations: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises FederationError for a recipe with a privacy plan."""
        if self.recipe.train.privacy is not None:
            raise FederationError(f"{path}: a recipe file holds no privacy plan; give ε where it is used")
        train = {name: value for name, value in asdict(self.recipe.train).items() if name != "privacy"}
        content = {
            "base": self.base,
            "train": finite(train),
            "serve": finite(asdict(self.recipe.serve)),
            "participations": self.participations,
            "about": dict(self.about),
        }
        write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def read_recipe(path: Path) -> RecipeFile:
    """Read a recipe file. Raises FederationError that names the setting that is unknown or impossible."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise FederationError(f"{path}: not a recipe file ({error})") from None
    if not isinstance(content, Mapping) or content.get("base") not in RECIPES:
        raise FederationError(f"{path}: base must be one of {', '.join(RECIPES)}")
    try:
        stored = read_strictly(_Content, content, "", error=FederationError)
        base = recipe(stored.base)
        train = read_strictly(
            TrainConfig, stored.train, "train", base=base.train, left_out=("privacy",), infinite=True,
            error=FederationError,
        )  # fmt: skip
        serve = read_strictly(
            ProfileConfig, stored.serve, "serve", base=base.serve, infinite=True, error=FederationError
        )
        return RecipeFile(stored.base, Recipe(train, serve, base.mix), stored.participations, stored.about)
    except OwnshelfError as error:
        raise FederationError(f"{path}: {error}") from None


def find_recipe(
    word: str, log: Interactions, *, seed: int = 0, validate: bool = True, noise: float = 0.0
) -> RecipeFile:
    """Find the recipe that a command was given: `auto` for the one that fits the log, a name, or a file.

    A named recipe comes on the scale of the log (federation/lab/defaults.py), a file's is as it stands. The reasons are
    in about["reasons"]. log: what may be looked at, nothing of a test. seed, validate, noise: as in defaults.settle.
    """
    if word == "auto":
        settled = settle(log, seed=seed, validate=validate, noise=noise)
        return RecipeFile(settled.name, settled.recipe, settled.participations, {"reasons": list(settled.reasons)})
    if word in RECIPES:
        statistics = private_statistics(log, noise, seed=seed) if noise else None
        fits, words = fitted(word, log, statistics, noise=noise)
        return RecipeFile(word, fits, about={"reasons": list(words)})
    if Path(word).is_file():
        return read_recipe(Path(word))
    raise FederationError(
        f"recipe={word!r}: must be auto, {', '.join(RECIPES)}, or a recipe file; there is no file of that name"
    )


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
