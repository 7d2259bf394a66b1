"""``secondread``: all commands, and how a failure becomes one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from service.cli.lazy import Command, lazy_group

RUNTIME_FAILURE = 1
BAD_CONFIGURATION = 2

COMMANDS = {
    "up": Command(
        "service.cli.processes:up",
        "Run everything on this machine, its embedded broker included, until Ctrl-C or SIGTERM.",
    ),
    "demo": Command(
        "service.cli.demo:demo",
        "Start everything on this machine, send real ultrasound by C-STORE, show what comes back.",
    ),
    "ingest": Command(
        "service.cli.processes:ingest",
        "Run the storage SCP: keep each image durably before it is answered.",
    ),
    "worker": Command(
        "service.cli.processes:worker",
        "Run one worker: it analyses images, or delivers results.",
    ),
    "keeper": Command(
        "service.cli.processes:keeper",
        "Run the keeper: it brings lost jobs back, and measures queues and disk.",
    ),
    "web": Command(
        "service.cli.processes:web",
        "Run the web page and the REST API: they show images and results, and take orders.",
    ),
    "account": Command(
        "service.cli.account:account_app",
        "Accounts of the web page, and tokens for its REST API.",
    ),
    "status": Command(
        "service.cli.status:status",
        "Show what is wrong, images and studies by state, what waits, destinations, new images.",
    ),
    "doctor": Command(
        "service.cli.doctor:doctor",
        "Look at configuration, disk, journal, broker, clock, model and PACS; say what to do.",
    ),
    "replay": Command(
        "service.cli.images:replay",
        "Put what failed back to work; what is delivered or at work already is left alone.",
    ),
    "report": Command(
        "service.cli.images:report",
        "Send the reports of images that were not analysed, where they are kept until asked for.",
    ),
    "reanalyse": Command(
        "service.cli.reanalyse:reanalyse",
        "Analyse images again, with the model that is active now; new results replace the old.",
    ),
    "withdraw": Command(
        "service.cli.images:withdraw",
        "Withdraw results: a rejection note and a report that replaces them go to every "
        "destination.",
    ),
    "backup": Command(
        "service.cli.backup:backup",
        "Back up journal, spool, accounts, models and audit trail, while the service runs.",
    ),
    "restore": Command(
        "service.cli.backup:restore",
        "Bring a backup back into an empty data folder, and upgrade its journal.",
    ),
    "lesion": Command(
        "service.cli.lesion:lesion_app",
        "Which images show one lesion: its views are fused to one score in the study's summary.",
    ),
    "analyse": Command(
        "service.cli.analyse:analyse",
        "Analyse files without network, and tell the outcome of each.",
    ),
    "truth": Command(
        "service.cli.truth:truth_app",
        "What pathology found: take it in, see how good the scores were, hand it on for training.",
    ),
    "echo": Command(
        "service.cli.scu:echo",
        "Ask a DICOM peer whether it is there (C-ECHO).",
    ),
    "send": Command(
        "service.cli.scu:send",
        "Send files by C-STORE, each in its own transfer syntax; pictures are wrapped first.",
    ),
    "model": Command(
        "service.cli.model:model_app",
        "Model packages: look into one, install it, choose which one is used.",
    ),
    "config": Command(
        "service.cli.config:config",
        "Print the effective configuration as TOML, secrets masked.",
    ),
}


app = typer.Typer(
    cls=lazy_group(COMMANDS),
    help="A second reader for breast ultrasound inside a hospital's PACS. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

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
    from service.backup.contents import BackupError
    from service.config import ConfigurationError
    from service.journal.database import JournalError
    from service.log import fault
    from service.queue.publisher import BrokerUnavailable
    from service.scu import AssociationFailed
    from service.supervisor import SupervisorError

    code = RUNTIME_FAILURE
    if isinstance(error, ConfigurationError | ModelPackageError):
        code, text = BAD_CONFIGURATION, str(error)
    elif isinstance(
        error,
        BackupError | JournalError | BrokerUnavailable | AssociationFailed | SupervisorError,
    ):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror + (f": {error.filename}" if error.filename else "")
    else:
        text = f"failed unexpectedly: {fault(error)}"
    typer.echo(f"secondread: {text}", err=True)
    return code
