"""surfaces.json is what Python lists now: another language that matches it matches us."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from federation.device.asking.catalogue_file import now_shown
from recsys.catalogue.catalogue import decode_catalogue
from recsys.catalogue.changes import decode_changes
from tests.vectors.surfaces import PATH, answers

STORED = json.loads(PATH.read_text())


@pytest.mark.parametrize("shop", ["mix", "plain"])
def test_every_answer_is_the_one_in_the_file(shop: str) -> None:
    stored = STORED["shops"][shop]
    catalogue = decode_catalogue(base64.b64decode(stored["catalogue"]))
    changes = decode_changes(json.dumps(stored["changes"]).encode())
    told = answers(now_shown(catalogue, changes))
    assert len(told) == len(stored["answers"]) > 150
    for now, then in zip(told, stored["answers"], strict=True):
        asked = {key: value for key, value in then.items() if key != "answer"}
        assert {key: value for key, value in now.items() if key != "answer"} == asked
        assert _words(now["answer"]) == _words(then["answer"]), asked
        assert _scores(now["answer"]) == pytest.approx(_scores(then["answer"]), rel=1e-5, abs=1e-5), asked


def test_the_cases_are_not_all_alike() -> None:
    lists = {json.dumps(_words(answer["answer"])) for answer in STORED["shops"]["mix"]["answers"]}
    assert len(lists) > 90
    sources = {answer["answer"].get("source") for answer in STORED["shops"]["mix"]["answers"]}
    assert sources >= {"buy-again", "price-dropped", "back-in-stock", "because-you-viewed", "rows", "goes-with"}


def _words(answer: dict[str, Any]) -> dict[str, Any]:
    rows = [[row["category"], row["item_ids"]] for row in answer.get("rows", [])]
    return {key: value for key, value in answer.items() if key not in ("scores", "rows")} | {"rows": rows}


def _scores(answer: dict[str, Any]) -> list[float]:
    return [*answer["scores"], *(score for row in answer.get("rows", []) for score in row["scores"])]
