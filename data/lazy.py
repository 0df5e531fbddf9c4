"""Public names of a package, imported when first used: a custodian that needs an error class does not load torch.

A name that is also a module of the package is left out: `from data.log_reading.ingest import ingest`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping


def lazy_names(package: str, names: Mapping[str, str]) -> Callable[[str], object]:
    """Make a module-level __getattr__ (PEP 562) for names → the module that defines each."""

    def get(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name]), name)

    return get
