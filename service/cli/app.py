"""``secondread``: all commands, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from service.cli.analyse import analyse
from service.cli.config import config
from service.cli.demo import demo
from service.cli.model import model_app
from service.cli.processes import ingest, keeper, up, worker
from service.cli.replay import replay
from service.cli.scu import echo, send
from service.cli.status import status
from service.config import ConfigurationError
from service.log import fault

log = logging.getLogger(__name__)

RUNTIME_FAILURE = 1
BAD_CONFIGURATION = 2

app = typer.Typer(
    help="A second reader for breast ultrasound inside a hospital's PACS. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (up, demo, ingest, worker, keeper, status, replay, analyse, echo, send, config):
    app.command()(command)
app.add_typer(model_app, name="model")


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
    from service.supervisor import SupervisorError

    code = RUNTIME_FAILURE
    if isinstance(error, ConfigurationError | ModelPackageError):
        code, text = BAD_CONFIGURATION, str(error)
    elif isinstance(error, JournalError | BrokerUnavailable | SupervisorError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    else:
        text = f"failed unexpectedly: {fault(error)}"
    typer.echo(f"secondread: {text}", err=True)
    return code
