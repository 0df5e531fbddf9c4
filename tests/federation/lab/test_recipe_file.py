"""Recipe files: what is written is read again, a few lines are enough, and a mistake is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import FederationError
from federation.lab.defaults import fitted
from federation.lab.recipe_file import RecipeFile, find_recipe, read_recipe
from federation.lab.recipes import RECIPES, Recipe, privately, recipe
from federation.lab.search_space import SPACE, near, recipe_at
from tests.federation.simulation.test_training import tastes


@settings(deadline=None, max_examples=30)
@given(base=st.sampled_from(sorted(RECIPES)), seed=st.integers(0, 10_000))
def test_any_recipe_of_the_space_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, base: str, seed: int
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    drawn = recipe_at(near({}, SPACE, np.random.default_rng(seed)), recipe(base), SPACE)
    kept = RecipeFile(base, drawn, 17, {"mean": 0.25})
    kept.save(path)
    assert read_recipe(path) == kept


def test_what_a_file_does_not_mention_is_as_in_its_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    content = {"base": "purchases", "train": {"dim": 32, "step": {"final_step": 0.1}}, "serve": {"half_life": "inf"}}
    path.write_text(json.dumps(content))
    base = RECIPES["purchases"]
    assert read_recipe(path).recipe == Recipe(
        replace(base.train, dim=32, step=replace(base.train.step, final_step=0.1)),
        replace(base.serve, half_life=np.inf),
        "purchases",
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a recipe file"),
        ("[]", "base must be one of purchases, sessions, ratings"),
        ('{"base": "soup"}', "base must be one of"),
        ('{"base": "purchases", "serv": {}}', "serv: is unknown, must be one of base, train, serve"),
        ('{"base": "purchases", "serve": {"halflife": 3}}', "serve.halflife: is unknown, must be one of"),
        ('{"base": "purchases", "train": {"step": {"stp": 3}}}', "train.step.stp: is unknown, must be one of"),
        ('{"base": "purchases", "train": {"dim": 3.5}}', "train.dim=3.5: must be an integer"),
        ('{"base": "purchases", "train": {"dim": true}}', "train.dim=True: must be an integer"),
        ('{"base": "purchases", "train": {"dim": 0}}', "dim=0: must be 1..4096"),
        ('{"base": "purchases", "serve": {"reg": NaN}}', "NaN is no JSON"),
        ('{"base": "purchases", "serve": {"reg": -1}}', "reg=-1.0: must be > 0"),
        (
            '{"base": "purchases", "serve": {"kind_weights": [1, 1]}}',
            "serve.kind_weights=[1, 1]: expected `array` of length 5, got 2",
        ),
        ('{"base": "purchases", "serve": 3}', "serve=3: must be an object"),
        ('{"base": "purchases", "train": {"privacy": {}}}', "train.privacy: is unknown"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(content)
    with pytest.raises(FederationError) as refused:
        read_recipe(path)
    assert str(path) in str(refused.value)
    assert words in str(refused.value)


def test_a_command_finds_names_files_and_what_fits_the_log(tmp_path: Path) -> None:
    log = tastes(n_users=20)
    auto = find_recipe("auto", log)
    assert (auto.base, auto.recipe) == ("sessions", fitted("sessions", log)[0])
    assert auto.about["reasons"][0].startswith("recipe sessions: ")
    assert find_recipe("ratings", log).recipe == fitted("ratings", log)[0]
    odd = RecipeFile("ratings", replace(RECIPES["purchases"], mix="ratings"))
    odd.save(tmp_path / "odd")
    assert find_recipe(str(tmp_path / "odd"), log) == odd
    for word in ("soup", str(tmp_path / "recipe.json")):
        with pytest.raises(FederationError) as refused:
            find_recipe(word, log)
        assert str(refused.value).startswith(
            f"recipe={word!r}: must be auto, purchases, sessions, ratings, or a recipe"
        )
        assert str(refused.value).endswith("; there is no file of that name")


def test_a_privacy_plan_is_no_part_of_a_recipe_file(tmp_path: Path) -> None:
    private = privately(RECIPES["purchases"], epsilon=8.0, delta=1e-6, n_devices=1000)
    with pytest.raises(FederationError, match="holds no privacy plan"):
        RecipeFile("purchases", private).save(tmp_path / "x.json")
