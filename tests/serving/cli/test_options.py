"""Every option of every command is used: what is accepted and ignored is a promise that nobody keeps."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from serving.cli.main import COMMANDS, app


def commands() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, (where, _) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        if isinstance(command, typer.Typer):
            for one in command.registered_commands:
                assert one.callback is not None
                yield f"{name} {one.name or one.callback.__name__}", one.callback
        else:
            yield name, command


ALL = dict(commands())


def unused(function: Callable[..., Any]) -> set[str]:
    """Parameters that a function's body never reads; a `del` reads nothing."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    read = {
        node.id
        for line in tree.body
        for node in ast.walk(line)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    given = [one.arg for one in (*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs)]
    return set(given) - read


def test_the_check_sees_an_option_that_does_nothing() -> None:
    def command(used: int, seed: int = 0, as_json: bool = False) -> int:
        del seed
        return used

    assert unused(command) == {"seed", "as_json"}


@pytest.mark.parametrize("name", list(ALL))
def test_a_command_reads_every_option_that_it_takes(name: str) -> None:
    assert not unused(ALL[name])


def invoke(*arguments: str) -> str:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 1, answer.output
    assert answer.stderr.count("\n") == 1
    return answer.stderr


def test_evaluate_refuses_what_it_would_ignore() -> None:
    assert "--select" in invoke("evaluate", "sample:online-retail", "--select", "--bundle", "/nowhere")
    assert "--given=0.3" in invoke("evaluate", "sample:online-retail", "--given", "0.3", "--protocol", "temporal")
    stray = ("--split-at", "2011-10-01", "--protocol", "leave-last-out")
    assert "--split-at" in invoke("evaluate", "sample:online-retail", *stray)


def test_off_policy_refuses_columns_of_a_sample() -> None:
    said = invoke("off-policy", "sample:open-bandit", "--policy", "uniform", "--map", "item=x")
    assert "leave --map and --format out" in said


def test_no_command_takes_a_seed_that_draws_nothing() -> None:
    seeded = {name for name, function in ALL.items() if "seed" in inspect.signature(function).parameters}
    assert seeded == {
        "demo", "train", "tune", "validate", "evaluate", "off-policy", "replay", "experiment run", "device simulate",
        "bench", "audit", "card", "gate",
    }  # fmt: skip
