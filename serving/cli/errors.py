"""A command's mistake in one line and exit code 1, never a traceback."""

from __future__ import annotations

import errno
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from data.errors import OwnshelfError


class OneLineErrors(TyperGroup):
    """A group of commands; an OwnshelfError or OSError is one line on stderr: ``typer.Typer(cls=OneLineErrors)``."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (OwnshelfError, OSError) as error:
            raise _told(error) from None
        except Exception as error:  # noqa: BLE001  # raised again
            raise _of_database(error) from None


class OneLineCommand(TyperCommand):
    """The same for a program of one command: ``app.command(cls=OneLineCommand)``."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (OwnshelfError, OSError) as error:
            raise _told(error) from None
        except Exception as error:  # noqa: BLE001  # raised again
            raise _of_database(error) from None


def _of_database(error: Exception) -> Exception:
    """Explain that a database does not answer, which is no bug.

    Its own words are left out: they may hold the address and so a password.
    """
    if type(error).__module__.startswith("sqlalchemy."):
        return _told(OwnshelfError(f"store: the database cannot be used ({type(error).__name__})"))
    return error


def _told(error: OwnshelfError | OSError) -> Exception:
    if isinstance(error, OSError):
        if error.errno == errno.EPIPE:  # the reader of stdout has gone: click's own case
            return error
        where = error.filename2 or error.filename
        text = str(error) if where is None or error.strerror is None else f"{where}: {error.strerror}"
    else:
        text = str(error)
    typer.echo(f"error: {' '.join(text.split())}", err=True)
    return typer.Exit(1)
