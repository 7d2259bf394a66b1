"""``secondread backup`` and ``secondread restore``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from service.cli.options import ConfigFile
from service.config import load_settings

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]

_Item = TypeVar("_Item")


def backup(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Back up journal, spool, accounts, models and audit trail, while the service runs.

    What was answered with Success before it began is in it. It holds images of patients: keep it
    as you keep those. Exit code 0, 1 if it cannot be made, 2 if the configuration cannot be used.
    """
    from service.backup.taking import Backup

    settings = load_settings(config)
    os.umask(0o077)
    taken = Backup(settings, folder)
    taken.copy_journal()
    for name in _shown(taken.files(), "copying"):
        taken.copy(name)
    description = taken.finish()
    if as_json:
        typer.echo(json.dumps(asdict(description), indent=2))
    else:
        megabytes = description.size_bytes / 1e6
        typer.echo(f"{folder}: {description.files} files, {megabytes:.1f} MB")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A backup.")],
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Bring a backup back into an empty data folder, and upgrade its journal.

    Every file is compared with its digest. Exit code 0, 1 if it cannot be restored, or if work
    that the journal knows lacks its files or its model, 2 if the configuration cannot be used.
    """
    from service.backup.restoring import Restore

    settings = load_settings(config)
    os.umask(0o077)
    restored = Restore(settings, folder)
    try:
        for name in _shown(restored.files(), "restoring"):
            restored.bring_back(name)
        lacking = restored.finish()
    except BaseException:
        restored.undo()
        raise
    if as_json:
        typer.echo(json.dumps(asdict(restored.description) | asdict(lacking), indent=2))
    else:
        made_at = restored.description.made_at
        typer.echo(f"{settings.data_dir}: as it was at {made_at}; start the service with it")
    for what, names in (("images", lacking.images), ("parcels", lacking.parcels)):
        if names:
            typer.echo(f"the backup lacks the files of {len(names)} {what}: {names[0]} …", err=True)
    for model in lacking.models:
        typer.echo(f"the backup lacks the model {model}: `secondread model install` it", err=True)
    if lacking.images or lacking.parcels or lacking.models:
        raise typer.Exit(1)


def _shown(items: list[_Item], words: str) -> Iterable[_Item]:
    """The items, with a bar on standard error."""
    columns = (TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items)
