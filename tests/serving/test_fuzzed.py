"""The whole service against its own OpenAPI document: valid and broken requests of every route, half of them deep."""

from __future__ import annotations

from pathlib import Path

from serving.app import create_app
from tests.fuzzing import fuzz
from tests.shop import make_bundle

EXAMPLES = 20
"""Of valid and of broken requests each, for each route; more of them find more, in minutes."""

REJECTS = (
    "POST /v1/recommendations",
    "POST /v1/items/{item_id}/similar",
    "PUT /v1/items",
)
"""Where the document says what is wrong with a body; a batch is answered, and refuses its questions one by one."""


def test_requests_of_every_kind_get_declared_answers(tmp_path: Path) -> None:
    bundles = [make_bundle(tmp_path / "a", unavailable=(5, 6)), make_bundle(tmp_path / "b", seed=1, n_items=60)]
    app = create_app(bundles)
    sent = fuzz(app, EXAMPLES, [bundle.version for bundle in bundles], REJECTS)
    assert set(sent) == {
        f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods
    }
    for label in REJECTS:
        assert sent[label] >= 2 * EXAMPLES
