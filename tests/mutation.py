"""Mutation testing of the code that privacy and figures rest on: what no test notices when it is changed.

    python -m tests.mutation --sample 150 --seed 0        # or `make mutation`, all of them, for hours

Each mutant is one change of one expression or statement. It lives in the memory of a child process alone: no file is
touched. The nearest tests of its module run there until the first one fails. Results are kept in out/mutation.jsonl by
the hash of module and tests, so that a run that was stopped goes on where it was. EQUIVALENT names mutants that no test
can kill, with the reason; they are not counted. Prints `{"killed": …, "of": …}` last.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib.abc
import importlib.util
import json
import os
import random
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("mutation_equivalent.json")
CPU_S = 120
"""Of a child: a mutant that loops for ever is noticed too."""

_SUM = ("tests/federation/private_sum",)
TARGETS: Mapping[str, tuple[str, ...]] = {
    **{
        f"federation/private_sum/{name}.py": _SUM
        for name in (
            *("custodian_half", "device_part", "encoding", "exchange", "fixed_point", "in_process", "noise", "plan"),
            *("randomness", "sealing", "service_half", "shares", "signing"),
        )
    },
    "federation/private_sum/accounting.py": (
        "tests/federation/learning/test_privacy_plan.py",
        "tests/federation/device/test_ledger.py",
    ),
    "federation/learning/privacy_plan.py": (
        "tests/federation/learning/test_privacy_plan.py",
        "tests/federation/learning/test_training_sum.py",
    ),
    "federation/learning/item_step.py": ("tests/federation/learning",),
    "federation/learning/taste_update.py": ("tests/federation/learning",),
    "federation/device/ledger.py": (
        "tests/federation/device/test_ledger.py",
        "tests/federation/device/test_unknown_fields.py",
        "tests/federation/device/test_participation.py",
    ),
    "recsys/experiments/analysis/estimates.py": (
        "tests/recsys/experiments/analysis/test_estimates.py",
        "tests/recsys/experiments/analysis/test_statsmodels.py",
        "tests/recsys/experiments/analysis/test_covariate.py",
        "tests/recsys/experiments/analysis/test_sums.py",
    ),
    "recsys/experiments/analysis/spending.py": (
        "tests/recsys/experiments/analysis/test_spending.py",
        "tests/recsys/experiments/analysis/test_boundaries.py",
    ),
    "recsys/experiments/analysis/sums.py": (
        "tests/recsys/experiments/analysis/test_sums.py",
        "tests/recsys/experiments/analysis/test_layout.py",
        "tests/recsys/experiments/analysis/test_analysis.py",
    ),
    "serving/access.py": ("tests/serving/test_access.py",),
}
"""Module → its nearest tests."""

_COMPARISONS: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}


@dataclass(frozen=True)
class Mutant:
    """One change. name: module, function, and the text before and after; number tells equal names apart."""

    path: str
    name: str
    source: str


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Every mutant of a module's source, in the order of the source."""
    tree = ast.parse(source)
    names: dict[str, int] = {}
    for number, (node, where) in enumerate(_nodes(tree, "")):
        for change in range(len(_changes(node))):
            mutated = copy.deepcopy(tree)
            target = _node_at(mutated, number)
            before = ast.unparse(target)
            _changes(target)[change](target)
            after = ast.unparse(target)
            name = f"{path}: {where}: {_short(before)} => {_short(after)}"
            names[name] = names.get(name, 0) + 1
            suffix = f" ({names[name]})" if names[name] > 1 else ""
            yield Mutant(path, name + suffix, ast.unparse(mutated))


def _node_at(tree: ast.AST, number: int) -> ast.AST:
    return next(node for n, (node, _) in enumerate(_nodes(tree, "")) if n == number)


def _nodes(node: ast.AST, where: str) -> Iterator[tuple[ast.AST, str]]:
    """Nodes that run: no annotation, no docstring, no text of an error or a representation."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id in ("T", "__all__", "__slots__") for target in child.targets
            ):
                continue
            inner = where
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                inner = f"{where}.{child.name}".lstrip(".")
            yield child, inner or "module"
            yield from _nodes(child, inner)


def _changes(node: ast.AST) -> list[Any]:
    """Functions that change a node in place, each otherwise."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        return [lambda node: node.ops.__setitem__(0, _COMPARISONS[type(node.ops[0])]())]
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _OPERATORS and not _is_text(node):
        return [lambda node: setattr(node, "op", _OPERATORS[type(node.op)]())]
    if isinstance(node, ast.BoolOp):
        return [lambda node: setattr(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        plain = isinstance(node.op, ast.USub)
        return [lambda node: setattr(node, "op", ast.UAdd() if plain else ast.Not()) or _unwrap(node)]
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [lambda node: setattr(node, "value", not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [lambda node: setattr(node, "value", node.value + 1)]
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return [lambda node: setattr(node, "id", _NAMES[node.id])]
    if isinstance(node, ast.Attribute) and node.attr in _NAMES:
        return [lambda node: setattr(node, "attr", _NAMES[node.attr])]
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        return [lambda node: setattr(node, "test", ast.Constant(False))]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [lambda node: setattr(node, "value", ast.Constant(None))]
    return []


def _unwrap(node: ast.UnaryOp) -> None:
    """Take a `not` away: two of them, since a node cannot replace itself."""
    if isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)


def _is_text(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(isinstance(side, ast.JoinedStr | ast.List | ast.Tuple) or _is_string(side) for side in sides)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:60]} … {hashlib.sha256(line.encode()).hexdigest()[:8]}"


PRELOADED = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
"""Packages with a pytest plugin that the parent has loaded are not rewritten; ours are."""


class _InMemory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads one module from a changed source, everything else as always."""

    def __init__(self, module: str, source: str) -> None:
        self.module, self.source = module, source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == self.module else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, f"<mutant of {self.module}>", "exec"), module.__dict__)  # noqa: S102


def notices(path: str, source: str, tests: tuple[str, ...]) -> bool:
    """Whether a test of these fails with a module's source so; in a child process, which is all that it changes."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _run(path, source, tests)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _run(path: str, source: str, tests: tuple[str, ...]) -> int:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.meta_path.insert(0, _InMemory(path.removesuffix(".py").replace("/", "."), source))
    fixed = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", *PRELOADED)
    return int(pytest.main([*fixed, *(str(ROOT / test) for test in tests)]))


def _key(mutant: Mutant, tests: tuple[str, ...]) -> str:
    """Changes when the mutant, or a file of its tests does."""
    digest = hashlib.sha256(mutant.source.encode() + mutant.name.encode())
    for test in tests:
        place = ROOT / test
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("--sample", type=int, help="how many mutants, drawn at random; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules whose path contains this")
    chosen = parser.parse_args()
    for heavy in ("numpy", "scipy.stats", "torch", "cryptography", "pytest", "dp_accounting", "httpx"):
        importlib.import_module(heavy)  # once, for all children
    equivalent = json.loads(EQUIVALENT.read_text())
    every = [mutant for path in TARGETS for mutant in mutants(path, (ROOT / path).read_text())]
    unknown = set(equivalent) - {mutant.name for mutant in every}
    if unknown:
        sys.exit(f"{EQUIVALENT.name}: no such mutant: {sorted(unknown)[0]}")
    every = [mutant for mutant in every if mutant.name not in equivalent and chosen.only in mutant.path]
    if chosen.sample is not None:
        every = random.Random(chosen.seed).sample(every, min(chosen.sample, len(every)))
    results = ROOT / "out" / "mutation.jsonl"
    results.parent.mkdir(exist_ok=True)
    lines = results.read_text().splitlines() if results.exists() else []
    known = {line["key"]: line["killed"] for line in map(json.loads, lines)}
    for tests, path in {TARGETS[mutant.path]: mutant.path for mutant in every}.items():
        if notices(path, (ROOT / path).read_text(), tests):
            sys.exit(f"{path}: its nearest tests fail without any mutant: {', '.join(tests)}")
    killed = 0
    for number, mutant in enumerate(every, 1):
        tests = TARGETS[mutant.path]
        key = _key(mutant, tests)
        if key not in known:
            known[key] = notices(mutant.path, mutant.source, tests)
            with results.open("a") as file:
                file.write(json.dumps({"key": key, "killed": known[key], "mutant": mutant.name}) + "\n")
        killed += known[key]
        if not known[key]:
            print(f"{number}/{len(every)} survived: {mutant.name}", file=sys.stderr, flush=True)  # noqa: T201
    print(json.dumps({"killed": killed, "of": len(every)}))  # noqa: T201


if __name__ == "__main__":
    main()
