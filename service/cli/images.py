"""Commands on images that were received: ``replay``, ``report``, ``reanalyse``, ``withdraw``."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import ConfigFile
from service.config import ConfigurationError, Settings, load_settings
from service.journal.journal import Journal, JournalError
from service.journal.records import ImageRow, ImageState

Names = Annotated[
    list[str],
    typer.Argument(metavar="UID...", help="SOP Instance UIDs of images or results; image keys."),
]


def replay(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="UID...", help="SOP Instance UIDs or image keys."),
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="All failed images and summaries.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Put what failed back to work; what is delivered or at work already is left alone.

    Exit code 0 if any was replayed, 1 if none, 2 if configuration or journal cannot be used.
    """
    if failed == bool(images):
        raise typer.BadParameter("give either UIDs (or image keys) or --failed")
    with _journal(config) as (_, journal):
        if failed:
            count = _replay_all_failed(journal)
        else:
            count = sum(journal.replay([row.key]) for _, row in _named(journal, images or []))
    _tell(
        count,
        "replayed; the keeper hands them to the workers at its next look",
        "nothing was replayed: no such image has failed",
    )


def report(images: Names, config: ConfigFile = None) -> None:
    """Send the reports of images that were not analysed, where they are kept until asked for.

    Exit code 0 if any was sent on its way, 1 if none, 2 if configuration or journal cannot be used.
    """
    from service.results import parcels_for

    count = 0
    with _journal(config) as (settings, journal):
        for _, row in _named(journal, images):
            outcome = row.outcome
            if row.state is not ImageState.NOT_ANALYSABLE or outcome is None or row.deliveries:
                continue
            parcels = parcels_for(settings.destinations, outcome.objects)
            journal.deliver(row, parcels)
            count += bool(parcels)
    _tell(
        count,
        "reports are on their way; the keeper sends them at its next look",
        "nothing was sent: no such image has a report that was kept back",
    )


def reanalyse(images: Names, config: ConfigFile = None) -> None:
    """Analyse images again, with the model that is configured now; new results replace the old.

    What this model has said already, and has not been withdrawn, is left alone. Exit code 0 if any
    goes back to work, 1 if none, 2 if configuration, model or journal cannot be used.
    """
    from service.analysis.model_package import load_model_package

    count = 0
    with _journal(config) as (settings, journal):
        manifest = load_model_package(settings.analysis.model).manifest
        threshold = manifest.threshold_of(settings.analysis.operating_point)
        for position, row in _named(journal, images):
            outcome = row.outcome
            if outcome is None:
                continue
            same_model = outcome.model_sha256 == manifest.sha256
            same_point = outcome.threshold in (None, threshold)
            if same_model and same_point and outcome.state is not ImageState.WITHDRAWN:
                typer.echo(f"argument {position}: this model has said it already", err=True)
                continue
            if journal.ask_again(row.key):
                count += 1
                _record_order(settings, row, "reanalyse")
    _tell(
        count,
        "go back to work; the keeper hands them to the workers at its next look",
        "nothing is analysed again: no such image has a result that could be replaced",
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
    config: ConfigFile = None,
) -> None:
    """Withdraw results: a rejection note and a report that replaces them go to every destination.

    Exit code 0 if all were withdrawn, 1 if any was not, 2 if configuration or journal cannot be
    used.
    """
    from dicom_sr.rejection_note import RejectionReason
    from service.results import InvalidObject
    from service.spool import Spool
    from service.withdrawal import NothingToWithdraw, Withdrawal

    if not reason.strip():
        raise typer.BadParameter("say why", param_hint="--reason")
    title = RejectionReason.PATIENT_SAFETY if patient_safety else RejectionReason.QUALITY
    count, failed = 0, False
    with _journal(config) as (settings, journal):
        withdrawal = Withdrawal(settings, Spool(settings.spool_dir), journal)
        for position, row in _named(journal, images):
            try:
                withdrawal.withdraw(row, title, reason.strip())
                count += 1
                _record_order(settings, row, "withdraw")
            except (NothingToWithdraw, InvalidObject) as error:
                typer.echo(f"argument {position}: not withdrawn: {error}", err=True)
                failed = True
    _tell(
        count,
        "withdrawn; the keeper sends the notes at its next look",
        "nothing was withdrawn: no such image has a result",
    )
    if failed:
        raise typer.Exit(1)


@contextmanager
def _journal(config: Path | None) -> Iterator[tuple[Settings, Journal]]:
    """Configuration and journal; what is wrong with them ends the command with exit code 2."""
    from service.analysis.model_package import ModelPackageError

    try:
        settings = load_settings(config)
        journal = Journal(settings.journal_url, quiet_seconds=settings.summary_after)
        with closing(journal):
            journal.check()
            yield settings, journal
    except (ConfigurationError, ModelPackageError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _record_order(settings: Settings, row: ImageRow, order: str) -> None:
    """In the audit trail: who has changed what we say of an image."""
    from service.audit.messages import instances_updated
    from service.audit.trail import AuditTrail
    from service.monitoring.metrics import Metrics

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    image = (row.sop_class_uid, row.sop_instance_uid)
    message = instances_updated(user, row.study_instance_uid, [image], order)
    AuditTrail(settings.audit_dir, Metrics()).write(message)


def _named(journal: Journal, names: Sequence[str]) -> Iterator[tuple[int, ImageRow]]:
    """The images with their arguments' positions: a patient's UID is not repeated."""
    for position, name in enumerate(names, start=1):
        keys = [name] if journal.image(name) is not None else journal.keys_of(name)
        keys = keys or journal.keys_of_result(name)
        if not keys:
            typer.echo(f"argument {position}: no such image or result in the journal", err=True)
        for key in keys:
            row = journal.image(key)
            if row is not None:
                yield position, row


def _replay_all_failed(journal: Journal) -> int:
    count = journal.replay_summaries()
    while replayed := journal.replay(journal.keys_in(ImageState.FAILED)):
        count += replayed
    return count


def _tell(count: int, done: str, otherwise: str) -> None:
    if count == 0:
        typer.echo(otherwise, err=True)
        raise typer.Exit(1)
    typer.echo(f"{count} {done}")
