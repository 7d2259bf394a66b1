"""Commands that are imported only when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def lazy_group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """A group whose commands lie where ``commands`` says: name to ``module:function``.

    The storage SCP never loads ONNX Runtime by it, and ``--help`` never loads torch. What the
    module holds under that name is a function, or a group of commands (a ``typer.Typer``).
    """

    class LazyGroup(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(commands)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name not in commands:
                return None
            module, _, name = commands[cmd_name].partition(":")
            found = getattr(import_module(module), name)
            if not isinstance(found, typer.Typer):
                alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
                alone.command(cmd_name)(found)
                found = alone
            command = typer.main.get_command(found)
            command.name = cmd_name
            return command

    return LazyGroup
