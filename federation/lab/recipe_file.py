"""A recipe as a JSON file: a named recipe, what is changed about it, and how it was found.

    {"base": "purchases", "train": {"dim": 32, "step": {"final_step": 0.1}}, "serve": {"half_life": 20}}

is a complete one: what is not mentioned is as in the base. A privacy plan is no part of it; it has a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from data.atomic import write_atomically
from data.errors import FederationError, OwnshelfError
from data.interactions import Interactions
from federation.lab.defaults import fitted, settle
from federation.lab.recipes import RECIPES, Recipe, recipe
from recsys.model.intent_config import IntentConfig
from recsys.model.profile_config import finite

_T = TypeVar("_T")
_KEYS = ("base", "train", "serve", "participations", "about")


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
        _known("", content, _KEYS)
        found = recipe(content["base"])
        return RecipeFile(
            content["base"],
            Recipe(
                _changed(found.train, content.get("train", {}), "train"),
                _changed(found.serve, content.get("serve", {}), "serve"),
                found.mix,
            ),
            _like(0, content.get("participations", 0), "participations"),
            content.get("about", {}),
        )
    except OwnshelfError as error:
        raise FederationError(f"{path}: {error}") from None


def find_recipe(word: str, log: Interactions, *, seed: int = 0) -> RecipeFile:
    """The recipe that a command was given: `auto` for the one that fits the log, a name, or a file.

    A named recipe comes on the scale of the log (federation/lab/defaults.py), a file's is as it stands. The reasons are
    in about["reasons"]. log: what may be looked at, nothing of a test. seed: of the validation near a boundary.
    """
    if word == "auto":
        settled = settle(log, seed=seed)
        return RecipeFile(settled.name, settled.recipe, settled.participations, {"reasons": list(settled.reasons)})
    if word in RECIPES:
        fits, words = fitted(word, log)
        return RecipeFile(word, fits, about={"reasons": list(words)})
    if Path(word).is_file():
        return read_recipe(Path(word))
    raise FederationError(
        f"recipe={word!r}: must be auto, {', '.join(RECIPES)}, or a recipe file; there is no file of that name"
    )


def _changed(settings: _T, values: object, where: str) -> _T:
    """The dataclass with the given settings, nested ones too."""
    if not isinstance(values, Mapping):
        raise FederationError(f"{where}: is a {type(values).__name__}, must be an object")
    _known(f"{where}.", values, [one.name for one in fields(settings) if one.name != "privacy"])  # type: ignore[arg-type]
    new = {}
    for name, value in values.items():
        now = getattr(settings, name)
        inside = f"{where}.{name}"
        if name == "intent":  # the one part that a recipe may be without
            new[name] = None if value is None else _changed(now or IntentConfig(), value, inside)
        else:
            new[name] = _changed(now, value, inside) if is_dataclass(now) else _like(now, value, inside)
    return replace(settings, **new)  # type: ignore[type-var]


def _like(now: _T, value: Any, where: str) -> _T:
    """The value, if it is of the kind of what stands there now."""
    if isinstance(now, float) and value == "inf":
        return float("inf")  # type: ignore[return-value]
    if isinstance(now, tuple) and isinstance(value, list) and (len(value) == len(now) or not (value and now)):
        return tuple(_like(0.0, one, where) for one in value)  # type: ignore[return-value]
    kinds: tuple[type, ...] = (int, float) if isinstance(now, float) else (type(now),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise FederationError(f"{where}={json.dumps(value)}: must be like {json.dumps(now)}")
    return type(now)(value)  # type: ignore[call-arg]


def _known(where: str, values: Mapping[str, Any], names: Any) -> None:
    if unknown := [name for name in values if name not in names]:
        raise FederationError(f"{where}{unknown[0]}: no such setting; must be among {', '.join(names)}")


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")
