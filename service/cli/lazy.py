"""Commands that are imported only when they are run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Command(NamedTuple):
    """where: ``module:name`` of a function, or of a group of commands (a ``typer.Typer``).
    help: the first sentence of its own help.
    """

    where: str
    help: str


def lazy_group(commands: Mapping[str, Command]) -> type[TyperGroup]:
    """A group that shows its commands without importing them.

    So ``--help`` loads neither ONNX Runtime nor torch, and the storage SCP only what it needs.
    """

    class LazyGroup(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            for name, command in commands.items():
                self.commands[name] = TyperCommand(name, help=command.help)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, _, rest = super().resolve_command(ctx, args)
            return name, load(str(name), commands[str(name)]), rest

    return LazyGroup


def load(name: str, command: Command) -> Any:
    """The command itself, imported."""
    module, _, attribute = command.where.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(found)
        found = alone
    loaded = typer.main.get_command(found)
    loaded.name = name
    return loaded
