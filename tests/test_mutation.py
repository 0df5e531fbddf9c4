"""The mutation tool makes the mutants it should, each compiles, and a child tells a mutant that tests notice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mutation import EQUIVALENT, ROOT, TARGETS, mutants

SOURCE = '''
"""Doc with 1."""
LIMIT: int = 3

def clip(x: float, bound: float = 2.0) -> float:
    """Clip 1 to 2."""
    if x > bound and not x == 7:
        raise ValueError(f"x={x + 1}")
    log(x)
    return min(x - 1, -bound)
'''


def test_mutants_are_changes_of_what_runs_and_of_nothing_else() -> None:
    names = [mutant.name.partition(": ")[2] for mutant in mutants("m.py", SOURCE)]
    assert names == [
        "module: 3 => 4",
        "clip: 2.0 => 3.0",
        *[name for name in names if "=> if False" in name],
        "clip: x > bound and (not x == 7) => x > bound or not x == 7",
        "clip: x > bound => x >= bound",
        "clip: not x == 7 => not not x == 7",
        "clip: x == 7 => x != 7",
        "clip: 7 => 8",
        "clip: log(x) => None",
        "clip: min => max",
        "clip: x - 1 => x + 1",
        "clip: 1 => 2",
        "clip: -bound => +bound",
    ]
    assert sum("=> if False" in name for name in names) == 1


def test_every_mutant_differs_from_its_module_compiles_and_has_a_name_of_its_own() -> None:
    for path in ("federation/private_sum/shares.py", "serving/access.py"):
        source = (ROOT / path).read_text()
        made = list(mutants(path, source))
        assert len({mutant.name for mutant in made}) == len({mutant.source for mutant in made}) == len(made) > 10
        for mutant in made:
            compile(mutant.source, path, "exec")


def test_the_modules_and_their_tests_exist_and_an_equivalent_mutant_has_a_reason() -> None:
    for path, tests in TARGETS.items():
        assert all((ROOT / place).exists() for place in (path, *tests)), path
    assert all(len(reason) > 20 for reason in json.loads(EQUIVALENT.read_text()).values())


PROGRAM = """
from tests.mutation import ROOT, notices
path, tests = "serving/access.py", ("tests/serving/test_access.py",)
source = (ROOT / path).read_text()
print(notices(path, source, tests), notices(path, source + "\\nSCOPES = ()\\n", tests))
"""


@pytest.mark.timeout(300)
def test_a_child_tells_a_module_that_its_tests_notice_from_one_that_they_pass() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
