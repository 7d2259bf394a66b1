"""Commands on images that were received: ``replay``, ``report``, ``withdraw``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import ConfigFile, login
from service.config import ConfigurationError, load_settings
from service.journal.journal import Journal, JournalError
from service.journal.records import ImageRow

if TYPE_CHECKING:
    from service.orders import Orders

Names = Annotated[
    list[str],
    typer.Argument(metavar="UID...", help="SOP Instance UIDs of images or results; image keys."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object: done, not_done.")]


def replay(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="UID...", help="SOP Instance UIDs or image keys."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="All failed images and summaries.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Put what failed back to work; what is delivered or at work already is left alone.

    Exit code 0 if any was replayed, 1 if none, 2 if configuration or journal cannot be used.
    """
    if failed == bool(images):
        raise typer.BadParameter("give either UIDs (or image keys) or --failed")
    with orders_of_operator(config) as (journal, orders):
        told = Told(as_json)
        if failed:
            told.done += _replay_all(orders)
        else:
            told.each(journal, images or [], orders.replay)
    told.end(
        "replayed; the keeper hands them to the workers at its next look",
        "nothing was replayed: no such image has failed",
    )


def report(images: Names, as_json: AsJson = False, config: ConfigFile = None) -> None:
    """Send the reports of images that were not analysed, where they are kept until asked for.

    Exit code 0 if any was sent on its way, 1 if none, 2 if configuration or journal cannot be used.
    """
    with orders_of_operator(config) as (journal, orders):
        told = Told(as_json)
        told.each(journal, images, orders.report)
    told.end(
        "reports are on their way; the keeper sends them at its next look",
        "nothing was sent: no such image has a report that was kept back",
    )


def withdraw(
    images: Names,
    reason: Annotated[
        str,
        typer.Option(help="Why, for the reader in the PACS; it is kept nowhere else."),
    ],
    patient_safety: Annotated[
        bool,
        typer.Option(
            "--patient-safety", help="Rejected for patient safety, not for quality reasons."
        ),
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Withdraw results: a rejection note and a report that replaces them go to every destination.

    Exit code 0 if all were withdrawn, 1 if any was not, 2 if configuration or journal cannot be
    used.
    """
    from dicom_sr.rejection_note import RejectionReason

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    title = RejectionReason.PATIENT_SAFETY if patient_safety else RejectionReason.QUALITY
    with orders_of_operator(config) as (journal, orders):
        told = Told(as_json)
        told.each(journal, images, lambda row: orders.withdraw(row, title, reason))
    told.end(
        "withdrawn; the keeper sends the notes at its next look",
        "nothing was withdrawn: no such image has a result",
    )
    if told.not_done:
        raise typer.Exit(1)


def _replay_all(orders: Orders) -> int:
    """The number grows on the screen meanwhile."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed} replayed"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        return orders.replay_all(lambda done: progress.update(task, completed=done))


@contextmanager
def orders_of_operator(config: Path | None) -> Iterator[tuple[Journal, Orders]]:
    """What is wrong with configuration, model or journal ends the command with exit code 2."""
    from service.analysis.model_package import ModelPackageError
    from service.audit.trail import AuditTrail
    from service.monitoring.metrics import Metrics
    from service.orders import Orders

    try:
        settings = load_settings(config)
        journal = Journal(settings.journal_url, quiet_seconds=settings.summary_after)
        with closing(journal):
            journal.check()
            trail = AuditTrail(settings.audit_dir, Metrics())
            yield journal, Orders(settings, journal, trail, login())
    except (ConfigurationError, ModelPackageError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


class Told:
    """What became of each argument. A patient's UID is not repeated: they go by position."""

    def __init__(self, as_json: bool) -> None:
        self.done = 0
        self.not_done: list[dict[str, object]] = []
        self._as_json = as_json

    def each(
        self, journal: Journal, names: Sequence[str], order: Callable[[ImageRow], None]
    ) -> None:
        from service.orders import NotDone

        for position, name in enumerate(names, start=1):
            rows = list(named_images(journal, name))
            if not rows:
                self._not_done(position, "no such image or result in the journal")
            for row in rows:
                try:
                    order(row)
                except NotDone as error:
                    self._not_done(position, str(error))
                else:
                    self.done += 1

    def end(self, done: str, otherwise: str) -> None:
        if self._as_json:
            typer.echo(json.dumps({"done": self.done, "not_done": self.not_done}))
        elif self.done:
            typer.echo(f"{self.done} {done}")
        else:
            typer.echo(otherwise, err=True)
        if self.done == 0:
            raise typer.Exit(1)

    def _not_done(self, position: int, why: str) -> None:
        self.not_done.append({"argument": position, "reason": why})
        if not self._as_json:
            typer.echo(f"argument {position}: {why}", err=True)


def named_images(journal: Journal, name: str) -> Iterator[ImageRow]:
    keys = [name] if journal.image(name) is not None else journal.keys_of(name)
    for key in keys or journal.keys_of_result(name):
        row = journal.image(key)
        if row is not None:
            yield row
