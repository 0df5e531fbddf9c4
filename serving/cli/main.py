"""The program `ownshelf`. A command is imported when it runs, so that help and the small ones start fast."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from data.errors import OwnshelfError
from serving.cli.errors import OneLineErrors

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and faiss load: small operations, one thread, no spinning

COMMANDS = {
    "demo": ("serving.cli.demo:demo_command", "The whole idea on a real log, in a few minutes."),
    "inspect": ("serving.cli.data.inspect:inspect_command", "What a file is and how it would be read."),
    "ingest": ("serving.cli.data.ingest:ingest_command", "Read a log into a dataset folder."),
    "dataset": ("serving.cli.data.dataset:app", "A dataset folder: erase shoppers from it."),
    "catalogue": ("serving.cli.data.catalogue:app", "Put what changed in a catalogue feed into a running service."),
    "placements": (
        "serving.cli.placements:app",
        "A shop's surfaces: check a file, look at its lists, set it in a running service.",
    ),
    "train": ("serving.cli.lab.lab:train_command", "Train item embeddings federatedly into a bundle."),
    "tune": ("serving.cli.lab.tune:tune_command", "Search for a recipe by federated cross-validation."),
    "validate": ("serving.cli.lab.validate:validate_command", "Whether a recipe overfits: folds, gap, canary, curves."),
    "evaluate": ("serving.cli.lab.lab:evaluate_command", "Compare personalized with global models on later events."),
    "off-policy": (
        "serving.cli.lab.off_policy:off_policy_command",
        "Another policy's value from a log with propensities.",
    ),
    "audit": ("serving.cli.lab.audit:audit_command", "Which shoppers and items are served worse, by private sums."),
    "gate": ("serving.cli.lab.gate:gate_command", "Whether a new bundle may replace the old one."),
    "card": ("serving.cli.lab.card:card_command", "What a bundle is, how well it serves whom, and what it cost."),
    "replay": ("serving.cli.lab.replay:replay_command", "What each arm would have shown before every event of a log."),
    "experiment": ("serving.cli.experiments.commands:app", "Experiments: check, rehearse, start, stop, read results."),
    "serve": ("serving.cli.serve:serve_command", "Serve a bundle over HTTP."),
    "sdk": ("serving.cli.sdk:sdk_command", "The browser SDK, for a shop's own host."),
    "device": (
        "serving.cli.device.device:device_app",
        "A shopper's own device: history and profile in an encrypted file.",
    ),
    "custodian": ("serving.cli.custodian:custodian_command", "The other party of every private sum."),
    "log": ("serving.cli.log:app", "A custodian's public log: whether it is one log, as anybody may check."),
    "plan": ("serving.cli.plan:plan_command", "A privacy plan: ε, noise, clips and caps, agreed on by all parties."),
    "rounds": ("serving.cli.rounds:app", "Live training rounds: what became of them, and going back."),
    "bundles": ("serving.cli.bundles:app", "Which bundles a running service has, and which is current."),
    "keys": ("serving.cli.keys:app", "API keys of a shop's backends, and the service's own key."),
    "certs": ("serving.cli.certs:certs_command", "A development CA and certificates for service and custodian."),
    "bench": ("tests.benchmarks.command:bench_command", "Run a benchmark of the repository."),
}
"""name → where its function or typer app is, and its line in the list of commands."""

ROOT = Path(__file__).resolve().parents[2]
"""Folder of the checkout, where this is one: benchmarks are the repository's and in no wheel."""


class Commands(OneLineErrors):
    """The commands of COMMANDS, each imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List their names, in the order of the table; those of a checkout only in one."""
        return [name for name in COMMANDS if name != "bench" or in_checkout()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find the command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        where, line = COMMANDS[cmd_name]
        if cmd_name == "bench" and not in_checkout():
            return _command(_refuse_bench, cmd_name, line)
        if getattr(self, "_listing", False):
            return _command(_nothing, cmd_name, line)
        module, _, attribute = where.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        return get_command(command) if isinstance(command, typer.Typer) else _command(command, cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write help without importing any command."""
        self._listing = True
        super().format_help(ctx, formatter)
        self._listing = False


def _command(function: Any, name: str, line: str | None = None) -> Any:
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    program.command(name, help=line)(function)
    return get_command(program)


def in_checkout(root: Path = ROOT) -> bool:
    """Check if the package lies in a checkout of the repository. Its root is then where `tests` is imported from."""
    if not (root / "tests" / "benchmarks" / "command.py").is_file():
        return False
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return True


def _refuse_bench(
    name: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
    seed: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    del name, as_json, seed
    raise OwnshelfError("bench: needs a checkout of the repository, which has the benchmarks")


def _nothing() -> None:
    """Stand for a command in the list of commands."""


app = typer.Typer(
    name="ownshelf",
    cls=Commands,
    help="Recommendations from profiles that never leave the shopper's device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options() -> None:
    """Recommend from profiles that never leave the shopper's device."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
