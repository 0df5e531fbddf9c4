"""`python -m tests.audit`: pip-audit over this environment, which says what it could not look up rather than pass.

Where only a mirror of the package index is reachable, nothing is known of any hole: pip-audit then finds none.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import typer

COMMAND = (sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json")
SKIPPED_ON_PURPOSE = "editable"


def findings(told: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """From pip-audit's JSON: a line for each known hole, and one about packages that were not looked up, if any."""
    packages = [one for one in told["dependencies"] if SKIPPED_ON_PURPOSE not in one.get("skip_reason", "")]
    holes = [
        f"{one['name']} {one['version']}: {hole['id']}, fixed in {', '.join(hole['fix_versions']) or 'no version'}"
        for one in packages
        for hole in one.get("vulns", ())
    ]
    unknown = sum("skip_reason" in one for one in packages)
    if not unknown:
        return holes, None
    return holes, (
        f"pip-audit: {unknown} of {len(packages)} packages could not be looked up (is only a mirror of PyPI "
        "reachable?); this check says nothing about them"
    )


def main() -> int:
    """The exit code: 1 for a known hole, pip-audit's own where it answered nothing."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    try:
        holes, missing = findings(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):
        typer.echo(done.stderr, err=True)
        return done.returncode or 1
    for hole in holes:
        typer.echo(hole)
    if missing is not None:
        typer.echo(missing, err=True)
    elif not holes:
        typer.echo("pip-audit: no known hole in any package")
    return int(bool(holes))


if __name__ == "__main__":
    sys.exit(main())
