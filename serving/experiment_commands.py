"""All of `ownshelf experiment`: the service's part and the laboratory's, in one typer app."""

from __future__ import annotations

from serving.experiment_cli import app
from serving.experiment_plan_cli import plan
from serving.experiment_rehearsal_cli import run
from serving.experiment_report_cli import report

app.command()(plan)
app.command()(run)
app.command()(report)
