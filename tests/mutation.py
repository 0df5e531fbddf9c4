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
import inspect
import json
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = Path(__file__).with_name("mutation_equivalent.json")
CPU_S = 120
"""Of a child: a mutant that loops for ever is noticed too."""

_SUM = "tests/federation/private_sum/"
TARGETS: Mapping[str, tuple[str, ...]] = {
    **{
        f"federation/private_sum/{name}.py": tuple(f"{_SUM}test_{test}.py" for test in tests)
        for name, tests in {
            "custodian_half": ("custodian_half", "exchange", "sum"),
            "device_part": ("fixed_point", "sum", "wire_vectors"),
            "encoding": ("encoding", "exchange", "wire_vectors"),
            "exchange": ("exchange", "wire_vectors", "custodian_half"),
            "fixed_point": ("fixed_point", "sum"),
            "in_process": ("sum",),
            "noise": ("noise", "custodian_half"),
            "plan": ("plan", "fixed_point"),
            "randomness": ("noise", "fixed_point", "shares"),
            "sealing": ("sealing", "wire_vectors"),
            "service_half": ("sum", "custodian_half"),
            "shares": ("shares", "wire_vectors"),
            "signing": ("signing", "wire_vectors"),
        }.items()
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


_OPTIONS = (
    *("-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-o", "timeout=120"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins that the parent has loaded
)


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

    def run() -> int:
        sys.meta_path.insert(0, _InMemory(_module_name(path), source))
        return _run_tests(tests)

    return _in_child(run) != 0


def killed_of(
    path: str, chosen: Sequence[Mutant], tests: tuple[str, ...], report: Callable[[Mutant, bool], None]
) -> None:
    """Report of each mutant of one module whether its tests notice it.

    A process imports module and tests once. Of it a child is made for each mutant, in which the functions that differ
    get their new code. A mutant of what runs at import has a process of its own.
    """

    def run() -> int:
        import pytest

        _be_quiet()
        pytest.main(["--collect-only", *_OPTIONS, *_places(tests)])
        module = importlib.import_module(_module_name(path))
        if _in_child(lambda: _run_tests(tests)) != 0:
            return 1
        for mutant in chosen:
            if _is_in_functions(mutant, (ROOT / path).read_text()):
                report(
                    mutant, _in_child(lambda mutant=mutant: _replace(module, mutant.source) or _run_tests(tests)) != 0
                )
        return 0

    if _in_child(run) != 0:
        sys.exit(f"{path}: its nearest tests fail without any mutant: {', '.join(tests)}")
    for mutant in chosen:
        if not _is_in_functions(mutant, (ROOT / path).read_text()):
            report(mutant, notices(path, mutant.source, tests))


def _in_child(run: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _be_quiet() -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


def _run_tests(tests: tuple[str, ...]) -> int:
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    _be_quiet()
    return int(pytest.main(["-x", *_OPTIONS, *_places(tests)]))


def _places(tests: tuple[str, ...]) -> list[str]:
    return [str(ROOT / test) for test in tests]


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


def _codes(code: CodeType) -> dict[str, CodeType]:
    """Code objects by qualified name, its own and all within."""
    found = {code.co_qualname: code}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= {name: inner for name, inner in _codes(constant).items() if name not in found}
    return found


def _is_in_functions(mutant: Mutant, source: str) -> bool:
    """Whether modules and classes run as before, and only bodies of functions differ."""
    before, after = (_codes(compile(ast.unparse(ast.parse(text)), "m", "exec")) for text in (source, mutant.source))
    outer = [name for name, code in before.items() if not code.co_flags & inspect.CO_NEWLOCALS]
    return all(_at_import(before[name]) == _at_import(after[name]) for name in outer)


def _at_import(code: CodeType) -> tuple[object, ...]:
    """What runs when the module is imported: lambdas and generators count, bodies of functions do not."""
    constants: list[object] = []
    for constant in code.co_consts:
        if not isinstance(constant, CodeType):
            constants.append(repr(constant))
        elif constant.co_name.startswith("<"):
            constants.append(_at_import(constant))
    return code.co_code, code.co_names, tuple(constants)


def _replace(module: ModuleType, source: str) -> None:
    """Give the functions of a loaded module the code of another source."""
    codes = _codes(compile(source, str(module.__file__), "exec"))
    owners = [module, *(value for value in vars(module).values() if isinstance(value, type))]
    for owner in owners:
        for value in list(vars(owner).values()):
            for inner in (value, getattr(value, "fget", None), getattr(value, "func", None)):
                function = inspect.unwrap(getattr(inner, "__func__", inner)) if inner is not None else None
                if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                    code = codes.get(function.__code__.co_qualname)
                    if code is not None and code.co_freevars == function.__code__.co_freevars:
                        function.__code__ = code


def _key(mutant: Mutant) -> str:
    """Name the mutant by what it is and what its tests are: a result of other tests is none."""
    digest = hashlib.sha256(mutant.source.encode() + mutant.name.encode())
    for test in TARGETS[mutant.path]:
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
    wanted = [mutant for mutant in every if _key(mutant) not in known]

    def report(mutant: Mutant, killed: bool) -> None:
        with results.open("a") as file:
            file.write(json.dumps({"key": _key(mutant), "killed": killed, "mutant": mutant.name}) + "\n")

    for path in sorted({mutant.path for mutant in wanted}):
        killed_of(path, [mutant for mutant in wanted if mutant.path == path], TARGETS[path], report)
    known = {line["key"]: line["killed"] for line in map(json.loads, results.read_text().splitlines())}
    for mutant in every:
        if not known[_key(mutant)]:
            print(f"survived: {mutant.name}", file=sys.stderr)  # noqa: T201
    print(json.dumps({"killed": sum(known[_key(mutant)] for mutant in every), "of": len(every)}))  # noqa: T201


if __name__ == "__main__":
    main()
