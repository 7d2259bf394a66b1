"""``secondread config``: what is really in force."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from service.cli.options import ConfigFile
from service.config import load_settings, masked


def config(
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Print the effective configuration as TOML, secrets masked."""
    values = masked(load_settings(config))
    typer.echo(json.dumps(values, indent=2) if as_json else "\n".join(_toml(values)))


def _toml(values: dict[str, Any]) -> list[str]:
    """Plain values first, then a table for each section; what is not set is left out."""
    lines: list[str] = []
    tables: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            tables += ["", f"[{key}]", *_plain(value)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                tables += ["", f"[[{key}]]", *_plain(item)]
        else:
            lines += _plain({key: value})
    return lines + tables


def _plain(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {_inline(value)}" for key, value in values.items() if value is not None]


def _inline(value: Any) -> str:
    """JSON's literals are TOML's as well, but for objects."""
    if isinstance(value, dict):
        return f"{{ {', '.join(_plain(value))} }}" if _plain(value) else "{}"
    return json.dumps(value, ensure_ascii=False)
