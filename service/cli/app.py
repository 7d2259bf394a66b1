"""``secondread``: all commands, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from service.cli.lazy import lazy_group
from service.config import ConfigurationError
from service.log import fault

RUNTIME_FAILURE = 1
BAD_CONFIGURATION = 2

COMMANDS = {
    "up": "service.cli.processes:up",
    "demo": "service.cli.demo:demo",
    "ingest": "service.cli.processes:ingest",
    "worker": "service.cli.processes:worker",
    "keeper": "service.cli.processes:keeper",
    "status": "service.cli.status:status",
    "replay": "service.cli.images:replay",
    "report": "service.cli.images:report",
    "reanalyse": "service.cli.images:reanalyse",
    "withdraw": "service.cli.images:withdraw",
    "analyse": "service.cli.analyse:analyse",
    "echo": "service.cli.scu:echo",
    "send": "service.cli.scu:send",
    "model": "service.cli.model:model_app",
    "config": "service.cli.config:config",
}
"""Where each command lies: a function, or a group of commands."""


app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="A second reader for breast ultrasound inside a hospital's PACS. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secondread {version('secondread')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run the command line and exit.

    Exit code 2: used or configured wrongly; 1: it failed on the way. Errors that we know tell the
    operator what to do; of others only the class and the line of code are named.
    """
    try:
        app()
    except Exception as error:  # noqa: BLE001 the last place where an error can become one line
        sys.exit(_report(error))


def _report(error: Exception) -> int:
    from service.analysis.model_package import ModelPackageError
    from service.journal.database import JournalError
    from service.queue.publisher import BrokerUnavailable
    from service.scu import AssociationFailed
    from service.supervisor import SupervisorError

    code = RUNTIME_FAILURE
    if isinstance(error, ConfigurationError | ModelPackageError):
        code, text = BAD_CONFIGURATION, str(error)
    elif isinstance(error, JournalError | BrokerUnavailable | AssociationFailed | SupervisorError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    else:
        text = f"failed unexpectedly: {fault(error)}"
    typer.echo(f"secondread: {text}", err=True)
    return code
