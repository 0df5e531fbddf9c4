"""HTML from Jinja2 templates, always escaped: whoever names an item or an experiment writes text, never markup."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(folders: Path | tuple[Path, ...], template: str, **values: Any) -> str:
    """Render a template of a package's folder, or of the first of several that has it.

    A name that the template lacks a value for is an error.
    """
    return _environment(folders).get_template(template).render(**values)


@lru_cache(maxsize=8)
def _environment(folders: Path | tuple[Path, ...]) -> Environment:
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
