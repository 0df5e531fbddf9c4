"""The private sum in JavaScript: the wire's vectors, and the same plans, updates, shares and refusals as in Python."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from federation.private_sum.plan import Part, SumPlan
from tests.serving.browser.node import BROWSER, ROOT, node
from tests.vectors.contribution import cases

RUNNER = ROOT / "tests" / "vectors" / "contribution.mjs"
KINDS = ("plans", "updates", "reports", "epsilons", "proofs", "tasks")
WIRE = json.loads((ROOT / "docs" / "wire-vectors.json").read_text())


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return cases()


@pytest.fixture(scope="module")
def by_node(drawn: dict[str, Any]) -> dict[str, Any]:
    answer = json.loads(node(RUNNER, stdin=json.dumps({"wire": WIRE, "cases": drawn})))
    assert isinstance(answer, dict)
    return answer


def test_the_wire_vectors_in_node(by_node: dict[str, Any]) -> None:
    assert by_node["wrong"] == []


def test_the_wire_vectors_and_the_cases_in_chromium(page: Page, by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    def source(route: Any) -> None:
        path = BROWSER / "src" / route.request.url.partition("/source/")[2]
        route.fulfill(path=path, content_type="text/javascript")

    page.route("**/source/**", source)
    page.route("**/contribution.mjs", lambda route: route.fulfill(path=RUNNER, content_type="text/javascript"))
    script = """async ([wire, cases]) => {
        const sdk = await import('/source/internals.js'), runner = await import('/contribution.mjs');
        return [await runner.wireDifferences(sdk, wire), await runner.answers(sdk, cases)];
    }"""
    wrong, made = page.evaluate(script, [WIRE, drawn])
    assert wrong == []
    for kind in ("plans", "shares", "proofs", "tasks"):
        assert made[kind] == by_node["made"][kind]
    assert made["epsilons"] == pytest.approx(by_node["made"]["epsilons"])
    for here, there in zip(made["updates"], by_node["made"]["updates"], strict=True):
        assert here == {name: pytest.approx(vector, rel=1e-9, abs=1e-12) for name, vector in there.items()}


def test_a_spoilt_vector_is_seen() -> None:
    for name, field, value in (("stream", "words", [1]), ("shares", "seed", "00" * 32)):
        spoilt = json.loads(json.dumps(WIRE))
        spoilt[name][0][field] = value
        assert json.loads(node(RUNNER, stdin=json.dumps({"wire": spoilt, "cases": {kind: [] for kind in KINDS}})))[
            "wrong"
        ]


def test_a_round_has_the_same_plan(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    wanted = [json.loads(json.dumps(case["plan"])) for case in drawn["plans"]]
    assert by_node["made"]["plans"] == wanted
    assert len([plan for plan in wanted if plan != "task"]) > 60


def test_the_same_history_says_the_same(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    loud = 0
    for case, made in zip(drawn["updates"], by_node["made"]["updates"], strict=True):
        assert made.keys() == case["vectors"].keys()
        for name, vector in case["vectors"].items():
            wanted = np.array(vector)
            largest = float(np.abs(wanted).max(initial=0.0))
            assert np.array(made[name]) == pytest.approx(wanted, abs=1e-5 * largest, rel=1e-5), name
            loud += largest > 0
    assert loud > 40


def test_the_same_numbers_and_random_bytes_make_the_same_shares(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    for case, made in zip(drawn["reports"], by_node["made"]["shares"], strict=True):
        assert made == {"words": case["words"], "share": case["share"]}


def test_rounded_parts_keep_their_bounds(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    for case, made in zip(drawn["reports"], by_node["made"]["shares"], strict=True):
        plan = SumPlan(tuple(Part(**part) for part in case["plan"]["parts"]), 1, 20, 0)
        words = np.array(made["words"], dtype=np.uint32).view(np.int32).astype(object)
        for part, where in zip(plan.parts, plan.slices().values(), strict=True):
            assert sum(words[where] ** 2) <= part.bound_squared


def test_a_ledger_costs_the_same(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    wanted = [case["epsilon"] for case in drawn["epsilons"]]
    assert by_node["made"]["epsilons"] == pytest.approx(wanted, rel=1e-9)


def test_a_log_is_followed_and_another_one_is_not(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    refused = 0
    for case, head in zip(drawn["proofs"], by_node["made"]["proofs"], strict=True):
        if case["head"] is not None:
            assert head == case["head"]
        else:
            refused += head == "task"
            assert head in ("task", case["true_head"])  # the latter where the bit was of what nobody asked for
    assert refused > 0


def test_a_task_that_is_other_than_agreed_is_refused(by_node: dict[str, Any], drawn: dict[str, Any]) -> None:
    for case, answer in zip(drawn["tasks"], by_node["made"]["tasks"], strict=True):
        if case["refused"] is None:
            assert answer == "taste"
        else:
            assert answer not in ("taste", "intent"), case["refused"]
            assert case["refused"] in answer.partition(":")[0], answer
