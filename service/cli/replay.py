"""``secondread replay``: failed images go back to work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer

from service.cli.options import ConfigFile
from service.config import ConfigurationError, load_settings
from service.journal.journal import Journal, JournalError
from service.journal.records import ImageState


def replay(
    images: Annotated[
        list[str] | None,
        typer.Argument(metavar="UID...", help="SOP Instance UIDs or image keys."),
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All failed images.")] = False,
    config: ConfigFile = None,
) -> None:
    """Put failed images back to work; what is delivered or at work already is left alone.

    Exit code 0 if any was replayed, 1 if none, 2 if configuration or journal cannot be used.
    """
    if failed == bool(images):
        raise typer.BadParameter("give either UIDs (or image keys) or --failed")
    try:
        with closing(Journal(load_settings(config).journal_url)) as journal:
            journal.check()
            count = _replay_all_failed(journal) if failed else _replay(journal, images or [])
    except (ConfigurationError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if count == 0:
        typer.echo("nothing was replayed: no such image has failed", err=True)
        raise typer.Exit(1)
    typer.echo(f"{count} replayed; the keeper hands them to the workers at its next look")


def _replay(journal: Journal, names: Sequence[str]) -> int:
    """The names are counted, not repeated: a UID belongs to a patient."""
    count = 0
    for position, name in enumerate(names, start=1):
        keys = [name] if journal.image(name) is not None else journal.keys_of(name)
        if not keys:
            typer.echo(f"argument {position}: no such image in the journal", err=True)
        count += journal.replay(keys)
    return count


def _replay_all_failed(journal: Journal) -> int:
    count = 0
    while replayed := journal.replay(journal.keys_in(ImageState.FAILED)):
        count += replayed
    return count
