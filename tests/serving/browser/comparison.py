"""Compares what the SDK lists with what the Python device lists for the same events."""

from __future__ import annotations

from typing import Any

import pytest

TOLERANCE = 1e-5


def near(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(b))


def differences(shop: dict[str, Any], answer: dict[str, Any]) -> list[str]:
    """A line for each thing in which an answer is another one."""
    problems = []
    if shop["profile"] is not None:
        largest = max(map(abs, shop["profile"]))
        if answer["profile"] != pytest.approx(shop["profile"], abs=TOLERANCE * max(largest, 1.0)):
            problems.append("profile")
    for place, (call, listed) in enumerate(zip(shop["calls"], answer["calls"], strict=True)):
        problems += [f"call {place} ({call['placement']}): {what}" for what in _list_differences(call, listed)]
    return problems


def _list_differences(call: dict[str, Any], listed: dict[str, Any]) -> list[str]:
    ours, theirs = call["scores"], listed["scores"]
    if len(ours) != len(theirs):
        return [f"{len(theirs)} items instead of {len(ours)}"]
    if "fallback" in call and call["fallback"] != listed["fallback"]:
        return [f"fallback {listed['fallback']} instead of {call['fallback']}"]
    if call["asked"].get("diversity"):  # its order is not that of the scores
        problems = [] if call["items"] == listed["items"] else [f"items {listed['items']} instead of {call['items']}"]
    else:
        problems = [f"score {b} instead of {a}" for a, b in zip(ours, theirs, strict=True) if not near(b, a)]
        known = dict(zip(call["items"], ours, strict=True))
        for item, score in zip(listed["items"], theirs, strict=True):
            if not near(score, known.get(item, ours[-1])):
                problems.append(f"{item} with {score}")
    if not problems and "reasons" in call and call["items"] == listed["items"]:
        problems += _reason_differences(call["reasons"], listed["reasons"])
    return problems


def _reason_differences(ours: list[Any], theirs: list[Any]) -> list[str]:
    problems = []
    for a, b in zip(ours, theirs, strict=True):
        if (a is None) != (b is None):
            problems.append(f"reason {b} instead of {a}")
        elif a is not None:
            shares = dict(a["signals"].items()) | {"share": a["share"]}
            told = b["signals"] | {"share": b["share"]}
            same = shares.keys() == told.keys() and all(near(told[name], share) for name, share in shares.items())
            if not same or (a["kind"], a["item"], a["text"]) != (b["kind"], b["item"], b["text"]):
                problems.append(f"reason {b} instead of {a}")
    return problems
