"""The journal as commands open it that only look, or tell it something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import typer

from service.config import ConfigurationError, Settings, load_settings
from service.journal.journal import Journal, JournalError


@contextmanager
def opened_journal(config: Path | None) -> Iterator[tuple[Settings, Journal]]:
    """A configuration or a journal that cannot be used ends the command with exit code 2."""
    try:
        settings = load_settings(config)
        with closing(Journal(settings.journal_url)) as journal:
            journal.check()
            yield settings, journal
    except (ConfigurationError, JournalError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None
