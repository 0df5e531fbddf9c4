"""All of `ownshelf experiment`: the service's part and the laboratory's, in one typer app."""

from __future__ import annotations

from serving.cli.experiments.experiment_plan import plan
from serving.cli.experiments.experiment_rehearsal import run
from serving.cli.experiments.experiment_report import report
from serving.cli.experiments.service_commands import app
from serving.cli.experiments.templates import init

app.command()(init)
app.command()(plan)
app.command()(run)
app.command()(report)
