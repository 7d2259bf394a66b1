"""``secondread doctor``: what is wrong here, and what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.cli.options import ConfigFile
from service.config import load_settings

_SIGNS = {True: "[green]✓[/]", False: "[red]✗[/]", None: "[yellow]–[/]"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="A list of findings.")] = False,
    config: ConfigFile = None,
) -> None:
    """Look at configuration, disk, journal, broker, clock, model and PACS; say what to do.

    It changes nothing. Exit code 0 if nothing is wrong, 1 if something is, 2 if the configuration
    cannot be used.
    """
    from service.doctor import examine

    settings = load_settings(config)
    table = Table("", "what", "found", "what to do")
    findings = []
    for finding in examine(settings):
        findings.append(finding)
        table.add_row(
            _SIGNS[finding.good],
            escape(finding.subject),
            escape(finding.found),
            escape(finding.advice),
        )
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        Console().print(table)
    if any(finding.good is False for finding in findings):
        raise typer.Exit(1)
