"""A model card as one HTML page and as markdown with the head that Hugging Face reads; no figure is computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recsys.reports.page import SourcedNumber, report_page, sourced, upper
from recsys.reports.templates import render

PAGES = Path(__file__).with_name("pages")


@dataclass(frozen=True)
class _Figures:
    """Numbers of a card by the way to them."""

    card: Mapping[str, Any]

    def number(self, *path: str | int, style: str = "g") -> SourcedNumber | None:
        """Read a number of the card; None for what is no number."""
        value: Any = self.card
        for step in path:
            value = value[step]
        return sourced(value, " ".join(map(str, path)), style)

    def text(self, *path: str | int, style: str = "g") -> str:
        """Write a number of the card, a dash for none."""
        number = self.number(*path, style=style)
        return "–" if number is None else number.text

    def bounds(self, *path: str | int, style: str = ".4f") -> tuple[SourcedNumber | None, SourcedNumber | None]:
        """Read both ends of an interval."""
        return self.number(*path, 0, style=style), self.number(*path, 1, style=style)


def card_html(card: Mapping[str, Any]) -> str:
    """Render the card as one HTML page without scripts, requests or anything beside it."""
    title = f"Model card of {card['bundle']['name']}"
    return report_page(PAGES, "card.html", title=title, card=card, figures=_Figures(card), upper=upper)


def card_markdown(card: Mapping[str, Any]) -> str:
    """Write the card as markdown whose head (YAML) is that of Hugging Face's model cards."""
    head = yaml.safe_dump(_head(card), sort_keys=False, allow_unicode=True)
    return render(PAGES, "card.md", card=card, head=head, figures=_Figures(card), cell=_cell, upper=upper)


def _head(card: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {
        "library_name": "ownshelf",
        "license": "other",
        "license_name": card["data"]["licence"],
        "tags": ["recommender", "federated-learning", "differential-privacy"],
    }
    evaluation = card["evaluation"]
    if evaluation is not None:
        own, k = evaluation["quality"][0], evaluation["about"]["k"]
        metrics = [{"type": f"{name}@{k}", "value": own[name], "name": f"{name}@{k}"} for name in ("ndcg", "hit")]
        dataset = {"name": card["data"]["log"]["name"], "type": "interactions", "split": evaluation["about"]["split"]}
        result = {"task": {"type": "recommendation"}, "dataset": dataset, "metrics": metrics}
        head |= {
            "metrics": [metric["name"] for metric in metrics],
            "model-index": [{"name": card["bundle"]["name"], "results": [result]}],
        }
    return head


def _cell(words: object) -> str:
    """Put words of whoever named a group or a setting into a cell of a table: no pipe ends it, no line breaks it."""
    return " ".join(str(words).split()).replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`")
