"""What the deployment's command lines are to ``secondread``."""

from __future__ import annotations

from collections.abc import Sequence

import click
import typer

from service.cli.app import app


def parsed_command(arguments: Sequence[str]) -> click.Context:
    """The context of the command that they name, its parameters parsed; fails if there is none."""
    rest = list(arguments)
    command = typer.main.get_command(app)
    context = command.make_context("secondread", list(rest))
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
    return context
